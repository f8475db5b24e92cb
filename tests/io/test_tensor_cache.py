import json
import struct

import numpy as np
import pytest
import safetensors.numpy

from peftlens.io import tensor_cache
from peftlens.io.tensor_cache import cached_tensors

ARRAYS = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.array([1, 2], np.int64)}


@pytest.fixture
def file(tmp_path):
    return tmp_path / "cache" / "one.safetensors"


@pytest.fixture
def cached(file):
    """Read the file or make it; gives the arrays and how often they were made."""
    file.parent.mkdir()
    made = []

    def make():
        made.append(1)
        return safetensors.numpy.save(ARRAYS)

    def read():
        arrays = cached_tensors(file, make, safetensors.numpy.load)
        assert {name: value.tolist() for name, value in arrays.items()} == {
            name: value.tolist() for name, value in ARRAYS.items()
        }
        return len(made)

    return read


def test_it_is_made_once_and_any_reader_of_safetensors_reads_it(cached, file):
    assert (cached(), cached()) == (1, 1)
    assert safetensors.numpy.load_file(file)["a"].tolist() == ARRAYS["a"].tolist()
    (length,) = struct.unpack("<Q", file.read_bytes()[:8])
    assert length % 8 == 0  # tensors are aligned
    assert json.loads(file.read_bytes()[8 : 8 + length])["__metadata__"]["name"] == file.name


@pytest.mark.parametrize("place", [0, 20, 90, -1])
def test_a_flipped_byte_makes_it_again(cached, file, place, capsys):
    cached()
    data = bytearray(file.read_bytes())
    data[place] ^= 1
    file.write_bytes(data)
    assert cached() == 2
    assert "is damaged, and is made again" in capsys.readouterr().err
    assert cached() == 2


@pytest.mark.parametrize("content", [b"", b"half", b"\xff" * 40])
def test_what_is_no_file_of_tensors_is_made_again(cached, file, content):
    cached()
    file.write_bytes(content)
    assert (cached(), cached()) == (2, 2)


def test_a_cut_file_and_another_files_bytes_are_made_again(cached, file):
    cached()
    file.write_bytes(file.read_bytes()[:-5])
    assert cached() == 2
    other = tensor_cache.described(safetensors.numpy.save({"a": ARRAYS["b"]}), "other.safetensors")
    file.write_bytes(other)
    assert cached() == 3


def test_a_file_of_a_version_without_digests_is_read(cached, file):
    file.write_bytes(safetensors.numpy.save(ARRAYS))
    assert cached() == 0


def test_a_reader_takes_no_lock(cached, file, monkeypatch):
    cached()
    monkeypatch.setattr(tensor_cache, "FileLock", lambda _: pytest.fail("locked"))
    assert cached() == 1
    assert file.exists()


def test_on_a_read_only_disk_what_is_missing_is_computed(cached, file, monkeypatch, capsys):
    def read_only(path):
        raise OSError(30, "Read-only file system", path)

    monkeypatch.setattr(tensor_cache, "FileLock", read_only)
    assert (cached(), cached()) == (1, 2)
    assert not file.exists()
    assert "is not writable; what it lacks is computed each time" in capsys.readouterr().err


def test_a_full_disk_is_an_error(cached, monkeypatch):
    def full(path):
        raise OSError(28, "No space left on device", path)

    monkeypatch.setattr(tensor_cache, "FileLock", full)
    with pytest.raises(OSError, match="No space"):
        cached()
