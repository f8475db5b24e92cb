import json

import pandas as pd
import pytest

from peftlens.cli import until_decided
from peftlens.results import sequential

OPTIONS = ("--until-decided", "--workers", 0)
DECISIONS = """
[decisions]
claims = ["attention_share"]
looks = 1
selection_seeds = 1
"""


@pytest.fixture
def file(study_file):
    text = study_file.read_text().replace("rank = [1, 2]", "rank = [1], learning_rate = [1e-3]")
    study_file.write_text(text + DECISIONS)
    return study_file


def test_a_study_until_decided_and_its_commands(run, file):
    code, out, err = run("study", file, *OPTIONS, "--budget", "2h")
    assert code == 0
    assert out.startswith("attention_share: contradicted (look 1, 3 seeds)\n  Attention holds 25%")
    assert "\nAll claims are decided.\nReport: studies/tiny/report.html\n" in out
    assert max(map(len, out.splitlines())) <= 80
    assert "Selection: 1 learning rate of 1 configuration on 1 seed" in err
    code, out, _ = run("study", file, *OPTIONS, "--json")
    found = json.loads(out)
    assert (code, found["ending"], found["failed"]) == (0, "decided", [])
    (claim,) = found["claims"]
    assert (claim["claim"], claim["look"], claim["would_decide"]) == ("attention_share", 1, None)
    code, out, _ = run("study", "status", "studies/tiny")
    assert code == 0
    selection, *others = out.splitlines()
    assert selection.startswith("selection: ")
    assert selection.endswith(" done, 0 running, 0 failed, 0 left")
    assert others == [
        "confirmation: 6 done, 0 running, 0 failed, 0 left",
        "attention_share: contradicted (look 1, 3 seeds)",
    ]
    stages = json.loads(run("study", "status", "studies/tiny", "--json")[1])
    assert [*stages] == ["selection", "confirmation", "claims"]
    assert run("study", "verify", "studies/tiny")[1].startswith("No problems in 6 runs")
    code, out, _ = run("report", "studies/tiny")
    assert (code, out) == (0, "studies/tiny/report.html\n")
    page = (file.parent / "studies" / "tiny" / "report.html").read_text()
    assert "How the verdicts were reached" in page
    assert "Decided at look 1, at the one-sided level 0.0250." in page
    assert "| lora rank=1" in run("table", "studies/tiny")[1]
    assert not (file.parent / "studies" / "tiny" / "confirmation" / "report.html").exists()
    code, _, err = run("study", file, "--workers", 0)
    assert (code, "was begun with --until-decided; give it, or" in err) == (2, True)
    code, _, err = run("study", file, *OPTIONS, "--no-resume")
    assert (code, "holds a study already" in err) == (2, True)


def test_claims_and_budget_need_the_flag(run, file):
    for option in (("--claims", "rank"), ("--budget", "6h")):
        code, _, err = run("study", file, *option)
        assert (code, "belong to --until-decided; give it, too" in err) == (2, True)


def test_a_misspelled_claim_and_a_budget_that_is_none(run, file):
    code, _, err = run("study", file, *OPTIONS, "--claims", "placment")
    assert (code, "did you mean placement?" in err) == (2, True)
    code, _, err = run("study", file, *OPTIONS, "--budget", "soon")
    assert (code, "--budget 'soon' is no time; write it as 6h, 90m or 1h30m" in err) == (2, True)
    assert not (file.parent / "studies").exists()


def test_what_would_decide_the_others_is_printed(capsys):
    last = pd.DataFrame({
        "claim": ["rank"], "outcome": ["insufficient evidence"], "look": [6], "n_seeds": [13],
        "sentence": ["word " * 40],
    })  # fmt: skip
    until_decided.print_verdicts(last, {"rank": "more seeds"})
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "rank: insufficient evidence (look 6, 13 seeds)"
    assert lines[-1] == "  What would decide it: more seeds."
    assert max(map(len, lines)) <= 80
    assert sequential.DECIDED == ("supported", "contradicted")
