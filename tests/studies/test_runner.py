import json
from dataclasses import replace

import pytest

from peftlens import registry
from peftlens.errors import InputError
from peftlens.results import table
from peftlens.results.outcomes import Corrupted, Died, Done, Failed
from peftlens.runs.config import RunConfig
from peftlens.runs.run import runs_in
from peftlens.studies import runner
from peftlens.studies.job_queue import Job, JobKey, JobQueue
from peftlens.studies.local_pool import InProcessPool
from peftlens.studies.plan import PlannedRun, StudyPlan
from peftlens.studies.runner import StudyOptions, StudyRunner
from peftlens.studies.scheduler import JobResult, Signals
from peftlens.training import trainer

HERE = StudyOptions(workers=0)
RETRY = StudyOptions(workers=0, retry_failed=True)

STUDY = """
name = "tiny"
base_model = "{base}"
device = "cpu"
dtype = "float32"
seeds = [0, 1]

[task]
name = "file:{data}"

[training]
max_steps = 3
batch_size = 4
checkpoint_steps = [0]

[[runs]]
method = "frozen"

[[runs]]
method = "lora"
grid = {{ rank = [1, 2], learning_rate = [1e-3] }}

[[runs]]
method = "prompt_tuning"
config = {{ num_virtual_tokens = 3 }}

[probe_options.forgetting]
suites = ["wiki", "openbookqa"]
items = 10
"""


@pytest.fixture
def file(bases, words, tmp_path):
    path = tmp_path / "tiny.toml"
    path.write_text(STUDY.format(base=bases["llama"], data=words))
    return path


@pytest.fixture
def few(file):
    """The same with two probes in the place of all."""
    probes = 'seeds = [0, 1]\nprobes = ["task_accuracy", "cost"]'
    file.write_text(file.read_text().replace("seeds = [0, 1]", probes))
    return file


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_every_run_and_table_of_the_grid(file, tmp_path):
    outcome = runner.run_study(file, tmp_path / "out", HERE)
    assert outcome.failed == ()
    assert len(outcome.runs) == 2 + 4 + 2
    index = json.loads((tmp_path / "out" / "study.json").read_text())
    assert list(dict.fromkeys(index["configurations"].values())) == [
        "frozen",
        "lora rank=1 learning_rate=0.001",
        "lora rank=2 learning_rate=0.001",
        "prompt_tuning num_virtual_tokens=3",
    ]
    known = table.read(tmp_path / "out" / "tables" / "configurations.parquet").frame
    assert known["configuration"].tolist() == list(dict.fromkeys(index["configurations"].values()))
    assert known["sweep"].tolist()[1:3] == ["lora rank=1", "lora rank=2"]
    assert known["target_modules"].dropna().tolist() == ["query_value"] * 2  # by default
    accuracy = table.read(tmp_path / "out" / "tables" / "task_accuracy.parquet").frame
    assert accuracy["n_seeds"].tolist() == [2, 2, 2, 2]
    assert accuracy["n_items"].nunique() == 1
    forgetting = table.read(tmp_path / "out" / "tables" / "forgetting.parquet").frame
    at_start = forgetting[(forgetting["step"] == 0) & (forgetting["method"] != "prompt_tuning")]
    assert len(at_start) == 12
    assert at_start.set_index("suite").loc["wiki", "forgetting"].tolist() == [0] * 6
    assert at_start.set_index("suite").loc["openbookqa", "accuracy_change"].tolist() == [0] * 6
    assert set(forgetting.groupby("suite")["n_items"].unique().explode().items()) == {
        ("wiki", 188), ("openbookqa", 10),
    }  # fmt: skip
    neighbors = table.read(tmp_path / "out" / "tables" / "soft_prompt_neighbors.parquet").frame
    assert set(neighbors["status"]) == {"measured", "not_applicable"}


def test_a_second_time_nothing_is_trained_or_changed(few, tmp_path, monkeypatch):
    runner.run_study(few, tmp_path / "out", HERE)
    before = contents(tmp_path / "out")
    monkeypatch.setattr(trainer, "_train", lambda *_: pytest.fail("trained twice"))
    assert runner.run_study(few, tmp_path / "out", HERE).failed == ()
    assert contents(tmp_path / "out") == before


@pytest.fixture
def sweep(tiny_study, tmp_path):
    """Two ranks and two seeds of LoRA, two seeds of prompt tuning, and a baseline."""
    runs = (
        'method = "lora"\ngrid = { rank = [1, 2] }',
        'method = "prompt_tuning"\nconfig = { num_virtual_tokens = 3 }',
        'method = "frozen"',
    )
    file = tmp_path / "sweep.toml"
    file.write_text(
        tiny_study(*runs, settings='seeds = [0, 1]\ndtype = "float32"\nprobes = ["cost"]')
    )
    return file


def test_runs_in_one_pass(sweep, tmp_path, capsys):
    together = StudyOptions(workers=0, runs_per_pass=4)
    outcome = runner.run_study(sweep, tmp_path / "out", together)
    assert outcome.failed == ()
    said = capsys.readouterr().err
    assert "6 runs are trained in 2 groups, each in one pass over the base" in said
    assert "[6/8] prompt_tuning num_virtual_tokens=3 seed=1: accuracy" in said
    passes = [run.record.environment.get("trained_together") for run in outcome.runs]
    assert passes == [4] * 4 + [2] * 2 + [None] * 2
    cost = table.read(tmp_path / "out" / "tables" / "cost.parquet").frame
    assert cost["run"].nunique() == 8
    before = contents(tmp_path / "out" / "runs")
    runner.run_study(sweep, tmp_path / "out", together)
    assert contents(tmp_path / "out" / "runs") == before
    alone = runner.run_study(sweep, tmp_path / "alone", HERE)
    assert "groups" not in capsys.readouterr().err
    assert [run.id for run in outcome.runs] == [run.id for run in alone.runs]


def test_a_cluster_trains_each_run_alone(file, tmp_path):
    with pytest.raises(InputError, match="on this machine only; leave --runs-per-pass"):
        runner.run_study(file, tmp_path / "out", StudyOptions(engine="ray", runs_per_pass=2))


def test_a_gpu_has_groups_without_being_asked(sweep, tmp_path, monkeypatch, capsys):
    """As far as it can be seen without one: what the supervisor makes of the planned GPU."""
    real = runner._plan

    def with_gpu(*args):
        return real(*args).model_copy(update={"gpu_bytes": (10**12,)})

    monkeypatch.setattr(runner, "_plan", with_gpu)
    runner.run_study(sweep, tmp_path / "out", HERE)
    assert "6 runs are trained in 2 groups" in capsys.readouterr().err


def test_a_run_that_raises_costs_only_itself(few, tmp_path, monkeypatch):
    real = trainer.validate

    def fail_for_lora(model, *rest):
        if "Lora" in repr(model):
            raise RuntimeError("out of luck")
        return real(model, *rest)

    monkeypatch.setattr(trainer, "validate", fail_for_lora)
    outcome = runner.run_study(few, tmp_path / "out", HERE)
    assert len(outcome.failed) == 4
    assert len(outcome.runs) == 4
    record = json.loads(next((tmp_path / "out" / "failed").iterdir()).read_text())
    assert record["error"] == "RuntimeError: out of luck"
    assert "fail_for_lora" in record["traceback"]
    finished = contents(tmp_path / "out" / "runs")
    monkeypatch.undo()
    again = runner.run_study(few, tmp_path / "out", HERE)
    assert again.failed[0] == (
        "lora rank=1 learning_rate=0.001 seed=0: failed: out of luck (before; not tried again)"
    )
    assert len(again.failed) == 4
    assert runner.run_study(few, tmp_path / "out", RETRY).failed == ()
    assert not list((tmp_path / "out" / "failed").iterdir())
    after = contents(tmp_path / "out" / "runs")
    assert finished.items() <= after.items()


def test_a_full_disk_stops_the_study_and_loses_nothing(few, tmp_path, monkeypatch):
    real, calls = trainer.checkpoint.save, []

    def fill_up(*args):
        calls.append(args)
        if len(calls) > 4:
            raise OSError(28, "No space left on device")
        real(*args)

    monkeypatch.setattr(trainer.checkpoint, "save", fill_up)
    with pytest.raises(OSError, match="No space left"):
        runner.run_study(few, tmp_path / "out", HERE)
    runs = runs_in(tmp_path / "out" / "runs")
    assert runs and all(run.record.status == "finished" for run in runs)
    finished = contents(tmp_path / "out" / "runs")
    monkeypatch.undo()
    assert len(runner.run_study(few, tmp_path / "out", HERE).runs) == 8
    assert finished.items() <= contents(tmp_path / "out" / "runs").items()


def test_a_method_that_leaves_traces_is_found_out(few, tmp_path, monkeypatch):
    from peftlens.methods import lora

    real = lora.attach

    def careless(model, config):
        model.config.rms_norm_eps = 0.5
        return real(model, config)

    monkeypatch.setattr(lora, "attach", careless)
    outcome = runner.run_study(few, tmp_path / "out", HERE)
    assert len(outcome.failed) == len(outcome.runs) == 4
    assert "the base model was left changed; this is a defect of lora" in outcome.failed[0]


def test_a_probe_that_raises_costs_only_itself(file, tmp_path, monkeypatch):
    from peftlens.probes import forgetting_items

    monkeypatch.setattr(forgetting_items, "measure", lambda *_: 1 / 0)
    file.write_text(file.read_text().replace("seeds = [0, 1]", "seeds = [0]"))
    outcome = runner.run_study(file, tmp_path / "out", HERE)
    assert outcome.failed == (
        "probe forgetting on frozen seed=0 and 3 other runs: failed: division by zero",
        "probe forgetting_items on frozen seed=0 and 3 other runs: failed: division by zero",
        "probe forgetting_at_matched_fit: failed: division by zero",
    )
    left = {path.stem for path in (tmp_path / "out" / "tables").iterdir()}
    probes = {name: registry.load("probes", name) for name in registry.names("probes")}
    on_request = {name for name, one in probes.items() if getattr(one, "OPTIONAL", False)}
    assert on_request
    # two read the table of the third
    failed = {"forgetting_items", "forgetting", "forgetting_at_matched_fit"}
    assert left == {"configurations", *probes} - failed - on_request


def test_a_probe_that_raises_on_one_run_keeps_the_rows_of_the_others(few, tmp_path, monkeypatch):
    """The run is measured again by the next call, and its failure is in no cache."""
    from peftlens.probes import task_items

    real = task_items.measure

    def fail_for_prompts(context, run):
        if run.config.method == "prompt_tuning" and run.config.seed == 1:
            raise RuntimeError("out of\nluck")
        return real(context, run)

    few.write_text(few.read_text().replace('"cost"', '"task_items"'))
    monkeypatch.setattr(task_items, "measure", fail_for_prompts)
    failure = "probe task_items on prompt_tuning num_virtual_tokens=3 seed=1: failed: out of luck"
    for _ in range(2):
        outcome = runner.run_study(few, tmp_path / "out", HERE)
        assert outcome.failed == (failure,)
    record = json.loads((tmp_path / "out" / "failed" / "task_items.json").read_text())
    assert "fail_for_prompts" in record["traceback"]

    def tables():
        names = ("task_items", "task_accuracy")
        return [table.read(tmp_path / "out" / "tables" / f"{name}.parquet").frame for name in names]

    items, accuracy = tables()
    alone = items[items["status"] == "failed"]
    assert (alone["seed"].tolist(), alone["reason"].tolist()) == ([1], ["out of luck"])
    assert alone["chosen"].isna().all()
    assert items[items["status"] == "measured"]["run"].nunique() == 7
    assert accuracy["n_seeds"].tolist() == [2, 2, 2, 1]
    monkeypatch.undo()
    assert runner.run_study(few, tmp_path / "out", HERE).failed == ()
    assert not list((tmp_path / "out" / "failed").iterdir())
    items, accuracy = tables()
    assert set(items["status"]) == {"measured"}
    assert accuracy["n_seeds"].tolist() == [2, 2, 2, 2]


@pytest.fixture
def under_way(tmp_path):
    """A study of one run, and the job that measures it."""
    run = PlannedRun(
        id="a", configuration="lora", batch_key=None, config=RunConfig(method="lora", task="wiki")
    )
    plan = StudyPlan(
        name="one", runs=[run], probes=[], probe_options={}, device="cpu", dtype="float32",
        bytes_per_run=1, gpu_bytes=[],
    )  # fmt: skip
    study = StudyRunner(tmp_path, HERE, plan, InProcessPool("fast"), Signals(), False, done={"a"})
    return study, Job(JobKey("measure", "a"), "Measuring lora seed=0", lambda: None)


def test_a_worker_that_dies_at_a_probe_costs_that_probe(under_way):
    (study, job), jobs = under_way, JobQueue()
    died = Died(error_summary="killed", log="l", activity="latency", is_retryable=False)
    study._measured(JobResult(job, died), jobs)
    assert list(jobs) == [job]  # the other probes
    assert study.failures.summaries == {"latency": "probe latency on lora seed=0: failed: killed"}
    assert study.measurements.request("a", ["latency", "cost"]).probes == ("cost",)
    assert study.measurements.request("b", ["latency", "cost"]).probes == ("cost",)
    assert study.measurements.unmeasured["latency"] == {
        "a": "killed",
        "b": "not tried, as a worker died at this probe on another run",
    }


def test_a_worker_that_dies_before_any_probe_costs_the_run(under_way):
    (study, job), jobs = under_way, JobQueue()
    died = Died(error_summary="killed", log="l", is_retryable=False)
    study._measured(JobResult(job, died), jobs)
    assert list(jobs) == []
    assert study.failures.summaries == {"a": "Measuring lora seed=0: failed: killed"}


def test_parts_of_a_run_in_quarantine_are_dropped(under_way):
    study, job = under_way
    other = Job(JobKey("measure", "b", "cost"), "", lambda: None)
    jobs = JobQueue([replace(job, key=JobKey("measure", "a", "latency")), other])
    damaged = Done(result={"cost": Corrupted(error_summary="changed")}).model_dump(mode="json")
    study._measured(JobResult(job, Done.model_validate(damaged)), jobs)
    assert list(jobs) == [other]
    assert study.failures.summaries == {"a": "changed; quarantined: the next call trains it again"}
    failed = Failed(error_summary="is not a run", error="E", traceback="t", is_input_error=True)
    study._measured(JobResult(job, Done(result={"latency": failed})), jobs)
    assert [*study.failures.summaries] == ["a"]


def test_outcomes_of_probes_as_a_worker_sends_them(under_way):
    (study, job), jobs = under_way, JobQueue()
    failed = Failed(error_summary="no", error="E: no", traceback="t", is_input_error=False)
    sent = json.loads(Done(result={"cost": failed}).model_dump_json())
    study._measured(JobResult(job, Done.model_validate(sent)), jobs)
    assert list(jobs) == []
    assert study.failures.summaries == {"cost": "probe cost on lora seed=0: failed: no"}
    assert json.loads((study.out / "failed" / "cost.json").read_text())["traceback"] == "t"


def test_what_an_earlier_file_left_is_not_shown(file, tmp_path, monkeypatch):
    monkeypatch.setattr(trainer, "validate", lambda *_: 1 / 0)
    runner.run_study(file, tmp_path / "out", HERE)
    monkeypatch.undo()
    assert len(list((tmp_path / "out" / "failed").iterdir())) == 8
    text = file.read_text().replace("seeds = [0, 1]", 'seeds = [2]\nprobes = ["parameter_count"]')
    file.write_text(text)
    runner.run_study(file, tmp_path / "out", HERE)
    assert not list((tmp_path / "out" / "failed").iterdir())
    left = {path.stem for path in (tmp_path / "out" / "tables").iterdir()}
    assert left == {"configurations", "parameter_count"}


def test_configurations_that_read_the_same_are_told_apart(file, tmp_path):
    text = (
        file.read_text()
        .partition("[[runs]]")[0]
        .replace("seeds = [0, 1]", 'seeds = [0]\nprobes = ["parameter_count"]')
    )
    for steps in (2, 3):
        text += f'\n[[runs]]\nmethod = "ln_tuning"\ntraining = {{ max_steps = {steps} }}\n'
    file.write_text(text)
    runner.run_study(file, tmp_path / "out", HERE)
    index = json.loads((tmp_path / "out" / "study.json").read_text())
    assert list(index["configurations"].values()) == [
        "ln_tuning max_steps=2",
        "ln_tuning max_steps=3",
    ]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("max_steps = 3", "stepz = 3", "line 12: training.stepz: unknown key; did you mean"),
        ('name = "tiny"', 'nam = "tiny"', "line 2: nam: unknown key; did you mean name"),
        ("config = {", "confg = {", "line 25: runs.2.confg: unknown key; did you mean config"),
        ("max_steps = 3", "max_steps = -3", "line 12: training.max_steps: .*greater than or equal"),
        ("max_steps = 3", "max_steps = ", "tiny.toml, line 12: Invalid value"),
        ("rank = [1, 2]", "rank = []", "line 21: runs.1.grid.rank: .*at least 1 item"),
        ("rank = [1, 2]", "rnk = [1, 2]", "tiny.toml, line 21: lora has no option 'rnk'"),
        ("rank = [1, 2]", "rank = [1, 99]", "tiny.toml, line 21: rank=99 must lie between"),
        ('"prompt_tuning"', '"prompt"', "line 24: no method named 'prompt'; did you"),
        ("seeds = [0, 1]", 'probes = ["forget"]', "no probe named 'forget'; did you"),
        ("items = 10", "item = 10", "line 29: forgetting has no option 'item'; did you mean items"),
    ],
)  # fmt: skip
def test_mistakes_in_the_file_are_found_before_anything_runs(file, tmp_path, old, new, message):
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))
    with pytest.raises(InputError, match=message):
        runner.run_study(file, tmp_path / "out", HERE)
    assert not (tmp_path / "out").exists()


def test_chosen_runs_are_paused_after_a_share_of_their_steps_and_resumed(few, tmp_path):
    out = tmp_path / "out"

    def is_lora(run):
        return run.config.method == "lora"

    paused = StudyOptions(workers=0, select=is_lora, pause_after=0.5)
    outcome = runner.run_study(few, out, paused)
    assert (outcome.runs, outcome.failed, outcome.left) == ((), (), 8)
    assert len(outcome.planned) == 8
    names = sorted(folder.name for folder in (out / "runs").glob(".paused-*"))
    assert names == sorted(f".paused-{run.id}-2" for run in outcome.planned if is_lora(run))
    assert not list((out / "tables").glob("*"))
    whole = runner.run_study(few, out, StudyOptions(workers=0, select=is_lora))
    assert {run.config.method for run in whole.runs} == {"lora"}
    assert not list((out / "runs").glob(".paused-*"))
