import json

import peft
import pytest
import theirs
from tiny import build


@pytest.fixture
def saved(bases, tmp_path):
    return theirs.save(theirs.wrapped("LOHA", r=2), tmp_path / "old", str(bases["llama"]))


@pytest.fixture
def text(tmp_path):
    (tmp_path / "text.txt").write_text("A quiet river.\nNine ships left.\n")
    return tmp_path / "text.txt"


def test_a_table_for_people(run, saved, text):
    code, out, err = run("convert", saved, "--out", "new", "--rank", 4, "--text", text)
    assert (code, err.count("Error")) == (0, 0)
    assert "new: rank 4 for 6 weights" in out
    assert "100.00% of all changes' squared norm kept" in out
    assert "general_kl" in out
    peft.PeftModel.from_pretrained(build("llama"), "new")


def test_json_for_scripts(run, saved, text):
    code, out, _ = run("convert", saved, "--out", "new", "--energy", 0.8, "--text", text, "--json")
    found = json.loads(out)
    assert code == 0
    assert 0.8 <= found["energy"] < 1
    assert [row["model"] for row in found["models"]] == ["base", "original", "converted"]
    assert found["parameters"] == sum(row["parameters"] for row in found["weights"])
    assert found["lost"] == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "give one budget"),
        (["--rank", "2", "--text", "none.txt"], "is not a text file"),
        (["--rank", "2", "--task", "no_such"], "no_such"),
        (["--rank", "2", "--out", "."], "exists; name a new folder"),
        (["--kl", "-1"], "kl=-1"),
    ],
)
def test_bad_input_is_one_line(arguments, words, run, saved):
    out = [] if "--out" in arguments else ["--out", "new"]
    code, _, err = run("convert", saved, *out, *arguments)
    errors = [line for line in err.splitlines() if line.startswith("Error")]
    assert code == 2
    assert len(errors) == 1
    assert words in errors[0]


@pytest.fixture
def pair(bases, tmp_path):
    return [
        theirs.save(theirs.wrapped(kind, r=2), tmp_path / kind, str(bases["llama"]))
        for kind in ("LORA", "LOHA")
    ]


def test_combine(run, pair):
    code, out, _ = run("combine", *pair, "--out", "new", "--weight", 1, "--weight", 0.5)
    assert code == 0
    assert "new: rank 6 for 6 modules" in out
    assert "nothing was scored" in out
    peft.PeftModel.from_pretrained(build("llama"), "new")
    code, out, _ = run("combine", *pair, "--out", "less", "--how", "svd", "--rank", 2, "--json")
    found = json.loads(out)
    assert code == 0
    assert 0.1 < found["energy"] < 1
    assert {row["rank"] for row in found["modules"]} == {2}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--weight", "1"], "1 weights for 2 adapters"),
        (["--rank", "2"], "--rank does not apply to cat"),
        (["--how", "linear"], "is no plain LoRA"),
        (["--how", "ties", "--density", "2"], "density=2"),
    ],
)
def test_what_can_not_be_combined_is_one_line(arguments, words, run, pair):
    code, _, err = run("combine", *pair, "--out", "new", *arguments)
    errors = [line for line in err.splitlines() if line.startswith("Error")]
    assert code == 2
    assert len(errors) == 1
    assert words in errors[0]


def test_the_help_says_that_linear_is_no_sum_of_updates(run):
    _, out, _ = run("combine", "--help")
    assert "NOT the sum of the updates" in " ".join(out.replace("│", "").split())
