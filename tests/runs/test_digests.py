import hashlib
import json

import pytest
from pydantic import ValidationError

from peftlens.errors import InputError
from peftlens.runs import digests, store
from peftlens.runs.run import Run


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "weights").write_bytes(b"abc")
    (tmp_path / "run.json").write_text("{}")
    (tmp_path / ".DS_Store").touch()
    return tmp_path


ABC = hashlib.sha256(b"abc").hexdigest()


def test_every_file_but_hidden_ones_is_hashed(folder):
    known = {"run.json": "known before"}
    assert digests.digests_of(folder, known) == known | {"adapter/weights": ABC}


def test_they_name_the_run(folder):
    digests.write(folder, "a" * 12)
    found = digests.read(folder / "digests.json")
    assert found.run == "a" * 12
    assert found.files["adapter/weights"] == ABC
    assert set(found.files) == {"adapter/weights", "run.json"}


def test_the_former_format_has_paths_alone(folder):
    (folder / "digests.json").write_text(json.dumps({"adapter/weights": ABC}))
    found = digests.read(folder / "digests.json")
    assert (found.run, found.files) == (None, {"adapter/weights": ABC})


@pytest.mark.parametrize("content", ["[]", "{", '{"run": "a", "files": [1]}', '{"a": 3}'])
def test_a_damaged_file_is_an_error(folder, content):
    (folder / "digests.json").write_text(content)
    with pytest.raises(ValidationError):
        digests.read(folder / "digests.json")


def test_digests_of_another_run_are_noticed_before_anything_is_compared(tmp_path):
    folder = tmp_path / ("a" * 12)
    folder.mkdir()
    (folder / "run.json").write_text("{}")
    store.seal(folder, "b" * 12)
    with pytest.raises(InputError, match=f"it is that of run {'b' * 12}"):
        Run(folder).verify(["run.json"])
