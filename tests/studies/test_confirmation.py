"""Rounds of a confirmation, with runs and verdicts by hand."""

import json
from types import SimpleNamespace

import pandas as pd
import pytest

from peftlens.claims import Verdict
from peftlens.errors import InputError
from peftlens.results import sequential
from peftlens.studies import confirmation
from peftlens.studies.confirmation import Confirmation, remedies
from peftlens.studies.decisions import Decisions
from peftlens.studies.options import StudyOutcome

OPEN, YES, NO = "insufficient evidence", "supported", "contradicted"


@pytest.fixture
def rounds(tmp_path, monkeypatch):
    """Judge by a plan: the outcome of each claim at each number of seeds."""
    trained, judged = [], []

    def train(seeds):
        trained.append(list(seeds))
        return StudyOutcome(tmp_path, (), (), 0)

    def call(outcomes, **changes):
        def judge(_, level, names):
            judged.append((level, list(names)))
            seeds = len(trained[-1])
            return [Verdict(name, "", "", (), outcomes[name][seeds], "Because.") for name in names]

        monkeypatch.setattr(confirmation, "judge", judge)
        decisions = Decisions(**({"looks": 3, "seeds_per_look": 2} | changes.pop("decisions", {})))
        ending = Confirmation(
            out=tmp_path, claims=[*outcomes], decisions=decisions, train=train, first_seed=10,
            n_configurations=2, **changes,
        ).run()  # fmt: skip
        return ending, trained, judged

    nothing = SimpleNamespace(tables={})
    monkeypatch.setattr(confirmation.study_results, "read", lambda _: nothing)
    return call


def test_each_look_has_the_seeds_of_all_rounds_and_its_part_of_the_level(rounds):
    ending, trained, judged = rounds({"rank": {3: OPEN, 5: OPEN, 7: YES}, "swap": {3: NO}})
    assert ending == "decided"
    assert trained == [[10, 11, 12], [10, 11, 12, 13, 14], [10, 11, 12, 13, 14, 15, 16]]
    assert [level for level, _ in judged] == pytest.approx([0.025 / 7, 0.05 / 7, 0.1 / 7])
    assert [names for _, names in judged] == [["rank", "swap"], ["rank"], ["rank"]]


def test_a_claim_that_no_run_measures_is_not_waited_for(rounds):
    none = "not measured"
    ending, trained, _ = rounds({"rank": {3: none}, "swap": {3: YES}})
    assert (ending, len(trained)) == ("not measurable", 1)


def test_two_seeds_may_be_too_few_to_measure_a_claim(rounds):
    outcomes = {"rank": {2: "not measured", 4: YES}}
    assert rounds(outcomes, decisions={"first_seeds": 2})[0] == "decided"


def test_a_look_is_judged_once_whatever_the_data_say_later(rounds, tmp_path):
    rounds({"rank": {3: OPEN, 5: OPEN, 7: OPEN}})
    ending, trained, _ = rounds({"rank": {3: YES, 5: YES, 7: YES}})
    assert (ending, len(trained)) == ("looks", 3)
    looks = sequential.read_rows(tmp_path, sequential.LOOKS)
    assert looks["outcome"].tolist() == [OPEN] * 3


def test_a_round_that_would_overrun_the_budget_is_not_begun(rounds, tmp_path, capsys):
    outcomes = {"rank": {3: OPEN, 5: OPEN, 7: OPEN}}
    assert rounds(outcomes, budget=3600.0, first_round_seconds=3700.0)[:2] == ("budget", [])
    assert "the next round takes about 62 minutes" in capsys.readouterr().err
    (tmp_path / "time.json").write_text(json.dumps({"selection": 600, "confirmation": 1900}))
    ending, trained, _ = rounds(outcomes, budget=3600.0, first_round_seconds=1000.0)
    assert ending == "budget"
    assert len(trained) == 1  # 1900 s for three seeds are 1267 s for two, and 1100 s are left
    told = capsys.readouterr().err
    assert "Look 1 of 3: 2 configurations on 3 seeds, one-sided level 0.0036" in told
    assert "about 17 minutes for this round, 18 minutes of 60 minutes left" in told


def test_a_spent_budget_stops_without_an_estimate(rounds, tmp_path):
    (tmp_path / "time.json").write_text(json.dumps({"selection": 60}))
    assert rounds({"rank": {3: OPEN}}, budget=60.0)[0] == "budget"


def test_runs_of_other_processes_are_waited_for(tmp_path):
    def train(_):
        return StudyOutcome(tmp_path, (), (), 2)

    waiting = Confirmation(tmp_path, ["rank"], Decisions(), train, 0, 1)
    with pytest.raises(InputError, match="other processes train 2 runs"):
        waiting.run()
    assert not (tmp_path / "looks.csv").exists()


def test_what_would_decide_the_others():
    looks = pd.DataFrame({
        "claim": ["a", "b", "c"], "outcome": [OPEN, YES, "not measured"], "n_seeds": [13, 5, 13],
    })  # fmt: skip
    assert remedies("looks", looks).keys() == {"a"}
    assert remedies("looks", looks)["a"].startswith("more seeds than 13, in a new --out")
    assert "a larger --budget" in remedies("budget", looks)["a"]
