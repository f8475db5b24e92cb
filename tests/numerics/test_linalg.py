"""Formulas against dense references, published numbers and simulation."""

import numpy as np
import pytest

from peftlens.numerics import linalg


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def orthonormal(rng, d, k):
    return np.linalg.qr(rng.normal(size=(d, k)))[0]


@pytest.mark.parametrize("shape", [(40, 8, 30), (30, 1, 40), (6, 8, 30), (30, 8, 6)])
def test_spectrum_of_a_product_equals_the_dense_one(rng, shape):
    m, r, n = shape
    b, a = rng.normal(size=(m, r)), rng.normal(size=(r, n))
    found = linalg.product_svd(b, a)
    dense = np.linalg.svd(b @ a, compute_uv=False)[: len(found.s)]
    assert len(found.s) == min(shape)
    np.testing.assert_allclose(found.s, dense, rtol=1e-6)
    np.testing.assert_allclose(found.u * found.s @ found.vt, b @ a, atol=1e-10)


def test_ranks_of_known_spectra():
    assert linalg.stable_rank([3, 3, 3, 0]) == 3
    assert linalg.effective_rank([3, 3, 3, 0]) == pytest.approx(3)
    assert linalg.stable_rank([2, 1]) == 1.25
    assert linalg.effective_rank([2, 1]) == pytest.approx(1.5 ** (2 / 3) * 3 ** (1 / 3))
    assert linalg.energy_rank([3, 1], 0.9) == 1  # 9 of 10
    assert linalg.energy_rank([3, 1], 0.91) == 2
    assert linalg.energy_rank([1] * 10) == 9


def test_similarity_of_subspaces(rng):
    basis = orthonormal(rng, 30, 6)
    turned = basis[:, :3] @ orthonormal(rng, 3, 3)
    assert linalg.subspace_similarity(basis[:, :3], turned) == pytest.approx(1)
    assert linalg.subspace_similarity(basis[:, :2], basis) == pytest.approx(1)
    assert linalg.subspace_similarity(basis[:, :3], basis[:, 3:]) == pytest.approx(0)
    np.testing.assert_allclose(linalg.principal_angles(basis[:, :3], turned), 0, atol=1e-6)


@pytest.mark.parametrize(("i", "j"), [(4, 4), (2, 8), (8, 2)])
def test_similarity_of_random_subspaces_is_what_the_null_says(rng, i, j):
    d = 64
    drawn = [
        linalg.subspace_similarity(orthonormal(rng, d, i), orthonormal(rng, d, j))
        for _ in range(400)
    ]
    error = np.std(drawn) / np.sqrt(len(drawn))
    assert abs(np.mean(drawn) - linalg.random_similarity(i, j, d)) < 4 * error


def test_angles_are_known_in_the_plane():
    flat = np.array([[1.0], [0]])
    slanted = np.array([[np.cos(0.3)], [np.sin(0.3)]])
    assert linalg.principal_angles(flat, slanted) == pytest.approx([0.3])


@pytest.mark.parametrize(("rank", "random"), [(4, 0.020), (64, 0.323)])
def test_random_projection_is_that_of_hu_et_al(rank, random):
    """Table 7: of GPT-3's query projection, with norm 61.95."""
    assert linalg.random_projection(61.95, rank, (12288, 12288)) == pytest.approx(random, abs=5e-4)


def test_random_projection_by_simulation(rng):
    weight = rng.normal(size=(60, 40))
    norms = [
        np.linalg.norm(linalg.projected(orthonormal(rng, 60, 4), orthonormal(rng, 40, 4).T, weight))
        for _ in range(300)
    ]
    expected = linalg.random_projection(np.linalg.norm(weight), 4, weight.shape)
    assert np.sqrt(np.mean(np.square(norms))) == pytest.approx(expected, rel=0.05)


def test_intruders_have_no_match_among_the_base(rng):
    base = orthonormal(rng, 400, 200)
    planted = orthonormal(rng, 400, 400)
    planted = planted - base @ (base.T @ planted)  # nothing of the base's directions
    planted = np.linalg.qr(planted[:, :3])[0]
    found = linalg.nearest_cosines(np.hstack([base[:, :7], planted]), base)
    assert (found < 0.5).sum() == 3
    np.testing.assert_allclose(found[:7], 1)


@pytest.mark.parametrize(("d", "among"), [(2, 1), (32, 16), (64, 64), (576, 192), (576, 576)])
def test_random_directions_come_as_near_as_the_null_says(rng, d, among):
    """Against simulation, with orthonormal directions, as singular vectors are."""
    directions = rng.normal(size=(d, 8000))
    directions /= np.linalg.norm(directions, axis=0)
    found = linalg.nearest_cosines(directions, orthonormal(rng, d, among))
    assert linalg.random_cosine(d, among) == pytest.approx(found.mean(), rel=0.01)


def test_cka_is_blind_to_rotation_and_scale(rng):
    x = rng.normal(size=(60, 10))
    assert linalg.linear_cka(x, 3 * x @ orthonormal(rng, 10, 10) + 5) == pytest.approx(1)


def test_cka_of_unrelated_representations_is_zero_on_average(rng):
    """The biased estimate would give 0.7 here: 40 items, 80 dimensions."""
    drawn = [
        linalg.linear_cka(rng.normal(size=(40, 80)), rng.normal(size=(40, 80))) for _ in range(100)
    ]
    assert abs(np.mean(drawn)) < 4 * np.std(drawn) / 10
    assert np.abs(drawn).max() < 0.3


def test_cka_equals_its_definition_in_kernels(rng):
    x, y = rng.normal(size=(30, 5)) + 2, rng.normal(size=(30, 7)) - 1
    y[:, :3] += x[:, :3]

    def hsic(k, other):
        k, other = k - np.diag(np.diag(k)), other - np.diag(np.diag(other))
        n, one = len(k), np.ones(len(k))
        both = (one @ k @ one) * (one @ other @ one) / ((n - 1) * (n - 2))
        return np.trace(k @ other) + both - 2 / (n - 2) * (one @ k @ other @ one)

    kx, ky = x @ x.T, y @ y.T
    expected = hsic(kx, ky) / np.sqrt(hsic(kx, kx) * hsic(ky, ky))
    assert linalg.linear_cka(x, y) == pytest.approx(expected)


def test_cka_needs_four_items(rng):
    with pytest.raises(ValueError, match="3 items are too few"):
        linalg.linear_cka(rng.normal(size=(3, 2)), rng.normal(size=(3, 2)))


@pytest.mark.parametrize("shape", [(5, 12), (12, 5), (6, 6)])
def test_the_svd_by_the_gram_matrix_is_the_direct_one(shape):
    matrix = np.random.default_rng(0).normal(size=shape)
    u, s, _ = np.linalg.svd(matrix, full_matrices=False)
    found = linalg.gram_svd(matrix.astype(np.float32))
    np.testing.assert_allclose(found.s, s, rtol=1e-6)
    np.testing.assert_allclose(np.abs(np.sum(found.u * u, axis=0)), 1, rtol=1e-5)
    np.testing.assert_allclose((found.u * found.s) @ found.vt, matrix, atol=1e-6)
    low = np.outer(matrix[:, 0], matrix[0])
    values = linalg.gram_svd(low).s
    assert (values[1:] < 2e-7 * values[0]).all()
    assert not linalg.gram_svd(0 * matrix).s.any()
