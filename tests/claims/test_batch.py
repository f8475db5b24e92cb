import numpy as np
import pytest
import simulated_studies as simulated

from peftlens.claims import all_hold, outcome_of
from peftlens.claims.batch import comparisons, verdict
from peftlens.results.contrasts import contrast

NAMES = ("lora batch_size=8", "full batch_size=8", "lora batch_size=128", "full batch_size=128")


def tables(small=0.0, large=0.0, names=NAMES, **options):
    """LoRA less full fine-tuning, at the two batches."""
    accuracies = dict(zip(names, (0.7 + small, 0.7, 0.75 + large, 0.75), strict=True))
    return simulated.study(accuracies, **({"items": 1500, "seed_sd": 0.002} | options))


@pytest.mark.parametrize(
    ("small", "large", "outcome"),
    [
        (0.0, -0.06, "supported"),
        (0.0, 0.0, "contradicted"),
        (-0.06, -0.06, "contradicted"),  # it loses everywhere
        (0.08, 0.02, "contradicted"),  # it loses more with the batch, and is better still
        (0.0, -0.02, "insufficient evidence"),
    ],
)
def test_the_change_and_the_loss_decide(small, large, outcome):
    assert verdict(tables(small, large))[0] == outcome


def test_the_sentence_has_both_batches_and_the_change():
    _, sentence, _ = verdict(tables(0.0, -0.06))
    assert sentence.startswith("lora batch_size=128 minus full batch_size=128: ")
    assert "at batches of 8, " in sentence
    assert "at batches of 128, a change of -5." in sentence
    assert sentence.endswith("(6 seeds, 1,500 examples).")


def test_passes_of_a_step_make_a_batch_and_steps_may_differ():
    large = [f"{m} gradient_accumulation_steps=16 max_steps=20" for m in ("lora", "full")]
    found, sentence, _ = verdict(tables(0.0, -0.06, (*NAMES[:2], *large)))
    assert found == "supported"
    assert "at batches of 128" in sentence


@pytest.mark.parametrize(
    "names",
    [
        (*NAMES[:2], "lora batch_size=32", "full batch_size=32"),  # a factor of 4
        (*NAMES[:2], "lora batch_size=128", "full batch_size=64"),
        (*NAMES[:2], "lora batch_size=128 rank=4", "full batch_size=128"),
        (*NAMES[:2], "lora batch_size=128 max_steps=50", "full batch_size=128"),
    ],
)
def test_what_was_not_trained_alike_is_not_compared(names):
    assert verdict(tables(0.0, -0.06, names))[0] == "not measured"


@pytest.mark.parametrize("name", NAMES)
def test_a_best_rate_at_the_edge_decides_nothing(name):
    found, sentence, _ = verdict(tables(0.0, -0.06, at_edge=[name]))
    assert found == "insufficient evidence"
    assert sentence.endswith(f"Best rates at the edge of their grid: {name}; widen the grids.")


def test_one_seed_is_not_measured():
    assert verdict(tables(0.0, -0.06, seeds=1))[0] == "not measured"


def test_the_largest_lora_counts():
    small = [f"lora rank=1 batch_size={n}" for n in (8, 128)]
    accuracies = dict(zip(NAMES, (0.7, 0.7, 0.7, 0.7), strict=True))
    sizes = dict.fromkeys(small, 10**4)
    one = simulated.study(
        accuracies | {small[0]: 0.7, small[1]: 0.5}, sizes=sizes, items=1500, seed_sd=0.002
    )
    assert verdict(one)[0] == "contradicted"


def test_decisions_in_simulated_studies():
    def shares(small, large, studies=200):
        accuracies = dict(zip(NAMES, (0.7 + small, 0.7, 0.75 + large, 0.75), strict=True))
        rng, found = np.random.default_rng(0), []
        for _ in range(studies):
            scores = simulated.scores(accuracies, rng, items=300)
            after = {NAMES[2]: 1.0, NAMES[3]: -1.0}
            change = contrast(scores, after | {NAMES[0]: -1.0, NAMES[1]: 1.0})
            both = comparisons(change, contrast(scores, after), 6, 300)
            found.append(outcome_of(all_hold(both, 0.025)))
        return [found.count(name) / studies for name in ("supported", "contradicted")]

    assert shares(0.0, -0.1)[0] >= 0.9
    assert shares(0.0, 0.05)[1] >= 0.9
    assert max(shares(0.0, -0.02)) <= 0.05  # the change is at the margin
    assert shares(0.05, 0.0)[0] <= 0.05  # the change is there, and no loss
