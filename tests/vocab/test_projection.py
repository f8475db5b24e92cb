from contextlib import nullcontext

import numpy as np
import pytest
import torch

from peftlens.errors import InputError
from peftlens.models.base_model import load_base_model
from peftlens.vocab import projection as maps
from peftlens.vocab import vocabulary

pytestmark = pytest.mark.long


def test_recall_by_hand():
    """Four places on a line: each end's two nearest are known."""
    points = np.array([[0.0, 0], [1, 0], [2.5, 0], [4.5, 0]], np.float32)
    near = np.array([[1, 2], [0, 2], [1, 3], [0, 1]])
    # on the map: 0: 1 2; 1: 0 2; 2: 1 3; 3: 2 1
    assert maps.recall(points, near) == pytest.approx((1 + 1 + 1 + 0.5) / 4)


def test_a_token_lies_near_itself_and_a_mean_between():
    table = torch.eye(3)
    points = np.array([[0.0, 0], [10, 0], [0, 10]], np.float32)
    (place,) = maps.place_by_neighbors(torch.tensor([[1.0, 1.0, 0.0]]), table, points, k=2)
    assert place == pytest.approx([5, 0])
    (own,) = maps.place_by_neighbors(torch.tensor([[2.0, 0.0, 0.0]]), table, points, k=3)
    assert own == pytest.approx([0, 0], abs=1e-6)
    (near,) = maps.place_by_neighbors(torch.tensor([[1.0, 1.0, 0.5]]), table, points, k=3)
    assert near[1] < min(near[0], 2)


def test_a_place_does_not_depend_on_what_else_is_placed():
    rng = torch.Generator().manual_seed(0)
    table, vectors = torch.randn(50, 8, generator=rng), torch.randn(4, 8, generator=rng)
    points = torch.randn(50, 2, generator=rng).numpy()
    together = maps.place_by_neighbors(vectors, table, points)
    alone = np.concatenate([maps.place_by_neighbors(one[None], table, points) for one in vectors])
    assert together == pytest.approx(alone, abs=1e-6)


@pytest.fixture
def base(planted_base, monkeypatch, tmp_path):
    monkeypatch.setenv("PEFTLENS_CACHE", str(tmp_path))
    return load_base_model(str(planted_base), device="cpu", dtype="float32")


@pytest.mark.parametrize("projection", ["umap", "pca"])
def test_a_map_keeps_more_neighbors_than_chance_and_is_the_same_again(
    base, planted_base, projection, monkeypatch, tmp_path
):
    threads = torch.get_num_threads()
    first = maps.vocabulary_map(base, projection)
    assert first.points.shape == (base.model.get_input_embeddings().weight.shape[0], 2)
    assert first.recall > 2 * first.chance
    assert torch.get_num_threads() == threads
    name = f"vocabulary/*map-{projection}*.safetensors"
    (file,) = tmp_path.glob(name)
    # with nothing in memory or on disk, it is computed a second time
    monkeypatch.setenv("PEFTLENS_CACHE", str(tmp_path / "empty"))
    another = load_base_model(str(planted_base), device="cpu", dtype="float32")
    again = maps.vocabulary_map(another, projection)
    assert np.array_equal(first.points, again.points)
    (other_file,) = (tmp_path / "empty").glob(name)
    assert file.read_bytes() == other_file.read_bytes()


@pytest.mark.filterwarnings("ignore::ImportWarning")  # umap: of TensorFlow, not installed
@pytest.mark.parametrize("fails", [False, True])
def test_a_map_leaves_torch_the_threads_that_it_had(base, monkeypatch, fails):
    """Numba's OpenMP layer sets their number for the whole process when it starts its own."""
    import umap

    def fit_transform(*_):
        torch.set_num_threads(before + 2)
        if fails:
            raise MemoryError
        return np.zeros((len(vocabulary.vocabulary(base).tokens), 2))

    before = torch.get_num_threads()
    monkeypatch.setattr(umap.UMAP, "fit_transform", fit_transform)
    with pytest.raises(MemoryError) if fails else nullcontext():
        maps.vocabulary_map(base, "umap")
    assert torch.get_num_threads() == before


def test_a_plane_holds_its_two_vectors(base):
    table = vocabulary.vocabulary(base).table
    found = maps.plane_map(base, table[5], table[9])
    lengths = [np.linalg.norm(found.points[token]) for token in (5, 9)]
    assert lengths == pytest.approx([table[5].norm().item(), table[9].norm().item()], rel=1e-5)
    assert found.points[5, 1] == pytest.approx(0, abs=1e-5)
    with pytest.raises(InputError, match="lie on one line"):
        maps.plane_map(base, table[5], 2 * table[5])


def test_no_such_projection(base):
    with pytest.raises(InputError, match="no projection named 'tsne'; choose from umap, pca"):
        maps.vocabulary_map(base, "tsne")  # pyright: ignore


@pytest.mark.parametrize("projection", ["umap", "pca"])
def test_a_map_in_space_is_computed_once(base, planted_base, projection, monkeypatch):
    first = maps.vocabulary_space(base, projection)
    assert first.shape == (base.model.get_input_embeddings().weight.shape[0], 3)
    assert np.isfinite(first).all()
    assert (first.std(axis=0) > 0).all()
    monkeypatch.setattr(maps, "_umap", None)
    monkeypatch.setattr(maps, "_pca", None)
    again = load_base_model(str(planted_base), device="cpu", dtype="float32")
    assert (maps.vocabulary_space(again, projection) == first).all()
