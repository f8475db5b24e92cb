import numpy as np
import pytest

from peftlens.diffing.planted_components import SHARES, planted, sparseness_power


def test_the_share_of_the_energy_on_one_token_is_as_asked():
    rng = np.random.default_rng(0)
    ids = np.repeat([5, 7, 9, 11], [1, 4, 15, 80])
    values = planted(rng.normal(size=(100, 50)), ids, 0.3, rng)
    assert np.square(values).sum(axis=0) == pytest.approx(1)
    # of each component, one token has this share; the first token of the text may be it
    by_token = np.array([np.square(values[ids == one]).sum(axis=0) for one in np.unique(ids)])
    fired = np.array([np.ptp(np.abs(values[ids == one]), axis=0) < 1e-12 for one in (7, 9, 11)])
    alone = ~fired.any(axis=0)
    assert by_token[1:][fired] == pytest.approx(0.3)
    assert by_token[0][alone] == pytest.approx(0.3)
    assert 0 < alone.sum() < 50


def test_power_rises_with_the_share_and_falls_with_the_noise():
    rng = np.random.default_rng(0)
    ids = rng.permutation(np.repeat(np.arange(40), 10))
    even = [rng.normal(size=(400, 30)) for _ in range(20)]
    uneven = [
        one * np.exp(rng.normal(0, 1.5, size=30) * rng.exponential(size=(400, 1))) for one in even
    ]
    clear, hidden = (sparseness_power(one, ids, np.random.default_rng(0)) for one in (even, uneven))
    assert [*clear] == [*SHARES]
    assert clear[0.1] <= clear[0.2] <= clear[0.4] == 1
    assert hidden[0.4] < 0.5


def test_few_random_directions_can_tell_nothing():
    rng = np.random.default_rng(0)
    power = sparseness_power([rng.normal(size=(100, 3))], np.arange(100), rng)
    assert set(power.values()) == {0.0}  # p is at least 1/4
