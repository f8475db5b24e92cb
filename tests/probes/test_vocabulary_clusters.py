import math

import numpy as np
import planted
import pytest
import torch

from peftlens.adapters.run_context import RunContext
from peftlens.probes import vocabulary_clusters as probe


def last(run):
    frame = probe.measure(RunContext(), run)
    frame = frame[frame["step"] == 2]
    return frame[frame["position"].notna()], frame[frame["position"].isna()].iloc[0]


def test_a_planted_cluster_is_named_by_its_words(planted_run):
    planted.put(planted_run, planted.around(4, 6))
    tokens, prompt = last(planted_run)
    assert tokens["cluster"].nunique() == 1
    assert {*tokens["cluster_name"].iloc[0].split(", ")} <= {*planted.group(4)}
    assert prompt["clusters_used"] == 1
    assert prompt["entropy"] == 0
    assert prompt["p_random_directions"] < 0.01
    assert prompt["p_steps"] < 0.01


def test_scattered_vectors_do_not_gather(planted_run):
    planted.put(planted_run, torch.cat([planted.around(number, 1) for number in range(6)]))
    _, prompt = last(planted_run)
    assert prompt["clusters_used"] == 6
    assert prompt["entropy"] == pytest.approx(math.log(6))
    assert prompt["p_steps"] > 0.2


def test_entropy_by_hand():
    found = probe._entropy(np.array([[1, 1, 2, 2], [5, 5, 5, 5]]))
    np.testing.assert_allclose(found, [math.log(2), 0])
