"""Losses and scores against a plain reference: one row at a time, no padding, all logits."""

import numpy as np
import peft
import pytest
import torch
from tiny import SIZES, build
from torch.nn.functional import cross_entropy
from transformers import (
    CohereConfig,
    CohereForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    GraniteConfig,
    GraniteForCausalLM,
)

from peftlens import registry
from peftlens.adapters import checkpoint
from peftlens.data.collate import Collator
from peftlens.data.task import Example
from peftlens.data.tokenization import TokenizedAnswer, TokenizedExample
from peftlens.evaluation import log_likelihood
from peftlens.evaluation.log_likelihood import (
    _shares_prompts,
    answer_logits,
    answer_loss,
    calibrated_choice,
    choose,
    float32_head,
    label_log_probabilities,
    log_probabilities,
)
from peftlens.models.base_model import load_base_model
from peftlens.models.snapshot import restored_after

ROWS = [
    TokenizedAnswer((10, 11, 12), (13, 14)),
    TokenizedAnswer((20,), (21,)),
    TokenizedAnswer((30, 31), (32, 33, 34)),
]
SMALL = SIZES | {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 128,
}
LORA = {"rank": 2, "target_modules": ["q_proj", "v_proj"]}
METHODS = [
    ("frozen", {}),
    ("lora", LORA),
    ("prompt_tuning", {"num_virtual_tokens": 3}),
    ("bottleneck", {}),
]


@pytest.fixture
def base(llama):
    return llama


def attached(base, name, options):
    config = registry.configure("methods", name, options)
    return checkpoint.attach(base.model, name, config).eval()


def reference_log_probability(model, row):
    """Sum over the answer, from the full logits of the unpadded row; virtual tokens cut off."""
    ids = torch.tensor([[*row.prompt, *row.answer]])
    logits = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0]
    logs = logits[-ids.shape[1] :].log_softmax(-1)
    first = len(row.prompt)
    return sum(logs[first - 1 + k, token].item() for k, token in enumerate(row.answer))


@pytest.mark.parametrize(("name", "options"), METHODS)
def test_loss_equals_what_labels_give(base, name, options):
    model = attached(base, name, options)
    encoder = Collator.of(base, 64)
    batch = encoder.batch(ROWS)
    ours = answer_loss(model, batch) / len(batch.targets)
    ids = torch.zeros(3, 5, dtype=torch.long)
    mask, labels = torch.zeros_like(ids), torch.full_like(ids, -100)
    for index, row in enumerate(ROWS):
        full = torch.tensor([*row.prompt, *row.answer])
        ids[index, : len(full)] = full
        mask[index, : len(full)] = 1
        labels[index, len(row.prompt) : len(full)] = torch.tensor(row.answer)
    theirs = model(input_ids=ids, attention_mask=mask, labels=labels).loss
    assert ours.item() == pytest.approx(theirs.item(), abs=1e-5)
    trained = [p for p in model.parameters() if p.requires_grad]
    if trained:
        for mine, hers in zip(
            torch.autograd.grad(ours, trained, retain_graph=True, allow_unused=True),
            torch.autograd.grad(theirs, trained, allow_unused=True),
            strict=True,
        ):
            torch.testing.assert_close(mine, hers, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("name", "options"), METHODS)
def test_log_probabilities_equal_unbatched_ones(base, name, options):
    model = attached(base, name, options)
    found = log_probabilities(model, Collator.of(base, 64), ROWS, "")
    with torch.inference_mode():
        expected = [reference_log_probability(model, row) for row in ROWS]
    assert found == pytest.approx(expected, abs=1e-4)


def test_seq2seq_loss_equals_what_labels_give(bases):
    base = load_base_model(str(bases["t5"]), device="cpu", dtype="float32")
    batch = Collator.of(base, 64).batch(ROWS)
    labels = torch.tensor([[13, 14, -100], [21, -100, -100], [32, 33, 34]])
    ids, mask = batch.inputs["input_ids"], batch.inputs["attention_mask"]
    theirs = base.model(input_ids=ids, attention_mask=mask, labels=labels).loss
    ours = answer_loss(base.model, batch) / len(batch.targets)
    assert ours.item() == pytest.approx(theirs.item(), abs=1e-5)


def test_only_scored_positions_reach_the_head(base):
    batch = Collator.of(base, 64).batch(ROWS)
    seen = []
    handle = base.model.lm_head.register_forward_hook(lambda *a: seen.append(a[1][0].shape))
    logits = answer_logits(base.model, batch)
    handle.remove()
    assert seen == [torch.Size([6, 32])]
    assert logits.shape == (6, 259)
    assert logits.dtype == torch.float32


def test_text_without_a_prompt_is_scored_from_its_second_token(base):
    row = TokenizedAnswer((), (10, 11, 12))
    ids = torch.tensor([row.answer])
    with torch.inference_mode():
        expected = -cross_entropy(
            base.model(ids).logits[0, :-1], ids[0, 1:], reduction="sum"
        ).item()
        found = log_probabilities(base.model, Collator.of(base, 64), [row], "")
    assert found == pytest.approx([expected], abs=1e-4)


def test_answers_that_share_their_beginning_share_a_pass(base, monkeypatch):
    encoder = Collator.of(base, 64)
    rows = [TokenizedAnswer((10, 11), (token,)) for token in (20, 21, 22)] + [
        TokenizedAnswer((10,), (11, 20))
    ]
    batches = []
    real = Collator.batch
    monkeypatch.setattr(
        Collator, "batch", lambda self, rows: batches.append(rows) or real(self, rows)
    )
    found = log_probabilities(base.model, encoder, rows, "")
    assert sum(map(len, batches)) == 2  # the last one ends its prompt elsewhere
    with torch.inference_mode():
        expected = [reference_log_probability(base.model, row) for row in rows]
    assert found == pytest.approx(expected, abs=1e-4)


def test_choose_by_sum_and_by_byte(base, monkeypatch):
    # sums -4 and -6; per byte -4 / 2 and -6 / 6: the longer answer wins per byte
    item = TokenizedExample(
        0, (TokenizedAnswer((1,), (2,)), TokenizedAnswer((1,), (3,))), 1, (2, 6)
    )
    monkeypatch.setattr(
        "peftlens.evaluation.log_likelihood.log_probabilities", lambda *_: np.array([-4.0, -6.0])
    )
    found = choose(base.model, Collator.of(base, 64), [item])
    assert (found.by_sum.item(), found.by_byte.item(), found.correct.item()) == (0, 1, 1)
    assert found.loss.item() == 6.0
    assert found.label_loss.item() == pytest.approx(np.log(1 + np.exp(2)))  # of exp(-6) among both
    assert not found.tied.item()
    assert found.calibrated is None  # one item has no other to be compared with


def test_equal_answers_are_a_tie_that_the_first_wins(base, monkeypatch):
    rows = (TokenizedAnswer((1,), (2,)), TokenizedAnswer((1,), (3,)))
    items = [TokenizedExample(at, rows, 1, (1, 1)) for at in range(2)]
    monkeypatch.setattr(
        "peftlens.evaluation.log_likelihood.log_probabilities",
        lambda *_: np.array([-4.0, -4.0, -5.0, -4.0]),
    )
    found = choose(base.model, Collator.of(base, 64), items)
    assert found.by_sum.tolist() == [0, 1]
    assert found.tied.tolist() == [True, False]


def test_a_label_is_judged_by_how_much_likelier_it_is_than_on_average():
    # 0.9 and 0.6 for the first label, 0.75 on average: the second item prefers the second label
    logs = np.log([[0.9, 0.1], [0.6, 0.4]])
    assert logs.argmax(axis=1).tolist() == [0, 0]
    assert calibrated_choice(logs).tolist() == [0, 1]
    # the format's own probability, here exp(-9), is the same for all labels and cancels
    assert label_log_probabilities(logs - 9) == pytest.approx(logs)


@pytest.mark.parametrize("answers", [(" yes", " no"), (" no", " yes")])
def test_items_with_answers_of_their_own_are_not_calibrated(base, answers):
    encoder = Collator.of(base, 64)
    items, _ = encoder.items([Example("a", (" yes", " no")), Example("b", answers)])
    assert (choose(base.model, encoder, items).calibrated is None) == (answers[0] == " no")


HEADS = {
    "llama": (build, "llama"),
    "soft cap": (
        Gemma2ForCausalLM,
        Gemma2Config(**SMALL, num_key_value_heads=2, head_dim=8, final_logit_softcapping=2.0),
    ),
    "scaled": (CohereForCausalLM, CohereConfig(**SMALL, logit_scale=0.3)),
    "divided": (GraniteForCausalLM, GraniteConfig(**SMALL, logits_scaling=3.0)),
}
AFTERWARDS = {
    "llama": lambda logits: logits,
    "soft cap": lambda logits: 2 * torch.tanh(logits / 2),
    "scaled": lambda logits: 0.3 * logits,
    "divided": lambda logits: logits / 3,
}


@pytest.mark.parametrize("kind", HEADS)
def test_a_bfloat16_model_is_scored_by_a_float32_head(base, kind):
    make, config = HEADS[kind]
    torch.manual_seed(0)
    model = make(config).eval().bfloat16()
    encoder = Collator.of(base, 64)
    rows = tuple(TokenizedAnswer((10, 11, 12), (token,)) for token in (13, 14))
    found = choose(model, encoder, [TokenizedExample(0, rows, 0, (1, 1))])
    with torch.inference_mode():
        state = model.model(torch.tensor([[10, 11, 12]])).last_hidden_state[0, -1]  # (d,)
        logits = AFTERWARDS[kind](model.lm_head.weight.float() @ state.float())  # (V,)
    assert state.dtype == torch.bfloat16
    assert found.loss.item() == pytest.approx(-logits.log_softmax(-1)[13].item(), abs=1e-5)
    rounded = answer_logits(model, encoder.batch([rows[0]])).log_softmax(-1)[0, 13].item()
    assert abs(rounded - logits.log_softmax(-1)[13].item()) > 1e-5  # what it was without


def test_a_kept_copy_of_the_head_serves_as_long_as_its_weight_stays():
    model, copies = build("llama").bfloat16(), {}
    seen = []
    first = model.lm_head.weight.data
    for weight in (first, first, first + 1, first):
        model.lm_head.weight.data = weight
        with float32_head(model, copies):
            seen.append(model.lm_head.weight)
            assert torch.equal(seen[-1], weight.float())
        assert model.lm_head.weight.dtype == torch.bfloat16
    assert seen[0] is seen[1] is seen[3]


def test_ties_of_rounded_logits_are_none_in_float32(base):
    """Two labels whose rows in the head differ by one rounding step in one of 32 entries."""
    model = build("llama").bfloat16()
    encoder = Collator.of(base, 64)
    with torch.no_grad():
        model.lm_head.weight[14] = model.lm_head.weight[13]
        model.lm_head.weight[14, 0] *= 1.01
    rows = [[TokenizedAnswer((10, seed), (token,)) for token in (13, 14)] for seed in range(20, 60)]
    items = [TokenizedExample(at, tuple(pair), 0, (1, 1)) for at, pair in enumerate(rows)]
    with torch.inference_mode():
        logits = answer_logits(model, encoder.batch([pair[0] for pair in rows]))
    assert (logits[:, 13] == logits[:, 14]).sum() > 10
    assert choose(model, encoder, items).tied.sum() == 0


@pytest.mark.filterwarnings("ignore:Model has .tie_word_embeddings")
@pytest.mark.parametrize("prompts_once", [False, True])
@pytest.mark.parametrize("on_head", [False, True])
def test_the_head_is_as_it_was_after_scoring(base, monkeypatch, prompts_once, on_head):
    """Also where a LoRA adapts the head, and where a prompt is read once for its answers."""
    if prompts_once:
        monkeypatch.setattr(log_likelihood, "SAVED", 1)
    model = build("llama").bfloat16()
    if on_head:
        layers = peft.LoraConfig(task_type="CAUSAL_LM", r=2, target_modules=["lm_head"])
        model = peft.get_peft_model(model, layers)
    before = {name: id(one) for name, one in model.named_parameters(remove_duplicate=False)}
    rows = tuple(TokenizedAnswer((10, 11, 12), answer) for answer in ((13, 14), (15, 16, 17)))
    encoder = Collator.of(base, 64)
    found = choose(model, encoder, [TokenizedExample(0, rows, 0, (1, 1))])
    after = {name: id(one) for name, one in model.named_parameters(remove_duplicate=False)}
    assert before == after
    assert answer_logits(model, encoder.batch([rows[0]])).shape == (2, 259)
    with torch.inference_mode():
        inner = model.get_base_model() if on_head else model
        states = inner.model(torch.tensor([[10, 11, 12, 13]])).last_hidden_state[0, 2:].float()
        head = inner.get_input_embeddings().weight.float()  # tied; a LoRA starts at zero
        logs = (states @ head.T).log_softmax(-1)  # (2, V)
    expected = -(logs[0, 13] + logs[1, 14]).item() / 2
    assert found.loss.item() == pytest.approx(expected, abs=1e-3 if prompts_once else 1e-5)


@pytest.mark.parametrize(
    "answers",
    [(" ab", " ac"), (" a", " ab"), (" x", " yyyy"), ("x", " x")],
    ids=["same first token", "one begins the other", "different lengths", "space or none"],
)
def test_the_answer_that_was_trained_wins(base, answers):
    """Whatever the labels' tokens, a model that was taught one of them chooses it."""
    encoder = Collator.of(base, 64)
    for correct in (0, 1):
        (item,), _ = encoder.items([Example("q", answers, correct)])
        with restored_after(base.model):
            model = attached(base, "full", {})
            optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
            for _ in range(30):
                optimizer.zero_grad()
                answer_loss(model, encoder.batch([item.rows[correct]])).backward()
                optimizer.step()
            assert choose(model, encoder, [item]).by_sum.item() == correct


def test_plain_peft_reads_the_same_loss(base):
    """The wrapper that a user would build by hand gives our loss too."""
    torch.manual_seed(0)
    model = peft.get_peft_model(
        base.model, peft.LoraConfig(task_type="CAUSAL_LM", r=2, target_modules=["q_proj"])
    )
    ids = torch.tensor([[10, 11, 12, 13, 14]])
    labels = torch.tensor([[-100, -100, -100, 13, 14]])
    theirs = model(input_ids=ids, labels=labels).loss
    batch = Collator.of(base, 64).batch([ROWS[0]])
    assert (answer_loss(model, batch) / 2).item() == pytest.approx(theirs.item(), abs=1e-5)


def test_a_prompt_with_several_longer_answers_is_read_once(base, monkeypatch):
    monkeypatch.setattr(log_likelihood, "SAVED", 1)
    encoder = Collator.of(base, 64)
    answers = ((13, 14), (20,), (14, 15, 16))
    items = [
        TokenizedExample(
            0, tuple(TokenizedAnswer((10, 11, 12), answer) for answer in answers), 0, (1, 1, 1)
        ),
        TokenizedExample(
            1, tuple(TokenizedAnswer((30, 31, 32, 33), answer) for answer in answers[:2]), 1, (1, 1)
        ),
    ]
    lengths = []
    handle = base.model.register_forward_pre_hook(
        lambda _, __, inputs: lengths.append(tuple(inputs["input_ids"].shape)), with_kwargs=True
    )
    found = choose(base.model, encoder, items)
    handle.remove()
    assert lengths == [(1, 3), (2, 2), (1, 4), (1, 1)]
    with torch.inference_mode():
        sums = [[reference_log_probability(base.model, r) for r in i.rows] for i in items]
    assert found.by_sum.tolist() == [np.argmax(one) for one in sums]
    assert found.loss == pytest.approx([-sums[0][0] / 2, -sums[1][1]], abs=1e-5)


@pytest.mark.parametrize(("prompt", "once"), [(4, False), (40, True)])
def test_a_prompt_is_read_once_where_that_saves_most_tokens(base, prompt, once):
    ids = tuple(range(10, 10 + prompt))
    items = [
        TokenizedExample(
            0, tuple(TokenizedAnswer(ids, (60 + n, 70)) for n in range(5)), 0, (1,) * 5
        )
    ]
    assert _shares_prompts(base.model, Collator.of(base, 64), items) == once


def test_a_method_that_counts_positions_reads_whole_rows(base):
    options = {"first_tokens": 1}
    model = attached(base, "loreft", options)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape), alpha=0.3)
    item = TokenizedExample(0, (ROWS[0], TokenizedAnswer(ROWS[0].prompt, (40, 41))), 0, (1, 1))
    found = choose(model, Collator.of(base, 64), [item])
    with torch.inference_mode():
        expected = reference_log_probability(model, ROWS[0])
    assert found.loss.item() == pytest.approx(-expected / 2, abs=1e-5)
