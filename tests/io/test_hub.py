import pytest
from huggingface_hub.errors import LocalEntryNotFoundError

from peftlens.errors import InputError
from peftlens.io.hub import snapshot


def test_name_revision_and_patterns_are_asked_for(monkeypatch, tmp_path):
    requested = {}

    def fetch(name, **options):
        requested.update(options, name=name)
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", fetch)
    assert snapshot("org/name@v2", ("*.json",), "thing", "give a folder") == tmp_path
    assert requested == {"name": "org/name", "revision": "v2", "allow_patterns": ["*.json"]}
    snapshot("org/name", (), "thing", "give a folder")
    assert requested["revision"] is None


def test_no_network_is_one_line_with_a_remedy(monkeypatch):
    def fetch(*_, **__):
        raise LocalEntryNotFoundError("offline\nand more")

    monkeypatch.setattr("huggingface_hub.snapshot_download", fetch)
    with pytest.raises(
        InputError, match=r"thing 'org/name' is neither .* \(offline\); give a folder"
    ):
        snapshot("org/name", (), "thing", "give a folder")


def test_what_is_no_name_is_told():
    with pytest.raises(InputError, match="no thing named 'a//b'; give a folder"):
        snapshot("a//b", (), "thing", "give a folder")
