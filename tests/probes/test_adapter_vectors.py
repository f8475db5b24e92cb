import pytest
import theirs
import torch
from safetensors.torch import save_file

from peftlens.adapters.external import ExternalAdapter
from peftlens.evaluation.probe_runner import run_probe


@pytest.fixture
def prompt(context, tmp_path):
    def make(*vectors):
        rows = torch.zeros(len(vectors), 32)
        rows[:, :2] = torch.tensor(vectors)
        model = theirs.wrapped("PROMPT_TUNING", num_virtual_tokens=len(vectors))
        folder = theirs.save(model, tmp_path / "p", "base")
        save_file({"prompt_embeddings": rows}, folder / "adapter_model.safetensors")
        return run_probe(context, ExternalAdapter(folder), "adapter_vectors").frame

    return make


def test_lengths_and_cosines(prompt):
    frame = prompt((3.0, 0.0), (0.0, 2.0), (6.0, 0.0))
    assert list(frame["norm"]) == [3, 2, 6]
    assert list(frame["nearest"]) == [2, 0, 0]
    assert list(frame["cosine"]) == pytest.approx([1, 0, 1])
    assert list(frame["mean_cosine"]) == pytest.approx([0.5, 0, 0.5])
    assert 1 < frame["directions"].iloc[0] < 2


def test_a_single_vector_has_no_other(prompt):
    frame = prompt((1.0, 0.0))
    assert frame["cosine"].isna().all()
    assert list(frame["directions"]) == [1]


def test_zero_vectors_have_no_directions(prompt):
    frame = prompt((0.0, 0.0), (0.0, 0.0))
    assert list(frame["norm"]) == [0, 0]
    assert frame["directions"].isna().all()


def test_an_update_of_weights_has_none(context, tmp_path):
    folder = theirs.save(theirs.wrapped("LORA"), tmp_path / "a", "base")
    (row,) = run_probe(context, ExternalAdapter(folder), "adapter_vectors").frame.to_dict("records")
    assert row["reason"] == "LORA trains no vectors before the input"
