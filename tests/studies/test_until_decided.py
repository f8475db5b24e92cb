"""Whole small studies on the tiny model: raced, confirmed, interrupted, resumed."""

import json
from dataclasses import replace

import pytest

from peftlens import claims
from peftlens.errors import InputError
from peftlens.probes import training_cost
from peftlens.results import best_rates, sequential, study_results
from peftlens.runs.run import Run, runs_in
from peftlens.studies import confirmation, runner
from peftlens.studies.options import StudyOptions
from peftlens.studies.scheduler import Stopped
from peftlens.studies.until_decided import run_until_decided
from peftlens.training import trainer

pytestmark = pytest.mark.long

HERE = StudyOptions(workers=0)
RUNS = ('method = "lora"\ngrid = { learning_rate = [1e-3, 3e-3, 1e-2] }', 'method = "frozen"')
DECISIONS = """
[decisions]
claims = ["attention_share", "placement"]
looks = 2
first_seeds = 3
seeds_per_look = 1
selection_seeds = 1
"""


@pytest.fixture
def undecided(monkeypatch):
    """Placement is judged to be undecided: two equal accuracies on the tiny model decide it."""

    def judged(tables, alpha, names):
        return [
            replace(one, outcome="insufficient evidence") if one.claim == "placement" else one
            for one in claims.judge(tables, alpha, names)
        ]

    monkeypatch.setattr(confirmation, "judge", judged)


@pytest.fixture
def file(tiny_study, tmp_path):
    def write(decisions=DECISIONS, runs=RUNS, steps=4):
        path = tmp_path / "tiny.toml"
        training = f"max_steps = {steps}\nbatch_size = 4"
        settings = 'dtype = "float32"\ntorch_compile = false'
        path.write_text(tiny_study(*runs, settings=settings, training=training) + decisions)
        return path

    return write


def looks(out):
    frame = sequential.read_rows(out, sequential.LOOKS)
    return frame[["look", "claim", "outcome"]].to_numpy().tolist()


@pytest.mark.usefixtures("undecided")
def test_claims_read_the_rates_of_the_race(file, tmp_path, monkeypatch):
    """A confirmation has one rate for each configuration, and yet its best rate is no edge."""
    read = []

    def judged(tables, alpha, names):
        read.append(tables)
        return claims.judge(tables, alpha, names)

    monkeypatch.setattr(confirmation, "judge", judged)
    out = tmp_path / "out"
    run_until_decided(file(), out, HERE)
    raced, names = read[0][sequential.RACED_RATES], read[0]["configurations"]["sweep"]
    assert raced["configuration"].isin(names).all()
    assert (raced["lowest"] < raced["highest"]).all()
    (one,) = raced.to_dict("records")
    tables = read[0] | {sequential.RACED_RATES: raced.assign(lowest=1e-9, highest=1.0)}
    assert best_rates.untuned({one["configuration"]: one["learning_rate"]}, tables) == set()


@pytest.mark.usefixtures("undecided")
def test_a_study_until_its_claims_are_decided(file, tmp_path, capsys):
    out = tmp_path / "out"
    outcome = run_until_decided(file(), out, HERE)
    assert (outcome.ending, outcome.failed) == ("looks", ())
    assert looks(out) == [
        [1, "attention_share", "contradicted"],
        [1, "placement", "insufficient evidence"],
        [2, "placement", "insufficient evidence"],  # and no longer the one that is decided
    ]
    frame = sequential.read_rows(out, sequential.LOOKS)
    assert frame["level"].tolist() == pytest.approx([0.025 / 3, 0.025 / 3, 0.05 / 3])
    assert frame["seeds"].tolist() == ["0 to 2", "0 to 2", "0 to 3"]
    assert frame["n_runs"].tolist() == [6, 6, 8]
    rungs = sequential.read_rows(out, sequential.RUNGS)
    first = rungs[rungs["share_of_steps"] == 0.25]
    assert first["kept"].sum() == 2  # the better half of three rates, rounded up
    chosen = sequential.read_rows(out, sequential.RATES).set_index("configuration")
    assert chosen.index.tolist() == ["lora rank=8"]
    raced = {run.config.seed for run in runs_in(out / "selection" / "runs")}
    confirmed = [run.config for run in runs_in(out / "confirmation" / "runs")]
    assert raced == {1_000_000}
    assert {one.seed for one in confirmed} == {0, 1, 2, 3}
    rates = {one.training.learning_rate for one in confirmed if one.method == "lora"}
    assert rates == {*chosen["learning_rate"]}
    said = capsys.readouterr().err
    assert "Selection: 3 learning rates of 1 configuration on 1 seed" in said
    assert "Look 2 of 2: 2 configurations on 4 seeds, one-sided level 0.0167" in said
    assert max(len(line) for line in said.splitlines() if line.startswith("Look")) <= 80
    assert not list((out / "selection" / "runs").glob(".paused-*"))


@pytest.mark.usefixtures("undecided")
def test_the_same_command_again_trains_and_judges_nothing(file, tmp_path, monkeypatch):
    out = tmp_path / "out"
    run_until_decided(file(), out, HERE)
    before = (out / "looks.csv").read_bytes(), (out / "selection.csv").read_bytes()
    monkeypatch.setattr(trainer, "_train", lambda *_: pytest.fail("trained twice"))
    monkeypatch.setattr(confirmation, "judge", lambda *_: pytest.fail("judged twice"))
    assert run_until_decided(file(), out, HERE).ending == "looks"
    assert ((out / "looks.csv").read_bytes(), (out / "selection.csv").read_bytes()) == before


@pytest.mark.usefixtures("undecided")
def test_what_a_configuration_costs_is_measured_at_the_first_look_alone(
    file, tmp_path, monkeypatch
):
    asked = []
    monkeypatch.setattr(training_cost, "_in_new_process", lambda one: asked.append(one) or {})
    decisions = DECISIONS.replace("attention_share", "memory")
    run_until_decided(file(decisions), tmp_path / "out", HERE)
    lengths, rounds, copies = 4, 3, 2  # by default; LoRA, and the copy that is the control
    assert len(asked) == lengths * rounds * copies
    results = study_results.read(tmp_path / "out")
    assert len(results.runs) == 2 * 4  # two looks
    assert not results.outdated


@pytest.mark.usefixtures("undecided")
def test_what_could_not_be_measured_is_tried_again_at_the_next_look(file, tmp_path, monkeypatch):
    asked = []
    no_memory = {"reason": "without memory"}
    monkeypatch.setattr(training_cost, "_in_new_process", lambda _: asked.append(1) or no_memory)
    run_until_decided(file(DECISIONS.replace("attention_share", "memory")), tmp_path / "out", HERE)
    assert len(asked) == 2 * 4  # at both looks once for each length


@pytest.mark.usefixtures("undecided")
def test_interrupted_at_any_run_and_resumed_it_finds_the_same(file, tmp_path, monkeypatch):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    run_until_decided(file(), whole, HERE)
    real, calls = trainer._train, []

    def stop_at_every_fourth(*args):
        calls.append(args)
        if len(calls) % 4 == 0:
            raise Stopped(130)
        return real(*args)

    monkeypatch.setattr(trainer, "_train", stop_at_every_fourth)
    stops = 0
    while True:
        try:
            assert run_until_decided(file(), parts, HERE).ending == "looks"
            break
        except Stopped:
            stops += 1
    assert stops >= 2
    for name in ("selection.csv", "rates.csv"):
        assert (parts / name).read_bytes() == (whole / name).read_bytes()
    both = [sequential.read_rows(out, sequential.LOOKS).drop(columns="hours")
            for out in (whole, parts)]  # fmt: skip
    assert both[0].equals(both[1])


@pytest.mark.usefixtures("undecided")
def test_other_settings_are_refused_and_another_budget_is_not(file, tmp_path):
    out = tmp_path / "out"
    path = file()
    assert run_until_decided(path, out, HERE, {"budget": "0.0001m"}).ending == "budget"
    assert looks(out) == []
    assert not (out / "confirmation").exists()
    with pytest.raises(InputError, match=r"begun with looks=2, and .* give the same again, or an"):
        run_until_decided(path, out, HERE, {"looks": 3})
    with pytest.raises(InputError, match="begun with another study file"):
        run_until_decided(file(steps=9), out, HERE)
    path.write_text(path.read_text().replace("max_steps = 9", "max_steps = 4"))
    path.write_text(f"seeds = [7]\n{path.read_text()}")
    with pytest.raises(InputError, match="begun with another study file"):
        run_until_decided(path, out, HERE)
    assert run_until_decided(file(), out, HERE, {"budget": "5h"}).ending == "looks"


def test_the_next_round_is_not_begun_if_it_would_overrun_the_budget(file, tmp_path, capsys):
    out = tmp_path / "out"
    race = DECISIONS.replace("selection_seeds = 1", "selection_seeds = 0")
    runs = ('method = "lora"\nconfig = { rank = 1 }', 'method = "frozen"')
    path = file(race, runs)
    asked = {"claims": ("placement", "rank", "attention_share")}
    (out).mkdir()
    assert run_until_decided(path, out, HERE, asked).ending == "not measurable"
    done = json.loads((out / "time.json").read_text())
    (out / "time.json").write_text(json.dumps({"confirmation": 3000.0}))
    frame = sequential.read_rows(out, sequential.LOOKS)
    frame.loc[frame["claim"] == "rank", "outcome"] = "insufficient evidence"
    sequential.write_rows(out, sequential.LOOKS, frame)
    assert run_until_decided(path, out, HERE, asked | {"budget": "1h"}).ending == "budget"
    said = capsys.readouterr().err
    assert "Budget: 10 minutes of 60 minutes left; the next round takes about 17" in said
    assert done["confirmation"] > 0


def test_the_grid_grows_where_the_best_rate_lies_at_its_edge(file, tmp_path, capsys):
    """On the tiny model the larger of two tiny rates is better, and so is the next one."""
    out = tmp_path / "out"
    runs = ('method = "lora"\ngrid = { learning_rate = [1e-4, 1e-3] }',)
    decisions = DECISIONS.replace('"placement"', '"footprint"').replace("looks = 2", "looks = 1")
    run_until_decided(file(decisions, runs, steps=20), out, HERE)
    (row,) = sequential.read_rows(out, sequential.RATES).to_dict("records")
    assert row["n_learning_rates"] == 3  # and not four, which would span three decades
    assert row["highest"] / row["lowest"] == pytest.approx(100)
    said = capsys.readouterr().err
    assert "Best rate at the edge of the grid, so tried, too: lora" in said
    if row["at_edge"]:
        assert "lora rank=8: the best rate" in said


def test_a_study_that_can_t_be_decided_this_way(file, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(InputError, match="leave --shard and --filter"):
        run_until_decided(file(), out, StudyOptions(filter=("lora*",)))
    with pytest.raises(InputError, match=r"selection_seeds=0, and lora .* several learning rates"):
        run_until_decided(file(), out, HERE, {"selection_seeds": 0})
    with pytest.raises(InputError, match="did you mean placement"):
        run_until_decided(file(), out, HERE, {"claims": ("placment",)})
    wrong = DECISIONS.replace('"placement"', '"placment"')
    with pytest.raises(InputError, match=r"tiny\.toml, line \d+: .*did you mean placement"):
        run_until_decided(file(wrong), out, HERE)
    assert not out.exists()
    runner.run_study(file(), out, StudyOptions(workers=0, filter=("frozen",)))
    with pytest.raises(InputError, match="holds an ordinary study; give another --out"):
        run_until_decided(file(), out, HERE)


def test_the_probes_are_those_that_the_claims_need(file, tmp_path):
    out = tmp_path / "out"
    run_until_decided(file(), out, HERE, {"claims": ("attention_share",), "selection_seeds": 1})
    tables = {table.stem for table in (out / "confirmation" / "tables").glob("*.parquet")}
    assert tables == {
        "base_parameters", "configurations", "parameter_count", "task_accuracy", "task_items",
    }  # fmt: skip
    (first, *_) = runs_in(out / "selection" / "runs")
    assert isinstance(first, Run)
    assert not list(first.table_folder.glob("*"))
