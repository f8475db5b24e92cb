import pytest
import safetensors
import torch

from peftlens.errors import InputError
from peftlens.training.state_file import read_state, write_state


def test_what_is_written_is_read(tmp_path):
    state = {
        "numbers": [1, 0.1, -0.0, float("inf"), True, None, "a"],
        3: {"betas": (0.9, (0.999, [])), "nothing": {}},
        "a": torch.tensor([1.5, -2.0], dtype=torch.bfloat16),
        "b": [torch.tensor(7), torch.tensor([True, False]), torch.zeros(0, 2)],
    }
    write_state(state, tmp_path)
    found = read_state(tmp_path)
    assert found["numbers"] == state["numbers"]
    assert str(found["numbers"][2]) == "-0.0"
    assert found["numbers"][4] is True
    assert found[3] == state[3]
    for one, other in zip([found["a"], *found["b"]], [state["a"], *state["b"]], strict=True):
        assert one.dtype == other.dtype
        assert torch.equal(one, other)
    assert {file.name for file in tmp_path.iterdir()} == {
        "training_state.json",
        "training_state.safetensors",
    }


def test_tensors_that_share_memory_are_apart_afterwards(tmp_path):
    whole = torch.arange(6.0).reshape(2, 3)
    write_state({"whole": whole, "columns": whole.T, "again": whole}, tmp_path)
    found = read_state(tmp_path)
    assert torch.equal(found["columns"], whole.T)
    found["again"].zero_()
    assert torch.equal(found["whole"], whole)


def test_a_value_of_another_type_is_refused(tmp_path):
    with pytest.raises(InputError, match="training_state.optimizer.0 is a set, which can't be"):
        write_state({"optimizer": [{1, 2}]}, tmp_path)


def test_a_full_disk_is_an_os_error(tmp_path, monkeypatch):
    def full(*_, **__):
        raise safetensors.SafetensorError("No space left on device (os error 28)")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(OSError, match="No space left on device: '.*training_state.safetensors'"):
        write_state({"a": torch.zeros(1)}, tmp_path)
