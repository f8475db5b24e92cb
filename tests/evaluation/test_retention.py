from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

from peftlens.adapters.checkpoint import attach
from peftlens.data.head_tokenization import head_for
from peftlens.errors import InputError
from peftlens.evaluation import retention
from peftlens.evaluation.retention import (
    Reference,
    SuiteOptions,
    reference,
    scores,
    suite,
    suites,
    unchanged_scores,
)
from peftlens.models.base_model import load_base_model
from peftlens.models.snapshot import fingerprint, restored_after
from peftlens.registry import configure
from peftlens.tasks import load_task


@pytest.fixture(autouse=True)
def fresh(monkeypatch, tmp_path):
    monkeypatch.setenv("PEFTLENS_CACHE", str(tmp_path))


@pytest.fixture
def data(tmp_path):
    """Texts of a local file; the built-in ones would have to be fetched into the empty cache."""
    file = tmp_path / "texts.csv"
    file.write_text(
        "text\n" + "".join(f"{word} {n} words of text\n" for n in range(9) for word in "abcdef")
    )
    return f"file:{file}"


TEXTS = {"kind": "language_modeling", "template": "{text}"}


def test_the_base_is_scored_once(llama, data, monkeypatch):
    requested = suite(llama, data, TEXTS, None)
    first = reference(llama, requested)
    monkeypatch.setattr(retention, "_reference", lambda *_: pytest.fail("scored again"))
    again = reference(llama, requested)
    assert (again.scores.loss == first.scores.loss).all()
    assert torch.equal(again.states, first.states)


@pytest.mark.parametrize("change", ["base", "items", "dtype", "data"])
def test_whatever_matters_is_in_the_key(llama, data, bases, tmp_path, change):
    from peftlens.models.base_model import load_base_model

    requested, base = suite(llama, data, TEXTS, None), llama
    before = retention._key(base, requested)
    if change == "base":
        base = load_base_model(str(bases["gpt2"]), device="cpu", dtype="float32")
    elif change == "dtype":
        base = load_base_model(str(bases["llama"]), device="cpu", dtype="bfloat16")
    elif change == "items":
        requested = suite(llama, data, TEXTS, 3)
    else:
        with (tmp_path / "texts.csv").open("a") as file:
            file.write("one more\n")
        requested = suite(llama, data, TEXTS, None)
    assert retention._key(base, requested) != before


def test_scoring_leaves_the_base_alone(llama, data):
    before = fingerprint(llama.model)
    requested = suite(llama, data, TEXTS, None)
    scores(llama.model, llama, requested, reference(llama, requested))
    assert fingerprint(llama.model) == before


def test_texts_have_tokens_and_no_answers(llama, data):
    requested = suite(llama, data, TEXTS, 5)
    found = reference(llama, requested).scores
    assert found.right is None
    assert len(found.token_loss) == found.tokens.sum()
    assert found.loss.sum() == pytest.approx(found.token_loss.sum())
    at_first = found.token_loss[: found.tokens[0]]
    assert found.loss[0] == pytest.approx(at_first.sum())


def test_padding_would_be_caught_if_it_were_counted(llama, data, monkeypatch):
    """One text at a time has none; padding on the other side is read, and gives other sums."""
    requested = suite(llama, data, TEXTS, None)
    right = reference(llama, requested).scores.loss
    zeros = torch.zeros(len(reference(llama, requested).states), 32)
    alone = [
        scores(llama.model, llama, replace(requested, items=(item,)),
               Reference(None, zeros[: item.rows[0].scored])).loss[0]
        for item in requested.items
    ]  # fmt: skip
    assert right == pytest.approx(alone, abs=1e-4)
    real = retention.Collator.pad

    def read_padding(self, rows):
        ids, there = real(self, rows)
        return ids.flip(1), there

    monkeypatch.setattr(retention.Collator, "pad", read_padding)
    wrong = scores(llama.model, llama, requested, Reference(None, zeros)).loss
    assert np.abs(wrong - right).max() > 1


def test_virtual_tokens_would_be_caught_if_they_were_counted(llama, data):
    """Scored positions count from the end; from the start they would lie on the prompt."""
    requested = suite(llama, data, TEXTS, 6)
    known = reference(llama, requested)
    torch.manual_seed(0)
    with restored_after(llama.model):
        model = attach(
            llama.model,
            "prompt_tuning",
            configure("methods", "prompt_tuning", {"num_virtual_tokens": 3}),
        )
        found = scores(model, llama, requested, known)
        plain = []
        for item in requested.items:
            row = item.rows[0]
            ids = torch.tensor([[*row.prompt, *row.answer]])
            with torch.inference_mode():
                logs = (
                    model(input_ids=ids, attention_mask=torch.ones_like(ids))
                    .logits[0]
                    .log_softmax(-1)
                )
            targets = ids[0, -row.scored :, None]
            own = logs[-row.scored - 1 : -1].gather(1, targets).sum().item()
            shifted = logs[: row.scored].gather(1, targets).sum().item()
            assert abs(own - shifted) > 1e-3
            plain.append(-own)
    assert found.loss / found.tokens == pytest.approx(plain / found.tokens, abs=1e-5)


def test_a_head_that_is_more_than_a_product_has_no_divergence(llama, data, monkeypatch):
    requested = suite(llama, data, TEXTS, None)
    monkeypatch.setattr(retention, "output_head", lambda _: None)
    known = reference(llama, requested)
    assert known.head is None
    assert scores(llama.model, llama, requested, known).kl is None


@pytest.mark.parametrize("kind", ["decoder", "encoder"])
def test_the_base_itself_need_not_be_scored_again(llama, word_pieces, data, words, kind):
    questions = f"file:{words}"
    options = SuiteOptions(
        suites=(data, questions) if kind == "decoder" else (data,),
        suite_options={data: TEXTS, questions: {"template": "{text} is"}},
    )
    bert = str(word_pieces)
    base = llama if kind == "decoder" else load_base_model(bert, device="cpu", dtype="float32")
    for requested in suites(base, options):
        known = reference(base, requested)
        expected = scores(base.model, base, requested, known)
        np.testing.assert_equal(asdict(unchanged_scores(requested, known)), asdict(expected))


def test_texts_are_scored_whole_and_questions_up_to_a_number(llama, data, words):
    options = SuiteOptions(
        suites=(data, f"file:{words}"),
        items=5,
        suite_options={data: TEXTS, f"file:{words}": {"template": "{text} is"}},
    )
    texts, questions = suites(llama, options)
    assert len(texts.items) == len(suite(llama, data, TEXTS, None).items) > 5
    assert len(questions.items) == 5


def test_a_suite_without_items(llama, tmp_path):
    file = tmp_path / "short.csv"
    file.write_text("text\na\nb\nc\n")
    with pytest.raises(InputError, match="has no item that can be scored: .*fewer than two tokens"):
        suite(llama, f"file:{file}", TEXTS, None)


def test_a_base_with_a_new_head_is_scored_once_for_each_start_of_it(encoders, words):
    task = load_task(f"file:{words}", {"head": "classification"})
    base = load_base_model(
        str(encoders["bert"]), device="cpu", dtype="float32", head=head_for(task)
    )
    requested = suite(base, f"file:{words}", {"head": "classification"}, None)
    first, again, other = (reference(base, requested, seed).scores.loss for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()
    assert first == pytest.approx(np.log(2), abs=0.2)  # small weights hardly tell classes apart
