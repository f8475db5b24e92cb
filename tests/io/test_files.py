import fcntl
import os
import sys

import pytest

from peftlens.io import files


def test_cache_dir_is_where_the_variable_says(tmp_path, monkeypatch):
    monkeypatch.setenv("PEFTLENS_CACHE", str(tmp_path / "cache"))
    assert files.cache_dir("a", "b") == tmp_path / "cache" / "a" / "b"
    assert (tmp_path / "cache" / "a" / "b").is_dir()


def test_canonical_json_does_not_depend_on_order():
    assert files.canonical_json({"b": 1, "a": "é"}) == '{"a":"é","b":1}'


def test_canonical_json_refuses_nan():
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.canonical_json(float("nan"))


def test_sha256_of_the_empty_file(tmp_path):
    (tmp_path / "empty").touch()
    expected = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert files.sha256_file(tmp_path / "empty") == files.sha256_text("") == expected


def test_write_atomic_leaves_the_old_file_when_it_fails(tmp_path, monkeypatch):
    target = tmp_path / "file"
    files.write_atomic(target, b"old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "replace", full)
    with pytest.raises(OSError, match="No space"):
        files.write_atomic(target, b"new")
    assert target.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_new_folder_appears_whole_or_not_at_all(tmp_path):
    target = tmp_path / "deep" / "run"

    def break_off():
        with files.new_folder(target) as folder:
            (folder / "half").write_text("x")
            raise RuntimeError("broken off")

    with pytest.raises(RuntimeError, match="broken off"):
        break_off()
    assert list(target.parent.iterdir()) == []
    with files.new_folder(target) as folder:
        (folder / "file").write_text("whole")
        assert not target.exists()
    assert (target / "file").read_text() == "whole"


def test_new_folder_leaves_alone_what_the_block_has_moved(tmp_path):
    with files.new_folder(tmp_path / "target") as folder:
        (folder / "a").touch()
        files.rename_folder(folder, tmp_path / "elsewhere")
    assert [entry.name for entry in tmp_path.iterdir()] == ["elsewhere"]
    assert (tmp_path / "elsewhere").stat().st_mode & 0o777 == 0o755


def test_new_folder_keeps_what_another_process_finished_first(tmp_path):
    target = tmp_path / "run"
    with files.new_folder(target) as folder:
        (folder / "file").write_text("ours")
        target.mkdir()
        (target / "file").write_text("theirs")
    assert (target / "file").read_text() == "theirs"
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_what_is_written_through_to_the_disk_is_the_whole_file(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(files.os, "fsync", lambda handle: synced.append(os.fstat(handle).st_size))
    files.write_atomic(tmp_path / "file", b"abc")
    assert synced == [3]


@pytest.mark.parametrize(("platform", "writable"), [("linux", False), ("win32", True)])
def test_files_of_a_folder_are_synced_by_handles_that_the_system_takes(
    tmp_path, monkeypatch, platform, writable
):
    """Windows refuses to flush a handle without write access."""
    access = []
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(files.os, "fsync", lambda handle: access.append(flags(handle)))
    (tmp_path / "folder" / "deep").mkdir(parents=True)
    (tmp_path / "folder" / "deep" / "a").write_text("x")
    files.rename_folder(tmp_path / "folder", tmp_path / "new")
    assert (tmp_path / "new" / "deep" / "a").read_text() == "x"
    assert access == [os.O_RDWR if writable else os.O_RDONLY]


def flags(handle):
    return fcntl.fcntl(handle, fcntl.F_GETFL) & os.O_ACCMODE


def test_the_nearest_name_in_a_missing_file_s_folder(tmp_path):
    (tmp_path / "reviews.csv").touch()
    (tmp_path / "data").mkdir()
    question = f"did you mean {tmp_path / 'reviews.csv'}?"
    assert files.nearest_file(tmp_path / "reviws.csv") == question
    assert files.nearest_file(tmp_path / "Reviews.CSV") == question
    assert files.nearest_file(tmp_path / "dta" / "x.csv") == f"did you mean {tmp_path / 'data'}?"
    assert files.nearest_file(tmp_path / "zzz") == files.nearest_file(tmp_path / "data" / "x") == ""
