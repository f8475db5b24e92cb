import numpy as np
import planted as vocabularies
import pytest
import torch

from peftlens.models.base_model import load_base_model
from peftlens.vocab.null_tests import Chance, NeighborhoodSpace
from peftlens.vocab.planted import Power, common_words, power, shares_found, toward
from peftlens.vocab.vocabulary import states, vocabulary


def test_planted_directions_have_their_cosine():
    targets = torch.randn(50, 32, generator=torch.Generator().manual_seed(0))
    found = toward(targets, 0.6, np.random.default_rng(0))
    assert torch.cosine_similarity(found, targets).numpy() == pytest.approx(0.6, abs=1e-5)
    assert found.norm(dim=1).numpy() == pytest.approx(1, abs=1e-5)


def test_uniform_p_values_are_found_at_most_at_the_level():
    p = np.random.default_rng(0).uniform(size=(1, 1000))
    assert shares_found(p, 20, 999, known_start=False)[0] < 0.02
    assert shares_found(np.zeros((1, 5)), 20, 999, known_start=True)[0] == 1


def test_the_detectable_cosine_is_the_least_with_power_from_it_on():
    assert Power({0.2: 0.9, 0.4: 0.5, 0.6: 0.8, 1.0: 1.0}).detectable == 0.6
    nothing = Power({0.2: 0.1, 1.0: 0.7})
    assert nothing.detectable is None
    assert "not even" in str(nothing)


def test_the_power_rises_with_the_cosine(planted_base):
    base = load_base_model(str(planted_base), device="cpu", dtype="float32")
    known = vocabulary(base)
    space = NeighborhoodSpace.of(known.table, known, states(base), "centered")
    null = Chance.of(space, 300, np.random.default_rng(0)).nulls["random_directions"]
    found = power(base, "embedding", space, null, 8, known_start=True).at
    assert set(common_words(known)) <= set(known.usable)
    assert found[1.0] > found[0.2]
    # only members of clusters, a quarter of the words, have tight neighborhoods
    members = vocabularies.GROUPS * vocabularies.MEMBERS
    assert found[1.0] < members / (members + vocabularies.LONERS) + 0.1
