from itertools import product

import pandas as pd
import pytest

from peftlens import registry
from peftlens.claims import memorization
from peftlens.claims.memorization import verdict
from peftlens.results.table import IDENTITY


def tables(aucs, losses=None, seeds=(0, 1, 2), error=0.0, spread=0.0):
    """Tables of configurations with an AUC, and a held-out loss that is 1 if not given.

    The standard error of an AUC over rows, and the half range of LoRA's losses over seeds, are 0.
    """
    rows, log = [], []
    for name, auc in aucs.items():
        for seed in seeds:
            run = {"run": f"{name}{seed}", "configuration": name, "method": name.split()[0],
                   "seed": seed}  # fmt: skip
            loss = (losses or {}).get(name, 1.0) + spread * (seed - 1) * name.startswith("lora")
            for step, score, calibrated in product((0, 9), ("loss", "min_k"), (False, True)):
                judged = (step, score, calibrated) == (9, "loss", True)
                area = auc + 0.001 * seed if judged else 0.5
                rows.append(
                    run | {"auc": area, "ci_low": max(area - 1.96 * error, 0),
                           "ci_high": min(area + 1.96 * error, 1), "n_trained": 300, "step": step,
                           "score": score, "calibrated": calibrated, "held_out_loss": loss}
                )  # fmt: skip
            log += [run | {"step": step, "validation_loss": value}
                    for step, value in ((1, None), (9, loss))]  # fmt: skip
    return {"memorization": pd.DataFrame(rows), "training_log": pd.DataFrame(log)}


@pytest.mark.parametrize(
    ("aucs", "losses", "outcome", "message"),
    [
        ({"lora": 0.6, "full": 0.9}, {}, "supported", "of 0.601, full with 0.901: -0.300"),
        ({"lora": 0.9, "full": 0.6}, {}, "contradicted", "+0.300, +0.300 to +0.300 (3 seeds and"),
        ({"lora": 0.9, "full": 0.6}, {"lora": 1.5}, "contradicted", "+0.50 nats per token"),
        (
            {"lora": 0.6, "full": 0.9},
            {"lora": 1.06},
            "insufficient evidence",
            "only have learned less",
        ),
        ({"lora": 0.9, "full": 0.6}, {"lora": 0.9}, "insufficient evidence", "have learned more"),
        ({"lora": 0.6, "full": 0.6}, {}, "insufficient evidence", "+0.000, +0.000 to +0.000"),
        ({"lora": 0.6}, {}, "not measured", "must both be trained"),
        ({"lora": 0.6, "lora_plus": 0.7}, {}, "not measured", "must both be trained"),
    ],
)
def test_every_outcome(aucs, losses, outcome, message):
    found, sentence, _ = verdict(tables(aucs, losses))
    assert found == outcome
    assert message in sentence


def test_the_configuration_is_chosen_by_its_validation_loss():
    aucs = {"lora learning_rate=1": 0.95, "lora learning_rate=2": 0.6, "full": 0.9}
    losses = {"lora learning_rate=1": 1.2}
    found, sentence, _ = verdict(tables(aucs, losses))
    assert found == "supported"
    assert "lora learning_rate=2" in sentence


def test_two_seeds_have_no_interval_and_others_no_pairs():
    found, sentence, _ = verdict(tables({"lora": 0.6, "full": 0.9}, seeds=(0, 1)))
    assert found == "insufficient evidence"
    assert "(2 seeds)" in sentence
    apart = tables({"lora": 0.6, "full": 0.9})
    rows = apart["memorization"]
    rows.loc[rows["method"] == "full", "seed"] += 10
    assert verdict(apart)[0] == "not measured"


def test_the_probes_have_these_columns():
    for name, frame in tables({"lora": 0.6}).items():
        columns = (*IDENTITY, *registry.load("probes", name).COLUMNS)
        assert {*frame} <= {column.name for column in columns}


def test_rows_that_all_seeds_share_are_a_source_of_noise():
    """Three seeds that agree, and AUCs of 300 rows with standard errors of 0.02."""
    aucs = {"lora": 0.55, "full": 0.6}
    assert verdict(tables(aucs))[0] == "supported"
    found, sentence, _ = verdict(tables(aucs, error=0.02))
    assert found == "insufficient evidence"
    assert "-0.050, -0.105 to +0.005" in sentence  # 1.96 times 0.02 √2


def test_an_interval_that_ends_at_one_hides_no_noise():
    """The AUC of 0.99 has as much noise as that of 0.6, though its interval is cut."""
    rows = tables({"lora": 0.6, "full": 0.98}, error=0.02)["memorization"]
    for _, own in rows[(rows["auc"] > 0.5)].groupby("method"):
        assert memorization._row_variance(own) == pytest.approx(0.02**2, rel=1e-3)


def test_that_lora_fits_as_well_must_be_shown():
    """A loss that is as high in the mean, and may be 0.05 higher."""
    aucs = {"lora": 0.6, "full": 0.9}
    assert verdict(tables(aucs, spread=0.01))[0] == "supported"
    found, sentence, _ = verdict(tables(aucs, spread=0.03))  # standard error 0.017, t 2.9 < 4.3
    assert found == "insufficient evidence"
    assert "may only have learned less" in sentence
