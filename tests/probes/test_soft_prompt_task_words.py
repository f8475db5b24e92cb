from functools import partial

import numpy as np
import planted
import pytest
import torch

from peftlens.adapters.run_context import RunContext
from peftlens.probes import soft_prompt_task_words as probe
from peftlens.results.table import NotApplicable
from peftlens.vocab import task_words
from peftlens.vocab.null_tests import neighborhoods
from peftlens.vocab.trained_vectors import trained_vectors


def whole(frame, own=True):
    frame = frame[(frame["step"] == 2) & frame["position"].isna()]
    return frame[frame["own"] == own]


@pytest.mark.usefixtures("other_tasks")
def test_a_prompt_at_the_tasks_words_is_related_and_one_at_anothers_is_not(planted_run):
    planted.put(planted_run, planted.around(0, 6))  # the first label's cluster
    near = probe.measure(RunContext(), planted_run)
    (row,) = whole(near).to_dict("records")
    assert row["related"]
    assert row["p"] <= 0.01
    assert row["contrast"] > 0.3
    assert row["reading"] == "displacement"
    assert row["detectable_cosine"] <= 0.6
    vectors = near[near["position"].notna()]
    assert vectors["related"].all()
    planted.put(planted_run, planted.around(20, 6))  # tight, and about another task
    far = probe.measure(RunContext(), planted_run)
    (row,) = whole(far).to_dict("records")
    assert not row["related"]
    assert row["contrast"] < 0
    others = whole(far, own=False).set_index("task")
    assert others["standardized"].idxmax() == "topic20"
    assert others.loc["topic20", "standardized"] > 3


@pytest.mark.usefixtures("other_tasks")
def test_chance_finds_little_even_where_all_vectors_move_alike(planted_run, monkeypatch):
    """Under the null p is uniform: of 60 prompts that move one way, some 3 are found, not 20."""
    monkeypatch.setattr(probe, "ROTATIONS", (99, 99))
    monkeypatch.setattr(probe, "neighborhoods", partial(neighborhoods, draws=20))
    context = RunContext()
    base = context.base_model(planted_run)
    start = trained_vectors(planted_run, base, 0).now
    found = 0
    for seed in range(60):
        common = planted.directions(1, seed)
        planted.put(planted_run, start + common + 0.02 * planted.directions(6, 100 + seed))
        found += bool(whole(probe.measure(RunContext(), planted_run))["related"].item())
    assert found <= 9


def test_rotations_keep_the_angles():
    rng = np.random.default_rng(0)

    class Space:
        origin = torch.zeros(5)

        def around(self, queries):
            self.queries = queries
            return np.arange(len(queries) * 5).reshape(-1, 5)

    for n in (3, 7):  # fewer and more than there are dimensions
        space, read = Space(), torch.randn(n, 5, generator=torch.Generator().manual_seed(n))
        found = probe._turned(space, read, rng)
        turned = space.queries.reshape(-1, n, 5)
        assert found.shape == (n, len(turned), 5)
        assert (found[1, 0] == np.arange(5, 10)).all()
        unit = torch.nn.functional.normalize(read)
        assert torch.allclose(
            turned @ turned.mT, (unit @ unit.T).expand(len(turned), n, n), atol=1e-5
        )
        assert turned.mean(dim=0).abs().max() < 0.2


def test_without_other_tasks_there_is_no_contrast(planted_run, monkeypatch):
    monkeypatch.setattr(task_words, "other_tasks", lambda _: [planted.topic("topic20", 20)])
    with pytest.raises(NotApplicable, match="fewer than two other tasks"):
        probe.measure(RunContext(), planted_run)
