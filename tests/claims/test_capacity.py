import numpy as np
import pytest
import simulated_studies as simulated

from peftlens.claims.capacity import decide, verdict
from peftlens.results.contrasts import contrast


def tables(few, many, steps=(20, 400), ranks=(1, 64), **options):
    """Loss of accuracy of the lower rank, with few and with many examples."""
    names = {
        f"lora rank={rank} max_steps={n}": 0.6 + 0.1 * (n == steps[1]) - loss
        for n, other in zip(steps, (few, many), strict=True)
        for rank, loss in zip(ranks, (other, 0.0), strict=True)
    }
    return simulated.study(names, **({"items": 1500, "seed_sd": 0.002} | options))


@pytest.mark.parametrize(
    ("few", "many", "outcome"),
    [
        (0.0, 0.06, "supported"),
        (0.0, 0.0, "contradicted"),
        (0.06, 0.0, "contradicted"),  # it shrinks
        (0.06, 0.06, "insufficient evidence"),  # rank 64 is needed for any
        (0.0, 0.02, "insufficient evidence"),
    ],
)
def test_what_the_lower_rank_loses_decides(few, many, outcome):
    assert verdict(tables(few, many))[0] == outcome


def test_the_sentence_has_both_amounts():
    _, sentence, _ = verdict(tables(0.0, 0.06))
    assert sentence.startswith("Against rank 64, with 160 and with 3200 training examples: rank 1 ")


def test_some_rank_between_is_enough():
    """Rank 1 never suffices; rank 8 does with few examples only."""
    names = {}
    for steps, losses in ((20, (0.1, 0.0, 0.0)), (400, (0.1, 0.06, 0.0))):
        for rank, loss in zip((1, 8, 64), losses, strict=True):
            names[f"lora rank={rank} max_steps={steps}"] = 0.7 - loss
    assert verdict(simulated.study(names, items=1500, seed_sd=0.002))[0] == "supported"


@pytest.mark.parametrize(
    "options", [{"steps": (20, 100)}, {"ranks": (16, 64)}, {"steps": (400, 400)}]
)
def test_a_narrow_range_is_not_measured(options):
    assert verdict(tables(0.0, 0.06, **options))[0] == "not measured"


def test_examples_are_counted_once():
    one = tables(0.0, 0.06)
    one["configurations"]["split"] = '{"max_train":200}'  # 160 and 200 examples
    assert verdict(one)[0] == "not measured"


def test_ranks_on_other_layers_are_not_compared():
    names = {
        "lora rank=1 max_steps=20": 0.6, "lora rank=64 max_steps=20": 0.6,
        "lora rank=1 max_steps=400 target_modules=attention": 0.6,
        "lora rank=64 max_steps=400 target_modules=attention": 0.7,
    }  # fmt: skip
    assert verdict(simulated.study(names))[0] == "not measured"


@pytest.mark.parametrize("rank", [1, 64])
def test_a_best_rate_at_the_edge_decides_nothing(rank):
    edge = f"lora rank={rank} max_steps=400"
    found, sentence, _ = verdict(tables(0.0, 0.06, at_edge=[edge]))
    assert found == "insufficient evidence"
    assert sentence.endswith(f"Best rates at the edge of their grid: rank {rank}; widen the grids.")


def test_one_seed_is_not_measured():
    assert verdict(tables(0.0, 0.06, seeds=1))[0] == "not measured"


def test_of_several_alphas_the_one_that_validates_best_counts():
    names = {
        f"lora rank={rank} max_steps={n}": 0.7 for rank in (1, 64) for n in (20, 400)
    } | {"lora rank=1 max_steps=400 alpha=1": 0.5}  # fmt: skip
    worse, better = ({"lora rank=1 max_steps=400 alpha=1": value} for value in (0.1, 0.9))
    options = {"items": 1500, "seed_sd": 0.002}
    assert verdict(simulated.study(names, validation=worse, **options))[0] == "contradicted"
    assert verdict(simulated.study(names, validation=better, **options))[0] == "supported"


def test_decisions_in_simulated_studies():
    def shares(few, many, studies=200):
        means = {"low few": 0.6 - few, "high few": 0.6, "low many": 0.7 - many, "high many": 0.7}
        rng, found = np.random.default_rng(0), []
        for _ in range(studies):
            scores = simulated.scores(means, rng, items=300)
            gaps = [contrast(scores, {f"low {n}": 1.0, f"high {n}": -1.0}) for n in ("few", "many")]
            found.append(decide({1: tuple(gaps)}, 1, 0.025))
        return [found.count(name) / studies for name in ("supported", "contradicted")]

    assert shares(-0.04, 0.09)[0] >= 0.9
    assert shares(0.0, -0.04)[1] >= 0.9
    assert max(shares(0.0, 0.02)) <= 0.05  # at the margin with many examples
    assert shares(0.02, 0.1)[0] <= 0.05  # at the margin with few
