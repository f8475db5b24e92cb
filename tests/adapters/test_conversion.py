"""Ranks by budget, on updates whose singular values are known."""

import numpy as np
import pytest

from peftlens.adapters.conversion import Budget, decompose, lora_factors
from peftlens.adapters.delta_weights import DeltaWeight
from peftlens.adapters.weight_changes import ModuleUpdate
from peftlens.errors import InputError

RNG = np.random.default_rng(0)


def update(name, values, shape=(12, 8), modules=None):
    u = np.linalg.qr(RNG.normal(size=(shape[0], len(values))))[0]
    v = np.linalg.qr(RNG.normal(size=(shape[1], len(values))))[0]
    before = RNG.normal(size=shape).astype(np.float32)
    after = (before + u * values @ v.T).astype(np.float32)
    delta = DeltaWeight(name=f"{name}.weight", before=before, change=after - before)
    modules = modules or (name,)
    return ModuleUpdate(modules=modules, delta=delta, is_table=(False,) * len(modules))


@pytest.fixture
def spectra():
    return decompose([update("one", [4.0, 2.0, 1.0]), update("two", [3.0, 3.0], (20, 20))])


def test_rounding_errors_are_no_directions(spectra):
    assert [len(one.svd.s) for one in spectra] == [3, 2]
    np.testing.assert_allclose(spectra[0].svd.s, [4, 2, 1], atol=1e-5)
    assert decompose([update("none", [0.0])]) == []


def test_ranks_of_each_budget(spectra):
    assert Budget(rank=2).ranks(spectra) == [2, 2]
    assert Budget(rank=9).ranks(spectra) == [3, 2]
    assert Budget(energy=0.7).ranks(spectra) == [1, 2]  # 16 / 21, and 9 / 18
    assert Budget(energy=1.0).ranks(spectra) == [3, 2]
    # a rank costs 20 and 40; energies for each parameter are 0.8, 0.2, 0.05, and 0.225 twice
    assert Budget(rank=1, adaptive=True).ranks(spectra) == [1, 1]
    assert spectra[0].energy(1) == pytest.approx(16 / 21, rel=1e-5)


def test_factors_give_the_truncated_update(spectra):
    factors = lora_factors(spectra, [2, 0])
    assert [one.module for one in factors] == ["one"]
    u, s, vt = np.linalg.svd(spectra[0].update.delta.change)
    np.testing.assert_allclose(factors[0].b @ factors[0].a, u[:, :2] * s[:2] @ vt[:2], atol=1e-5)


def test_a_tied_head_has_the_factors_twice_and_costs_twice():
    (one,) = decompose([update("table", [1.0], modules=("table", "head"))])
    assert one.cost == 40
    assert [found.module for found in lora_factors([one], [1])] == ["table", "head"]


def test_energy_of_a_large_matrix_may_need_more_than_is_computed(spectra):
    from dataclasses import replace

    large = replace(spectra[0], norm=10.0)
    assert large.energy_rank(0.15) == 1
    with pytest.raises(InputError, match="energy=0.9 of one.weight needs more than"):
        large.energy_rank(0.9)
