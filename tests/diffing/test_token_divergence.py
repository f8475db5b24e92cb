import pytest
import torch
from tiny import SIZES
from transformers import Gemma2Config, Gemma2ForCausalLM

from peftlens.adapters import checkpoint
from peftlens.data.tokenization import TokenizedAnswer
from peftlens.diffing.token_divergence import BaseReading, token_divergence
from peftlens.evaluation import retention
from peftlens.evaluation.retention import suite
from peftlens.methods import lora, prompt_tuning
from peftlens.models.base_model import BaseModel, load_base_model
from peftlens.models.snapshot import restored_after

ROWS = [
    TokenizedAnswer((), (40, 41, 42, 43)),
    TokenizedAnswer((50, 51), (60, 61)),
    TokenizedAnswer((), tuple(range(70, 90))),
]


def shaken(model, method, config):
    """Attach a method and move what it trains."""
    torch.manual_seed(3)
    wrapped = checkpoint.attach(model, method, config).eval()
    with torch.no_grad():
        for parameter in wrapped.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape), alpha=0.3)
    return wrapped


def compared(base, method, config):
    """The divergences, and both models' log-probabilities row by row from plain passes."""
    reading, plain = BaseReading.of(base, ROWS), []
    plain.append([logs(base.model, row) for row in ROWS])
    with restored_after(base.model):
        model = shaken(base.model, method, config)
        found = token_divergence(model, base, reading)
        plain.append([logs(model, row) for row in ROWS])
    return found, *(torch.cat(one) for one in plain)


def logs(model, row):
    ids = torch.tensor([[*row.prompt, *row.answer]])
    first = len(row.prompt) or 1
    with torch.inference_mode():
        out = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0]
    predicting = out[-ids.shape[1] :][first - 1 : -1]  # behind virtual tokens
    return predicting.log_softmax(-1).double()


METHODS = [
    ("lora", lora.Config(rank=2)),
    ("prompt_tuning", prompt_tuning.Config(num_virtual_tokens=3)),
]


@pytest.mark.parametrize(("method", "config"), METHODS)
def test_every_token_s_divergence_is_that_of_plain_forward_passes(llama, method, config):
    found, p, q = compared(llama, method, config)
    expected = (p.exp() * (p - q)).sum(dim=-1)
    torch.testing.assert_close(torch.tensor(found.kl), expected, rtol=1e-4, atol=1e-6)
    assert found.row.tolist() == [0] * 3 + [1] * 2 + [2] * 19
    assert found.place.tolist() == [1, 2, 3, 0, 1, *range(1, 20)]
    targets = [41, 42, 43, 60, 61, *range(71, 90)]
    for predictions, logs_of in ((found.base, p), (found.tuned, q)):
        chosen = logs_of[range(24), targets].exp()
        torch.testing.assert_close(torch.tensor(predictions.probability), chosen, rtol=1e-4, atol=0)
        top = logs_of.topk(3)
        assert predictions.expected.tolist() == top.indices.tolist()
        torch.testing.assert_close(
            torch.tensor(predictions.probabilities), top.values.exp(), rtol=1e-4, atol=0
        )


def test_logits_that_the_model_caps_behind_its_head(llama):
    """Gemma 2 passes its head's outputs through c tanh(x / c), here with c = 0.1."""
    torch.manual_seed(0)
    model = Gemma2ForCausalLM(
        Gemma2Config(
            **SIZES, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
            num_attention_heads=4, num_key_value_heads=2, head_dim=8, final_logit_softcapping=0.1,
        )
    ).eval()  # fmt: skip
    base = BaseModel(model, llama.tokenizer, "gemma", "0", "cpu", "float32", False)
    found, p, q = compared(base, *METHODS[0])
    expected = (p.exp() * (p - q)).sum(dim=-1)
    torch.testing.assert_close(torch.tensor(found.kl), expected, rtol=1e-3, atol=1e-8)


@pytest.mark.parametrize("kind", ["gpt2", "t5"])
def test_a_model_does_not_diverge_from_itself(bases, kind):
    base = load_base_model(str(bases[kind]), device="cpu", dtype="float32")
    rows = [TokenizedAnswer((1,), row.answer) for row in ROWS]
    found = token_divergence(base.model, base, BaseReading.of(base, rows))
    assert not found.kl.any()
    assert len(found.kl) == 26


def test_the_head_that_is_compared_with_is_the_base_s(llama):
    """A trained head is not taken for the base's."""
    reading = BaseReading.of(llama, ROWS)
    plain = torch.cat([logs(llama.model, row) for row in ROWS])
    with restored_after(llama.model):
        model = checkpoint.attach(llama.model, "head", None).eval()
        with torch.no_grad():
            head = model.get_output_embeddings()
            head.weight.add_(torch.randn(head.weight.shape), alpha=0.1)
        found = token_divergence(model, llama, reading)
        q = torch.cat([logs(model, row) for row in ROWS])
    expected = (plain.exp() * (plain - q)).sum(dim=-1)
    assert expected.min() > 0
    torch.testing.assert_close(torch.tensor(found.kl), expected, rtol=1e-4, atol=1e-6)


TEXTS = {"kind": "language_modeling", "template": "{text}"}


def test_what_the_base_read_of_a_suite_is_kept_for_the_next_process(llama, tmp_path, monkeypatch):
    file = tmp_path / "texts.csv"
    file.write_text("text\n" + "".join(f"{n} words of text {'and more ' * n}\n" for n in range(40)))
    texts = suite(llama, f"file:{file}", TEXTS, None)
    expected = BaseReading.of(llama, [item.rows[0] for item in texts.items])
    first = BaseReading.of_suite(llama, texts)
    monkeypatch.setattr(retention, "_reference", None)  # not read again
    again = BaseReading.of_suite(llama, texts)
    for found in (first, again):
        assert found.rows == expected.rows
        assert [len(one) for one in found.states] == [len(one) for one in expected.states]
        for one, other in zip(found.states, expected.states, strict=True):
            torch.testing.assert_close(one, other)
