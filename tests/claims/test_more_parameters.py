import numpy as np
import pytest
import simulated_studies as simulated

from peftlens.claims.more_parameters import slope_weights, verdict
from peftlens.results.comparisons import Comparison, all_hold
from peftlens.results.contrasts import contrast

SIZES = {"prompt_tuning": 10**4, "ia3": 10**5, "lora": 10**6, "bottleneck": 10**7, "full": 10**8}


def accuracies(slope):
    return {name: 0.7 + slope * place for place, name in enumerate(SIZES)}


def tables(slope, changed=(), **options):
    given = {"items": 800, "seed_sd": 0.002, "sizes": SIZES} | options
    return simulated.study(accuracies(slope) | dict(changed), **given)


@pytest.mark.parametrize(
    ("slope", "outcome"),
    [
        (0.03, "supported"),
        (0.01, "insufficient evidence"),
        (0.0, "contradicted"),
        (-0.02, "contradicted"),
    ],
)
def test_one_point_for_ten_times_as_many_decides(slope, outcome):
    assert verdict(tables(slope))[0] == outcome


def test_weights_are_those_of_least_squares():
    sizes, values = [10, 1000, 5000, 10**6], np.array([0.2, 0.5, 0.4, 0.9])
    expected = np.polyfit(np.log10(sizes), values, 1)[0]
    assert np.dot(slope_weights(sizes), values) == pytest.approx(expected)


def test_the_sentence_has_every_method_by_size():
    _, sentence, _ = verdict(tables(0.03))
    assert sentence.startswith("Of 5 methods, ten times as many parameters have +3.")
    assert "(6 seeds, 800 examples): prompt_tuning 10,000: 0." in sentence


def test_baselines_do_not_count():
    found, sentence, _ = verdict(tables(0.03, {"frozen": 0.1}, sizes=SIZES | {"frozen": 0}))
    assert found == "supported"
    assert "frozen" not in sentence


def test_a_method_is_its_best_configuration_on_validation():
    one = tables(0.03, {"lora rank=1": 0.1}, sizes=SIZES | {"lora rank=1": 10})
    assert "lora rank=1" not in verdict(one)[1]


def test_a_method_at_the_edge_does_not_count():
    found, sentence, _ = verdict(
        tables(0.03, {"bitfit": 0.2}, sizes=SIZES | {"bitfit": 10**8}, at_edge=["bitfit"])
    )
    assert found == "supported"
    assert sentence.endswith("Best rates at the edge of their grid: bitfit; widen the grids.")


def test_too_few_tuned_methods_decide_nothing():
    found, sentence, _ = verdict(tables(0.03, at_edge=["ia3"]))
    assert found == "insufficient evidence"
    assert sentence.startswith("Too few of the methods are tuned.")


def test_four_methods_or_a_narrow_range_are_not_measured():
    few = {name: size for name, size in SIZES.items() if name != "ia3"}
    one = simulated.study(dict.fromkeys(few, 0.7), sizes=few)
    assert verdict(one)[0] == "not measured"
    narrow = dict(zip(SIZES, (1, 2, 3, 4, 50), strict=True))
    assert verdict(tables(0.03, sizes=narrow))[0] == "not measured"


def test_one_seed_is_not_measured():
    assert verdict(tables(0.03, seeds=1))[0] == "not measured"


def test_decisions_in_simulated_studies():
    weights = dict(zip(SIZES, slope_weights([*SIZES.values()]), strict=True))

    def shares(slope, studies=200):
        rng, found = np.random.default_rng(0), []
        for _ in range(studies):
            scores = simulated.scores(accuracies(slope), rng, items=200)
            estimate = contrast(scores, weights)
            one = Comparison(what="slope", estimate=estimate, low=0.01, n_seeds=6)
            found.append(all_hold([one], 0.025))
        return found.count(True) / studies, found.count(False) / studies

    assert shares(0.03)[0] >= 0.9
    assert shares(-0.01)[1] >= 0.9
    assert max(shares(0.01)) <= 0.05
