import pandas as pd
import pytest

from peftlens import registry
from peftlens.claims.memorization import verdict
from peftlens.results.table import IDENTITY


def tables(aucs, losses=None, seeds=(0, 1, 2)):
    """Tables of configurations with an AUC, and a held-out loss that is 1 if not given."""
    rows, log = [], []
    for name, auc in aucs.items():
        for seed in seeds:
            run = {"run": f"{name}{seed}", "configuration": name, "method": name.split()[0],
                   "seed": seed}  # fmt: skip
            loss = (losses or {}).get(name, 1.0)
            rows += [
                run | {"step": step, "score": score, "calibrated": calibrated,
                       "held_out_loss": loss,
                       "auc": auc + 0.001 * seed if (step, score, calibrated) == (9, "loss", True)
                       else 0.5}
                for step in (0, 9) for score in ("loss", "min_k") for calibrated in (False, True)
            ]  # fmt: skip
            log += [run | {"step": step, "validation_loss": value}
                    for step, value in ((1, None), (9, loss))]  # fmt: skip
    return {"memorization": pd.DataFrame(rows), "training_log": pd.DataFrame(log)}


@pytest.mark.parametrize(
    ("aucs", "losses", "outcome", "message"),
    [
        ({"lora": 0.6, "full": 0.9}, {}, "supported", "of 0.601, full with 0.901: -0.300"),
        ({"lora": 0.9, "full": 0.6}, {}, "contradicted", "+0.300, +0.300 to +0.300 (3 seeds)"),
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
    found, sentence = verdict(tables(aucs, losses))
    assert found == outcome
    assert message in sentence


def test_the_configuration_is_chosen_by_its_validation_loss():
    aucs = {"lora learning_rate=1": 0.95, "lora learning_rate=2": 0.6, "full": 0.9}
    losses = {"lora learning_rate=1": 1.2}
    found, sentence = verdict(tables(aucs, losses))
    assert found == "supported"
    assert "lora learning_rate=2" in sentence


def test_two_seeds_have_no_interval_and_others_no_pairs():
    found, sentence = verdict(tables({"lora": 0.6, "full": 0.9}, seeds=(0, 1)))
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
