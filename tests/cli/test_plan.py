import json

import finished
import pytest


@pytest.fixture(scope="module")
def pilot(tmp_path_factory):
    configs = [finished.lora(rank, seed) for rank in (1, 8, 64) for seed in range(3)]
    return finished.study(tmp_path_factory.mktemp("study"), configs, items=400)


def test_claims_are_planned_by_the_noise_of_a_pilot(run, pilot):
    code, out, _ = run("plan", pilot, "--claims", "rank")
    assert code == 0
    assert "insufficient evidence" in out
    assert "3 x 400" in out
    assert "rank: lora rank=" in out
    assert " ".join(out.split()).endswith("the widest comparison of each claim.")


def test_all_measured_claims_by_default(run, pilot):
    code, out, _ = run("plan", pilot, "--claims")
    assert code == 0
    assert "\n rank" in out.replace("  rank", "\n rank")
    assert "not measured" not in out


def test_as_json(run, pilot):
    code, out, _ = run("plan", pilot, "--claims", "rank", "placement", "--json")
    rank, placement = json.loads(out)
    assert (code, rank["claim"], placement["outcome"]) == (0, "rank", "not measured")
    assert rank["more_runs"] == 3 * (rank["seeds_needed"] - 3)
    assert placement["seeds_needed"] is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["rank"], "names of claims need --claims"),
        ([], "is a folder; give a study file, or --claims"),
        (["--claims", "rnak"], "did you mean rank"),
    ],
)
def test_mistakes(run, pilot, arguments, message):
    code, _, err = run("plan", pilot, *arguments)
    assert code == 2
    assert message in err


def test_a_pilot_without_claims(run, tmp_path):
    folder = finished.study(tmp_path / "none", [finished.lora(8, 0)], probes=("learning",))
    code, _, err = run("plan", folder, "--claims")
    assert (code, "measures no claim" in err) == (2, True)
