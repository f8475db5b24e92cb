"""Losses and scores against a plain reference: one row at a time, no padding, all logits."""

import numpy as np
import peft
import pytest
import torch
from torch.nn.functional import cross_entropy

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
    choose,
    log_probabilities,
)
from peftlens.models.base_model import load_base_model
from peftlens.models.snapshot import restored_after

ROWS = [
    TokenizedAnswer((10, 11, 12), (13, 14)),
    TokenizedAnswer((20,), (21,)),
    TokenizedAnswer((30, 31), (32, 33, 34)),
]
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
