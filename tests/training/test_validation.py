"""Runs of every kind of head, with scores by the libraries that define them."""

import json

import numpy as np
import pytest
from scipy.stats import spearmanr
from seqeval.metrics import f1_score as seqeval_f1
from sklearn.metrics import f1_score, matthews_corrcoef

import peftlens
from peftlens.errors import InputError
from peftlens.evaluation.probe_runner import collect, run_probe
from peftlens.runs.config import RunConfig
from peftlens.training.run_plan import plan_run

NAMES, PLACES, OTHERS = ("ann", "bob", "eve"), ("rome", "oslo", "bern"), ("saw", "met", "left")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A file of rated texts, one of pairs, and one of tagged words."""
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    rated = [{"text": "ab"[n % 2] * (1 + n % 9) + f" {n}", "label": n % 9 / 2} for n in range(90)]
    pairs = [
        {
            "one": f"{'xy'[n % 2]} {n}",
            "two": f"{'xy'[n // 2 % 2]} {n}",
            "label": str(n % 2 == n // 2 % 2),
        }
        for n in range(90)
    ]
    tagged = []
    for n in range(60):
        words = [rng.choice(NAMES), rng.choice(OTHERS), rng.choice(PLACES), str(n)]
        tagged.append({"tokens": list(map(str, words)), "label": ["B-PER", "O", "B-LOC", "O"]})
    found = {}
    for name, rows in (("rated", rated), ("pairs", pairs), ("tagged", tagged)):
        found[name] = folder / f"{name}.jsonl"
        found[name].write_text("".join(json.dumps(row) + "\n" for row in rows))
    return found


@pytest.fixture(scope="module")
def train(encoders, files, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs")

    def make(name, base="bert", steps=12, **task):
        config = RunConfig(
            method="lora", task=f"file:{files[name]}", base_model=str(encoders[base]),
            task_config=task, device="cpu", dtype="float32",
            training={"max_steps": steps, "batch_size": 8, "learning_rate": 1e-2},
        )  # fmt: skip
        return peftlens.train(config, out)

    return make


def test_numbers_have_spearman_s_correlation_and_the_squared_error(train, context):
    run = train("rated", kind="regression", steps=20)
    frame = run_probe(context, run, "task_items").frame
    error = (frame["value"] - frame["predicted_value"]) ** 2
    np.testing.assert_allclose(frame["loss"], error)
    table = collect(context, [run], "task_accuracy", {}).frame
    expected = spearmanr(frame["value"], frame["predicted_value"]).statistic
    assert table["spearman"].item() == pytest.approx(expected)
    assert np.isnan(table["accuracy"].astype(float).item())
    # a constant prediction, the mean, has the variance as its error
    assert run.record.results["validation_loss"] < 2 * np.var(np.arange(9) / 2)
    assert "validation_spearman" in run.record.results


def test_tags_have_seqeval_s_f1(train, context):
    run = train("tagged", kind="token_classification", steps=40)
    frame = run_probe(context, run, "task_items").frame
    right, chosen = ([[*tags] for tags in frame[name]] for name in ("tags", "predicted_tags"))
    assert all(len(tags) == 4 for tags in right)
    table = collect(context, [run], "task_accuracy", {}).frame
    assert table["entity_f1"].item() == pytest.approx(seqeval_f1(right, chosen))
    share = (np.array(right) == np.array(chosen)).mean()
    assert table["accuracy"].item() == pytest.approx(share)
    assert run.record.results["validation_entity_f1"] > 0.5
    assert run.record.results["trainable_in_head"] == 32 * 3 + 3  # B-LOC, B-PER and O


def test_classes_have_macro_f1_and_matthews(train, context):
    run = train("pairs", template="{one}", pair="{two}")
    frame = run_probe(context, run, "task_items").frame
    table = collect(context, [run], "task_accuracy", {}).frame
    sides = frame["correct"], frame["chosen"]
    assert table["macro_f1"].item() == pytest.approx(f1_score(*sides, average="macro"))
    assert table["matthews"].item() == pytest.approx(matthews_corrcoef(*sides))
    assert table["accuracy"].item() == pytest.approx((sides[0] == sides[1]).mean())
    assert {"validation_macro_f1", "validation_matthews"} <= run.record.results.keys()


def test_probes_of_text_do_not_apply_to_a_head(train, context):
    run = train("pairs", template="{one}", pair="{two}")
    frame = run_probe(context, run, "divergence").frame
    assert frame["status"].tolist() == ["not_applicable"]
    assert "predicts no text" in frame["reason"].item()


@pytest.mark.parametrize(
    ("name", "task", "message"),
    [
        ("rated", {"kind": "language_modeling", "template": "{text}"}, "is an encoder, which pred"),
        ("rated", {"kind": "generation", "template": "{text}"}, "is an encoder, which predicts no"),
        ("rated", {"kind": "regression", "head": "classification"}, "is for kind = 'classificat"),
        ("tagged", {"kind": "token_classification", "words": "text"}, "text"),
        (
            "pairs",
            {"kind": "language_modeling", "template": "{one}", "pair": "{two}"},
            "is for a head",
        ),
    ],
)
def test_what_an_encoder_can_t_do_is_one_line(files, encoders, context, name, task, message):
    config = RunConfig(
        method="lora", task=f"file:{files[name]}", base_model=str(encoders["bert"]),
        task_config=task, device="cpu",
    )  # fmt: skip
    with pytest.raises(InputError, match=message) as caught:
        plan_run(config, context)
    assert "\n" not in str(caught.value)


def test_labels_that_are_no_numbers_are_counted(files, encoders, context):
    config = RunConfig(
        method="lora", task=f"file:{files['pairs']}", base_model=str(encoders["bert"]),
        task_config={"kind": "regression", "template": "{one}"}, device="cpu",
    )  # fmt: skip
    with pytest.raises(InputError, match=r"0 usable examples .*'the label is no number': 90"):
        plan_run(config, context)
