import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from peftlens.runs.lock import RunLockedError, lock_owners, lock_run

HOLD = """
import sys, time
from pathlib import Path
from peftlens.runs.lock import lock_run
with lock_run(Path(sys.argv[1]), "abc"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_one_process_holds_a_run_until_it_dies(tmp_path):
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        with (
            pytest.raises(RunLockedError, match="abc is being built by another"),
            lock_run(tmp_path, "abc"),
        ):
            pass
        with lock_run(tmp_path, "another"):
            pass
        (owner,) = lock_owners(tmp_path).values()
        assert (owner.pid, owner.host) == (process.pid, socket.gethostname())
        assert time.time() - owner.since < 60
        process.kill()
    with lock_run(tmp_path, "abc"):
        assert lock_owners(tmp_path)["abc"].pid == os.getpid()
    assert list(tmp_path.iterdir()) == []


def test_holders_of_another_machine_count_as_alive(tmp_path):
    file = tmp_path / ".claim-abc"
    file.write_text(json.dumps({"pid": 2**22, "host": "elsewhere", "since": 1.0}))
    assert lock_owners(tmp_path)["abc"].host == "elsewhere"
    file.write_text('{"pid"')  # just being written
    assert lock_owners(tmp_path) == {}


@pytest.mark.parametrize(
    "content",
    ["", "[]", '{"pid": "x", "host": "h", "since": 1}', '{"pid": -1, "host": "h", "since": 1}',
     '{"pid": 1e30, "host": "h", "since": 1}', '{"pid": 1, "host": 3, "since": 1}', "\0" * 9],
)  # fmt: skip
def test_a_damaged_lock_file_names_no_owner(tmp_path, content):
    (tmp_path / ".claim-abc").write_text(content)
    (tmp_path / ".claim-folder").mkdir()
    os.mkfifo(tmp_path / ".claim-pipe")
    assert lock_owners(tmp_path) == {}


def test_where_a_locked_file_can_not_be_read_another_one_is_locked(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "platform", "win32")
    with lock_run(tmp_path, "abc"):
        assert {file.name for file in tmp_path.iterdir()} == {".claim-abc", ".lock-abc"}
        assert (tmp_path / ".lock-abc").read_bytes() == b""
        assert lock_owners(tmp_path)["abc"].pid == os.getpid()
        with pytest.raises(RunLockedError), lock_run(tmp_path, "abc"):
            pass
    assert lock_owners(tmp_path) == {}
    with lock_run(tmp_path, "abc"):
        pass


def test_a_reader_that_has_the_file_open_does_not_stop_the_owner(tmp_path, monkeypatch):
    def refuse(self, *, missing_ok):  # noqa: ARG001  # as Windows does
        raise PermissionError(13, "used by another process")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", refuse)
        with lock_run(tmp_path, "abc"):
            pass
    with lock_run(tmp_path, "abc"):  # it was released
        pass
    assert lock_owners(tmp_path) == {}
