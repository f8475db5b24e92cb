"""Values by plain transformers and scikit-learn, one text at a time."""

import json

import numpy as np
import peft
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from transformers import AutoTokenizer, BertForSequenceClassification, BertModel

import peftlens
from peftlens.errors import InputError
from peftlens.evaluation import probe_runner
from peftlens.probes import linear_probes
from peftlens.probes.linear_probes import Config, measure
from peftlens.results.table import NotApplicable
from peftlens.runs.config import RunConfig
from peftlens.tasks import load_task

HEAD = {"head": "classification"}


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """Another task: which of three words a text has, and one text in five is told wrong."""
    words = ("walking", "talker", "plays")
    rows = [
        {
            "text": f"{n} good {words[n % 3]} the {n * 7 % 10}",
            "label": words[(n + (n % 5 == 0)) % 3],
        }
        for n in range(90)
    ]
    file = tmp_path_factory.mktemp("other") / "other.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return f"file:{file}"


@pytest.fixture
def trained(word_pieces, words, tmp_path):
    def train(method="lora", base=word_pieces, task=None, rate=3e-2, **options):
        return peftlens.train(
            RunConfig(
                method=method, task=task or f"file:{words}", base_model=str(base), device="cpu",
                dtype="float32", task_config=options,
                training={"max_steps": 4, "batch_size": 4, "learning_rate": rate,
                          "checkpoint_steps": [0]},
            ),
            tmp_path,
        )  # fmt: skip

    return train


def states(model, folder, texts):
    """Mean of the last hidden states over the tokens of each text."""
    tokenizer, found = AutoTokenizer.from_pretrained(folder), []
    for text in texts:
        with torch.inference_mode():
            output = model(**tokenizer(text, return_tensors="pt", return_token_type_ids=False))
        found.append(output.last_hidden_state[0].mean(dim=0).numpy())
    return np.array(found)


def right(train, classes, test, expected):
    scaler = StandardScaler().fit(train)
    model = LogisticRegression(max_iter=5000).fit(scaler.transform(train), classes)
    return model.predict(scaler.transform(test)) == expected


def test_accuracies_are_those_of_scikit_learn(context, trained, word_pieces, other):
    run = trained()
    rows = measure(context, run, Config(tasks=(other,)))
    plain = BertForSequenceClassification.from_pretrained(word_pieces, num_labels=2)
    tuned = peft.PeftModel.from_pretrained(plain, run.adapter()).eval()
    splits = load_task(other, HEAD).splits
    texts, classes = (
        {name: [read(one) for one in splits[name]] for name in ("train", "test")}
        for read in (lambda one: one.prompt, lambda one: one.correct)
    )
    found = []
    for model in (BertModel.from_pretrained(word_pieces).eval(), tuned.base_model.model.bert):
        train, test = (states(model, word_pieces, texts[name]) for name in ("train", "test"))
        found.append(right(train, classes["train"], test, classes["test"]))
    before, after = found
    end = rows[rows["step"] == 4].iloc[0]
    assert end["base_accuracy"] == before.mean()
    assert end["accuracy"] == after.mean()
    assert end["accuracy_change"] == pytest.approx(after.mean() - before.mean())
    assert (end["lost"], end["gained"]) == ((before & ~after).mean(), (after & ~before).mean())
    assert end["accuracy_ci_low"] <= end["accuracy_change"] <= end["accuracy_ci_high"]
    assert end["n_items"] == len(splits["test"])
    assert end["cka"] < 0.9999
    assert 0.3 < end["base_accuracy"] < 1


def test_before_training_nothing_is_forgotten(context, trained, other):
    rows = measure(context, trained("full"), Config(tasks=(other,)))
    start = rows[rows["step"] == 0].iloc[0]
    assert (start["accuracy_change"], start["lost"], start["gained"]) == (0, 0, 0)
    assert start["cka"] == pytest.approx(1)


def test_a_body_whose_states_are_all_alike_has_forgotten(context, trained, other, monkeypatch):
    run = trained()
    whole = linear_probes._mean_states
    opened = []

    def alike(model, base, examples):
        found = whole(model, base, examples)
        opened.append(len(found))
        return found if len(opened) == 1 else np.ones_like(found)

    monkeypatch.setattr(linear_probes, "_mean_states", alike)
    monkeypatch.setattr(linear_probes, "linear_cka", lambda *_: 0.0)
    row = measure(context, run, Config(tasks=(other,))).iloc[-1]
    assert row["accuracy"] == row["majority"]  # all that can be said without looking
    assert row["accuracy_ci_high"] < 0


def test_the_runs_own_task_is_left_out(context, trained, words, other):
    run, own = trained(), f"file:{words}"
    rows = measure(context, run, Config(tasks=(own, other), items=10, train=20))
    assert set(rows["suite"]) == {other}
    assert (rows["n_items"] == 10).all()
    assert (rows["n_train"] == 20).all()
    with pytest.raises(NotApplicable, match="no task is named but the run's own"):
        measure(context, run, Config(tasks=(own,)))


def test_a_decoder_with_a_head_is_measured_and_one_without_not(context, trained, bases, other):
    rows = measure(context, trained(base=bases["llama"], **HEAD), Config(tasks=(other,)))
    assert rows["cka"].iloc[0] == pytest.approx(1)
    with pytest.raises(NotApplicable, match="predicts text, which forgetting scores"):
        measure(context, trained(base=bases["llama"], rate=1e-3), Config(tasks=(other,)))


def test_forgetting_names_it_where_there_is_no_head_for_masked_tokens(
    context, trained, word_pieces, bases, tmp_path
):
    folder = tmp_path / "bare"
    BertModel.from_pretrained(word_pieces).save_pretrained(folder)
    AutoTokenizer.from_pretrained(word_pieces).save_pretrained(folder)
    for run in (trained(base=folder), trained(base=bases["llama"], **HEAD)):
        table = probe_runner.run_probe(context, run, "forgetting")
        assert table.frame["status"].tolist() == ["not_applicable"]
        assert table.frame["reason"].str.contains("measure linear_probes").all()


def test_what_has_no_classes_is_refused_in_one_line(context, trained, tmp_path):
    with pytest.raises(InputError, match=r"'passages_short' is of kind language_modeling.*classes"):
        measure(context, trained(), Config(tasks=("passages_short",)))
    rows = [{"text": f"good {n}", "label": "ab"[n % 2]} for n in range(12)]
    file = tmp_path / "few.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(InputError, match="4 test examples are needed, and it has 2"):
        measure(context, trained(), Config(tasks=(f"file:{file}",)))
