import json
import shlex
import subprocess
import sys

import homes
import pytest

from peftlens import __version__
from peftlens.results import invocations


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"{homes.LINUX}/data.csv", "~/data.csv"),
        (f"'{homes.ROOT}/x y'", "'~/x y'"),
        (homes.MAC, "~"),
        (f"{homes.WINDOWS}\\x", "~\\x"),
        ("/rooted/x", "/rooted/x"),
        ("--token hf_abcdefghijkl", "--token ***"),
        ("token=abc", "token=***"),
        ("https://ada:secret@host/x", "https://***@host/x"),
        ("lora rank=8", "lora rank=8"),
    ],
)
def test_homes_and_secrets_are_not_shown(text, shown):
    assert invocations.redacted(text) == shown


def test_a_call_is_kept_with_its_command_and_commit(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["/usr/bin/peftlens", "study", f"{homes.LINUX}/x.toml"])
    for command in (["init", "-q"], ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q",
                                     "--allow-empty", "-m", "x"]):  # fmt: skip
        subprocess.run(["git", *command], check=True)
    invocations.record(tmp_path)
    invocations.record(tmp_path)
    first, second = invocations.recorded(tmp_path)
    assert first["command"] == "peftlens study '~/x.toml'" or first["command"].endswith("~/x.toml")
    assert first["peftlens"] == __version__
    assert len(first["folder"]) == 12
    assert first["cores"] > 0
    assert first["began"] <= second["began"]


@pytest.mark.parametrize(
    ("word", "shown"),
    [
        ("{here}/grids/ranks.toml", "grids/ranks.toml"),
        ("--out={here}/out", "--out=out"),
        ("/data/ranks.toml", "ranks.toml"),
        ("file:/data/reviews.csv", "file:reviews.csv"),
        ("studies/ranks", "studies/ranks"),
        ("https://host/x", "https://host/x"),
        ("{answer}/{question}", "{answer}/{question}"),
    ],
)
def test_a_command_does_not_say_where_the_machine_keeps_things(tmp_path, monkeypatch, word, shown):
    monkeypatch.chdir(tmp_path)
    given = word.replace("{here}", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["peftlens", "study", given])
    invocations.record(tmp_path)
    assert invocations.recorded(tmp_path)[0]["command"] == shlex.join(["peftlens", "study", shown])


def test_a_folder_without_git_has_no_commit(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    invocations.record(tmp_path)
    assert invocations.recorded(tmp_path)[0]["folder"] is None


def test_a_file_that_is_no_call_is_left_out(tmp_path):
    (tmp_path / "calls").mkdir()
    (tmp_path / "calls" / "2026.json").write_text("half")
    (tmp_path / "calls" / "2027.json").write_text(json.dumps({"began": "x"}))
    assert invocations.recorded(tmp_path) == []
    assert [file.name for file in invocations.damaged(tmp_path)] == ["2026.json", "2027.json"]
