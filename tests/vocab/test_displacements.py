import numpy as np
import pytest
import torch

from peftlens.vocab.displacements import TopComponents, agreement


def test_energy_is_the_share_within_the_axes():
    top = TopComponents(torch.eye(4)[:2], 0.0)
    found = top.energy(torch.tensor([[1.0, 0, 0, 0], [1.0, 0, 1, 0], [0, 0, 0, 2]]))
    assert found.tolist() == pytest.approx([1, 0.5, 0])
    assert top.isotropic == 0.5


def test_agreement_has_the_spread_of_random_rotations():
    generator = torch.Generator().manual_seed(0)
    one, other = (torch.randn(6, 64, generator=generator) for _ in range(2))
    assert agreement(one, 2 * one).cosine == pytest.approx(1)
    cosines = []
    for _ in range(400):
        rotation = torch.linalg.qr(torch.randn(64, 64, generator=generator)).Q
        cosines.append(agreement(one, other @ rotation).cosine)
    assert np.std(cosines) == pytest.approx(agreement(one, other).random_sd, rel=0.1)
