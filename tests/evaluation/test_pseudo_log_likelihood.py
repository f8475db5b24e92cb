"""Values by plain transformers and peft: one text and one masked token at a time."""

import json

import numpy as np
import peft
import pytest
import torch
from transformers import AutoTokenizer, BertForMaskedLM, BertForSequenceClassification

import peftlens
from peftlens.evaluation.pseudo_log_likelihood import MASKED, masked_suites
from peftlens.evaluation.retention import SuiteOptions, reference, scores, suites
from peftlens.models.base_model import load_base_model
from peftlens.results.table import NotApplicable
from peftlens.runs.config import RunConfig

TEXTS = [f"the {word} walking talker plays {n}" for n in range(9) for word in ("good", "rude")]
OPTIONS = {"kind": "language_modeling", "template": "{text}"}


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    file = tmp_path_factory.mktemp("texts") / "texts.jsonl"
    file.write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
    return f"file:{file}"


@pytest.fixture
def options(texts):
    return SuiteOptions(suites=(texts,), suite_options={texts: OPTIONS})


def encoder(folder):
    return load_base_model(str(folder), device="cpu", dtype="float32")


def by_hand(folder, text, body):
    """Loss of every token: it and the later pieces of its word are masked."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    plain = BertForMaskedLM.from_pretrained(folder).eval()
    ids = tokenizer(text)["input_ids"]
    tokens = tokenizer.convert_ids_to_tokens(ids)
    losses = []
    for at in range(1, len(ids) - 1):  # between [CLS] and [SEP]
        end = at + 1
        while tokens[end].startswith("##"):
            end += 1
        masked = [*ids[:at], *[tokenizer.mask_token_id] * (end - at), *ids[end:]]
        with torch.inference_mode():
            logits = plain.cls(body(input_ids=torch.tensor([masked])).last_hidden_state)
        losses.append(-float(logits[0, at].log_softmax(-1)[ids[at]]))
    return losses


def test_the_bases_loss_is_that_of_plain_transformers(word_pieces, options):
    base = encoder(word_pieces)
    (suite,) = suites(base, options)
    found = reference(base, suite).scores
    plain = BertForMaskedLM.from_pretrained(word_pieces).eval().bert
    task = peftlens.tasks.load_task(options.suites[0], OPTIONS)
    expected = [by_hand(word_pieces, one.answers[0], plain) for one in task.splits["test"]]
    assert found.tokens.tolist() == [len(one) for one in expected]
    assert max(found.tokens) < MASKED
    np.testing.assert_allclose(found.loss, [sum(one) for one in expected], rtol=1e-5)
    assert suite.name.endswith(", masked tokens")


@pytest.mark.parametrize("method", ["lora", "prompt_tuning"])
def test_a_runs_body_is_read_by_the_bases_head(word_pieces, words, options, tmp_path, method):
    run = peftlens.train(
        RunConfig(
            method=method, task=f"file:{words}", base_model=str(word_pieces), device="cpu",
            dtype="float32",
            training={"max_steps": 3, "batch_size": 4, "learning_rate": 3e-2},
        ),
        tmp_path,
    )  # fmt: skip
    base = peftlens.adapters.run_context.RunContext().base_model(run)
    (suite,) = suites(base, options)
    before = reference(base, suite)
    with peftlens.adapters.checkpoint.open_run(run, base) as model:
        found = scores(model, base, suite, before)
    plain = BertForSequenceClassification.from_pretrained(word_pieces, num_labels=2)
    tuned = peft.PeftModel.from_pretrained(plain, run.adapter()).eval()
    states = []
    plain.bert.register_forward_hook(lambda _, __, output: states.append(output))

    def body(input_ids):
        tuned(input_ids=input_ids, attention_mask=torch.ones_like(input_ids))
        output = states.pop()
        output.last_hidden_state = output.last_hidden_state[:, -input_ids.shape[1] :]
        return output

    text = peftlens.tasks.load_task(options.suites[0], OPTIONS).splits["test"][0].answers[0]
    expected = sum(by_hand(word_pieces, text, body))
    assert found.loss[0] == pytest.approx(expected, rel=1e-5)
    assert abs(found.loss[0] - before.scores.loss[0]) > 1e-3
    assert (found.kl > 0).all()


def test_kl_is_that_of_both_distributions(word_pieces, options):
    base = encoder(word_pieces)
    (suite,) = suites(base, options)
    plain = BertForMaskedLM.from_pretrained(word_pieces).eval()
    one, two = torch.randn(2, 5, 32, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        p, q = (plain.cls(states).log_softmax(-1) for states in (one, two))
    expected = torch.nn.functional.kl_div(q, p, log_target=True, reduction="none").sum(-1)
    torch.testing.assert_close(suite.divergence(one, two), expected, rtol=1e-4, atol=1e-5)


def test_of_a_long_text_some_tokens_are_drawn_the_same_each_time(word_pieces, tmp_path):
    file = tmp_path / "long.jsonl"
    rows = [{"text": f"{n} " + "good bad fine poor " * 8} for n in range(9)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    name = f"file:{file}"
    first, again = (
        masked_suites(encoder(word_pieces), (name,), {name: OPTIONS}, 64)[0] for _ in range(2)
    )
    assert first.rows == again.rows
    assert first.lengths[0] == MASKED
    places = [row.places[0] for row in first.rows[0]]
    assert places == sorted(set(places))
    assert min(places) >= 1


def test_texts_alone_are_scored(word_pieces, texts, words):
    options = SuiteOptions(suites=(texts, f"file:{words}"), suite_options={texts: OPTIONS})
    assert len(suites(encoder(word_pieces), options)) == 1
    with pytest.raises(NotApplicable, match="only texts are scored.*passages_short"):
        suites(encoder(word_pieces), SuiteOptions(suites=(f"file:{words}",)))


def test_an_encoder_without_the_head_is_told_of_linear_probes(word_pieces, options, tmp_path):
    folder = tmp_path / "bare"
    BertForMaskedLM.from_pretrained(word_pieces).bert.save_pretrained(folder)
    AutoTokenizer.from_pretrained(word_pieces).save_pretrained(folder)
    with pytest.raises(NotApplicable, match="no head for masked tokens.*linear_probes"):
        suites(encoder(folder), options)


def test_a_tokenizer_needs_a_mask(encoders, options):
    with pytest.raises(NotApplicable, match="no mask token.*set mask_token"):
        suites(encoder(encoders["bert"]), options)
