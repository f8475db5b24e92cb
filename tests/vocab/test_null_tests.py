import collections
import dataclasses

import numpy as np
import planted
import pytest
import torch

from peftlens.adapters.run_context import RunContext
from peftlens.models.base_model import load_base_model
from peftlens.vocab import null_tests
from peftlens.vocab.null_tests import (
    Chance,
    NeighborhoodSpace,
    neighborhoods,
    p_values,
    prompt_means,
    sample_nulls,
)
from peftlens.vocab.planted import toward
from peftlens.vocab.trained_vectors import TrainedVectors
from peftlens.vocab.verdicts import verdicts
from peftlens.vocab.vocabulary import states, vocabulary


@pytest.fixture(scope="module", params=["cosine", "centered"])
def space(request, planted_base):
    base = load_base_model(str(planted_base), device="cpu", dtype="float32")
    known = vocabulary(base)
    return NeighborhoodSpace.of(known.table, known, states(base), request.param)


def read(space, now, start, chance=None, seed=0, null=None):
    """Verdicts of vectors, as `soft_prompt_null` gives them; `null`: tightness that all share."""
    found = TrainedVectors(now, start, tuple(range(len(now))), space.table)
    chance = chance or Chance.of(space, 300, np.random.default_rng(0))
    around = sample_nulls(found, space, chance, np.random.default_rng(seed))
    if null is None:
        null = space.tightness(around.nulls["random_directions"])
    p_random = p_values(space.tightness(around.now), null)
    if around.start is None:
        return verdicts(p_random)[0], around
    gained = (space.gained(ids, around.start) for ids in (around.now, around.nulls["steps"]))
    kept = space.family[around.now[:, 0]] == space.family[around.start[:, 0]]
    moved = p_values(space.tightness(around.displacement), null)
    return verdicts(p_random, p_values(*gained), moved, kept)[0], around


def loners(count, seed):
    rows = torch.randperm(planted.LONERS, generator=torch.Generator().manual_seed(seed))[:count]
    return planted.table()[3 + planted.GROUPS * planted.MEMBERS :][rows]


def test_vectors_around_a_planted_cluster_are_readable(space):
    counts, chance = collections.Counter(), Chance.of(space, 300, np.random.default_rng(0))
    for number in range(5):
        now = planted.around(number, 8)
        words, around = read(space, now, loners(8, number), chance)
        counts.update(words)
        members = set(range(3 + number * planted.MEMBERS, 3 + (number + 1) * planted.MEMBERS))
        assert {*around.now.ravel()} <= members
    assert counts["readable"] >= 38  # of 40


def test_random_directions_are_noise_at_the_stated_rate(space, monkeypatch):
    monkeypatch.setattr(null_tests, "DIRECTIONS", 40)  # 12,000 directions for all prompts
    prompts, found = 200, collections.Counter()
    chance = Chance.of(space, 300, np.random.default_rng(0))
    null = space.tightness(chance.nulls["random_directions"])
    for seed in range(prompts):
        start, now = planted.directions(5, seed), planted.directions(5, 10_000 + seed)
        words, _ = read(space, now, start, chance, seed, null)
        found["prompts with a finding"] += bool({"readable", "displacement readable"} & {*words})
        found.update(words)
    # at most 5 % of such prompts: 10 expected, more than 19 by chance once in 200 times
    assert found["prompts with a finding"] <= 19
    assert found["not distinguishable from noise"] + found["start kept"] >= 0.9 * 5 * prompts


def test_untouched_vectors_are_their_initialization(space):
    for start in (loners(8, 0), planted.around(3, 8), planted.directions(8, 0)):
        words, _ = read(space, start.clone(), start)
        assert words == ["start kept"] * 8


def test_a_small_step_from_a_tight_start_is_no_finding(space):
    start = planted.around(2, 8)
    words, _ = read(space, start + 0.3 * planted.directions(8, 1), start)
    assert "readable" not in words


@pytest.mark.parametrize("space", ["centered"], indirect=True)  # the space of displacements
def test_a_displacement_is_read_where_the_start_is_still_nearest(space):
    """A veto by the nearest word would find none of them."""
    start, rng = loners(20, 5), np.random.default_rng(0)
    targets = torch.stack([planted.around(number, 1, 0.0)[0] for number in range(20)])
    steps = toward(targets - space.table.mean(dim=0), 0.95, rng)
    now = start + 0.6 * start.norm(dim=1, keepdim=True) * steps
    words, around = read(space, now, start)
    kept = space.family[around.now[:, 0]] == space.family[around.start[:, 0]]
    assert kept.sum() >= 16
    assert sum(word in ("readable", "displacement readable") for word in words) >= 16


def test_random_directions_have_no_common_neighborhood(space):
    """Drawn before centering they would all point to the words opposite to the mean."""
    chance = Chance.of(space, 200, np.random.default_rng(0))
    nearest = chance.nulls["random_directions"][0, :, 0]
    assert len({*nearest.tolist()}) > 100
    random, real = (space.tightness(chance.nulls[name])[0].mean()
                    for name in ("random_directions", "real_tokens"))  # fmt: skip
    assert random < real


def test_without_a_start_a_cluster_can_not_be_credited_to_training(space):
    words, around = read(space, planted.around(4, 8), None)
    assert "steps" not in around.nulls
    assert set(words) <= {"tight, start unknown", "not distinguishable from noise"}
    assert words.count("tight, start unknown") >= 7
    noise, _ = read(space, planted.directions(8, 0), None)
    assert noise.count("not distinguishable from noise") >= 7


def small_space(family, usable=(0, 1, 2, 3)):
    rows = np.array([[1, 0], [1, 0], [0, 1], [-1, 0]], np.float32)
    origin = torch.zeros(2)
    return NeighborhoodSpace(np.array(usable), np.array(family), rows, rows[::-1].copy(), origin,
                 torch.from_numpy(rows))  # fmt: skip


def test_families_are_the_nearest_of_each_word():
    found = small_space([7, 7, 8, 9]).families(np.array([[1, 0, 2, 3]]))
    assert found.tolist() == [[1, 2, 3, -1]]


def test_tightness_by_hand():
    tight = small_space([0, 1, 2, 3]).tightness(np.array([[0, 1], [0, 2], [0, 3], [2, -1]]))
    np.testing.assert_allclose(tight[0], [1, 0, -1, np.nan])
    np.testing.assert_allclose(tight[1], [0, -1, -1, np.nan], atol=1e-7)


def test_a_vocabulary_smaller_than_a_neighborhood(space):
    few = dataclasses.replace(space, usable=space.usable[[0, 100, 200]])
    words, around = read(few, planted.around(0, 4), loners(4, 0))
    assert around.now.shape == (4, 3)
    assert len(words) == 4


def test_what_stays_where_it_was_gains_nothing():
    space = small_space([0, 1, 2, 3])
    start = np.array([[0, 2]])
    now = np.array([[0, 1]])
    assert space.new_words(now, start).tolist() == [0.5]
    assert space.new_words(np.array([[[0, 2], [1, 3], [3, -1]]]), start).tolist() == [[0, 1, 1]]
    assert space.gained(now, start)[0].tolist() == [0.5]  # tightness 1, half of it new
    assert space.gained(start, start).tolist() == [[0], [0]]


def test_from_one_tight_cluster_to_another_is_readable(space):
    counts = collections.Counter()
    for number in range(5):
        words, _ = read(space, planted.around(number, 8), planted.around(number + 10, 8))
        counts.update(words)
    assert counts["readable"] >= 38


def test_both_spaces_count_equally_in_units_of_their_null():
    null = np.stack([np.arange(99.0), 1000 * np.arange(99.0)])[:, None]  # (2, 1, 99)
    # as far above the one as below the other
    assert p_values(np.array([[73.5], [24_500.0]]), null)[0] == pytest.approx(0.5, abs=0.02)
    assert p_values(np.array([[200.0], [200_000.0]]), null)[0] == 1 / 100
    assert np.isnan(p_values(np.array([[np.nan], [1.0]]), null)[0])


def test_verdicts_come_from_either_test():
    low, high = np.full(2, 0.001), np.full(2, 0.9)
    new, old = np.array([False, False]), np.array([True, True])
    assert verdicts(low, low, high, new)[0] == ["readable"] * 2
    assert verdicts(low, low, high, old)[0] == ["start kept"] * 2
    assert verdicts(low, high, low, old)[0] == ["displacement readable"] * 2
    assert verdicts(low, high, high, new)[0] == ["not distinguishable from noise"] * 2
    assert verdicts(high, low, high, new)[0] == ["not distinguishable from noise"] * 2


def test_the_null_of_a_prompts_mean_mixes_draws():
    shared = np.random.default_rng(0).normal(size=(2, 1, 2000))
    means = prompt_means(shared, 25, np.random.default_rng(1))
    assert means.shape == (2, 1, 2000)
    assert means.std() == pytest.approx(1 / 5, rel=0.1)  # not 1, as of one draw for all 25


def test_the_same_seed_gives_the_same_draws(planted_run):
    def fresh(**seed):
        base = RunContext().base_model(planted_run)  # which holds no draws yet
        return neighborhoods(planted_run, base, 2, "cosine", draws=50, **seed)

    _, first = fresh()
    _, again = fresh()
    _, other = fresh(seed=1)
    for name, ids in first.nulls.items():
        assert (ids == again.nulls[name]).all()
    assert (first.nulls["steps"] != other.nulls["steps"]).any()
    assert {*first.nulls} == {
        "random_tokens", "random_directions", "steps", "untrained", "real_tokens"
    }  # fmt: skip


def test_draws_that_all_runs_share_are_kept_for_the_next_process(planted_run, monkeypatch):
    def fresh():
        return neighborhoods(planted_run, RunContext().base_model(planted_run), 2, "centered", 40)

    space, first = fresh()
    drawn = Chance.of(space, 40, np.random.default_rng(0)).nulls
    monkeypatch.setattr(Chance, "of", None)  # not drawn again
    _, again = fresh()
    for name, ids in drawn.items():
        assert (first.nulls[name] == ids).all()
        assert (again.nulls[name] == ids).all()
    assert (first.nulls["steps"] == again.nulls["steps"]).all()
