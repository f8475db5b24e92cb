"""Race of learning rates, with validation scores by hand."""

import itertools
import json
import math
from types import SimpleNamespace

import pytest

from peftlens.errors import InputError
from peftlens.results import failures, sequential
from peftlens.results.outcomes import Failed
from peftlens.runs import paused
from peftlens.runs.config import RunConfig, TrainingConfig
from peftlens.studies import racing
from peftlens.studies.options import StudyOptions, StudyOutcome
from peftlens.studies.plan import PlannedRun
from peftlens.studies.racing import Race
from peftlens.studies.sweep_grid import SweepGrid, sweep_key

TRAINING = TrainingConfig(max_steps=40)


def sweep(rates, method="lora"):
    return SweepGrid(method, method, {}, {}, tuple(rates), sweep_key(method, {}, TRAINING))


def plan(grids, seeds=(0, 1)):
    """Plans of all runs, whose ids are readable here."""
    for one, seed in itertools.product(grids, seeds):
        for rate in one.rates:
            training = TRAINING.model_copy(update={"learning_rate": rate})
            config = RunConfig(method=one.method, task="wiki", training=training, seed=seed)
            name = f"{one.method}{rate:g}s{seed}".replace(".", "p").replace("-", "m")
            yield PlannedRun(id=name, configuration=name, batch_key=None, config=config)


class Paused(paused.PausedRun):
    """Pause with its scores in a file."""

    @property
    def scores(self):
        return json.loads((self.path / "scores").read_text())


def read(folder):
    """Read a finished run as far as the race does."""
    scores = json.loads((folder / "scores").read_text())
    status = "finished" if scores else "diverged"
    return SimpleNamespace(record=SimpleNamespace(status=status, results=scores))


def write(runs, run, step, scores):
    """Leave what training to a step leaves: a failure, a finished run or a pause."""
    if isinstance(scores, str):
        runs.parent.mkdir(exist_ok=True)
        problem = Failed(error_summary=scores, error="", traceback="", is_input_error=False)
        failures.record(runs.parent, run, run, problem)
        return
    place = runs / run if step == 40 else paused.paused_run(runs, run, step).path
    place.mkdir(parents=True)
    (place / "scores").write_text(json.dumps(scores))


@pytest.fixture
def race(tmp_path, monkeypatch):
    """Race where a rate's scores at each step are given by a function."""
    trained, runs = [], tmp_path / "selection" / "runs"
    monkeypatch.setattr(racing, "Run", read)
    monkeypatch.setattr(racing, "paused_run", lambda *place: Paused(paused.paused_run(*place).path))

    def run(*sweeps, score):
        def train(grids, options):
            planned = tuple(plan(grids))
            for one in filter(options.select, planned):
                rate, step = one.config.training.learning_rate, one.pause_step(options.pause_after)
                trained.append((rate, one.seed, step or 40))
                write(runs, one.id, step or 40, score(one.config.method, rate, step or 40))
            return StudyOutcome(tmp_path, (), (), 0, planned)

        return Race(tmp_path, runs, sweeps, StudyOptions(), train).run(), trained

    return run


def peak(best, loss=1.0):
    """Return a score that falls with the distance from a rate, and rises with the steps."""

    def score(_, rate, step):
        distance = abs(math.log(rate / best))
        return {
            "validation_accuracy": 0.9 - 0.1 * distance,
            "validation_loss": loss + distance + 1 / step,
        }

    return score


def test_the_better_half_goes_on_and_then_the_best_two(race, tmp_path):
    grid = sweep([1e-4, 3e-4, 1e-3, 3e-3, 1e-2])
    (best,), trained = race(grid, score=peak(1e-3))
    assert best.rates == (1e-3,)
    steps = [step for _, _, step in trained]
    assert {step: steps.count(step) // 2 for step in steps} == {10: 5, 20: 3, 30: 2, 40: 2}
    rungs = sequential.read_rows(tmp_path, sequential.RUNGS)
    assert rungs.groupby("share_of_steps")["kept"].sum().tolist() == [3, 2, 2, 1]
    (row,) = sequential.read_rows(tmp_path, sequential.RATES).to_dict("records")
    assert (row["learning_rate"], row["at_edge"], row["n_learning_rates"]) == (1e-3, False, 5)


def test_two_rates_are_only_scored_where_the_last_quarter_begins_and_at_the_end(race, tmp_path):
    race(sweep([1e-4, 1e-3, 1e-2]), sweep([1e-3, 1e-2], "bitfit"), score=peak(3e-3))
    rungs = sequential.read_rows(tmp_path, sequential.RUNGS).groupby("configuration")
    shares = rungs["share_of_steps"].unique().map(sorted).to_dict()
    assert shares == {"bitfit": [0.75, 1.0], "lora": [0.25, 0.75, 1.0]}


def test_a_grid_grows_until_the_best_rate_lies_inside(race, tmp_path):
    (best,), _ = race(sweep([1e-3]), score=peak(8e-3))
    assert best.rates == (9e-3,)
    (row,) = sequential.read_rows(tmp_path, sequential.RATES).to_dict("records")
    assert (row["highest"], row["at_edge"]) == (2.7e-2, False)


def test_a_grid_grows_by_two_decades_at_most(race, tmp_path):
    race(sweep([1e-3, 1e-2]), score=peak(1e3))
    (row,) = sequential.read_rows(tmp_path, sequential.RATES).to_dict("records")
    assert (row["learning_rate"], row["highest"], row["at_edge"]) == (1e-1, 1e-1, True)


def test_a_loss_that_still_falls_is_found(race, tmp_path):
    """From 1 + 1/30 to 1 + 1/40 it falls by 0.8 %; from 0.1 + 1/30 by 6 %."""
    race(sweep([1e-4, 1e-3, 1e-2]), score=peak(1e-3))
    (flat,) = sequential.read_rows(tmp_path, sequential.RATES).to_dict("records")
    assert flat["loss_decrease"] == pytest.approx((1 / 30 - 1 / 40) / (1 + 1 / 30))
    assert not flat["still_falling"]
    for name in (sequential.RUNGS, sequential.RATES):
        (tmp_path / name).unlink()
    racing_again = peak(1e-3, loss=0.1)
    for folder in (tmp_path / "selection" / "runs").glob("*"):
        (folder / "scores").unlink(missing_ok=True)
        folder.rmdir()
    race(sweep([1e-4, 1e-3, 1e-2]), score=racing_again)
    (falling,) = sequential.read_rows(tmp_path, sequential.RATES).to_dict("records")
    assert falling["still_falling"]


def test_what_an_earlier_call_has_scored_is_not_trained_again(race):
    grid = sweep([1e-4, 1e-3, 1e-2])
    first, trained = race(grid, score=peak(1e-3))
    n_trained = len(trained)
    again, trained = race(grid, score=peak(1e-2))
    assert ([one.rates for one in again], len(trained)) == ([first[0].rates], n_trained)


def test_a_rate_that_diverges_is_the_worst(race):
    def score(_, rate, step):
        return {} if rate > 5e-3 else peak(1e-2)(_, rate, step)

    (best,), _ = race(sweep([1e-4, 1e-3, 1e-2]), score=score)
    assert best.rates == (1e-3,)


def test_without_accuracy_the_loss_decides(race, tmp_path):
    def score(_, rate, step):
        return {"validation_loss": peak(1e-3)(_, rate, step)["validation_loss"]}

    (best,), _ = race(sweep([1e-4, 1e-3, 1e-2]), score=score)
    assert best.rates == (1e-3,)
    assert sequential.read_rows(tmp_path, sequential.RUNGS)["validation_accuracy"].isna().all()


def test_a_configuration_whose_runs_all_fail_is_left_out(race):
    def score(method, rate, step):
        return "out of memory" if method == "lora" else peak(1e-3)(method, rate, step)

    found, _ = race(sweep([1e-4, 1e-3]), sweep([1e-4, 1e-3, 1e-2], "bitfit"), score=score)
    assert [one.name for one in found] == ["bitfit"]


def test_a_run_of_another_process_is_waited_for(tmp_path):
    def train(grids, _):
        training = TRAINING.model_copy(update={"learning_rate": grids[0].rates[0]})
        config = RunConfig(method="lora", task="wiki", training=training)
        run = PlannedRun(id="a" * 12, configuration="lora", batch_key=None, config=config)
        return StudyOutcome(tmp_path, (), (), 1, (run,))

    runs = tmp_path / "selection" / "runs"
    with pytest.raises(InputError, match="other processes train runs of"):
        Race(tmp_path, runs, [sweep([1e-3, 1e-2])], StudyOptions(), train).run()


def test_of_runs_that_can_t_be_paused_no_plateau_is_known(race, tmp_path):
    """Their score at the end stands at each rung."""

    def score(method, rate, _):
        return peak(1e-3)(method, rate, 40)

    race(sweep([1e-4, 1e-3, 1e-2]), score=score)
    (row,) = sequential.read_rows(tmp_path, sequential.RATES).to_dict("records")
    assert math.isnan(row["loss_decrease"])
    assert not row["still_falling"]
