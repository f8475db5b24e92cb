import finished
import pytest

from peftlens.results import table
from peftlens.results.outcomes import DiskError, Done, Failed
from peftlens.results.table_cache import ProbeSpec, TableCache
from peftlens.studies.final_tables import FinalTables
from peftlens.studies.plan import PlannedRun, StudyPlan
from peftlens.studies.scheduler import Signals
from peftlens.studies.study_failures import StudyFailures

NO = Failed(error_summary="no", error="E: no", traceback="t", is_input_error=False)


class OutcomePool:
    """Pool whose jobs end at once, each with the outcome of its probe."""

    slots = 1

    def __init__(self, **outcomes):
        self.outcomes, self.requests = outcomes, []

    def accepts(self, slot):  # noqa: ARG002
        return True

    def submit(self, slot, request):  # noqa: ARG002
        self.requests.append(request)

    def poll(self, seconds):  # noqa: ARG002
        return [(0, self.outcomes.get(self.requests[-1].probe, Done(result={})))]


@pytest.fixture
def runs(tmp_path):
    return [finished.run(tmp_path / "runs", finished.lora(8, seed), seed) for seed in (0, 1)]


@pytest.fixture
def final(runs, tmp_path):
    """Tables of a study of two runs and two probes."""
    planned = [
        PlannedRun(id=run.id, configuration="lora", batch_key=None, config=run.config)
        for run in runs
    ]
    probes = [
        ProbeSpec(name=name, each_run=True, version=1, config={}) for name in ("cost", "learning")
    ]
    plan = StudyPlan(
        name="two", runs=planned, probes=probes, probe_options={}, device="cpu", dtype="float32",
        bytes_per_run=1, gpu_bytes=[],
    )  # fmt: skip
    failures = StudyFailures(tmp_path, {run.id: run for run in planned})
    return FinalTables(TableCache(tmp_path / "tables", probes), plan, failures, False)


def put_old_table(final, name):
    file = final.tables.folder / f"{name}.parquet"
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(b"old")
    return file


def test_each_table_is_a_job_over_all_runs(final, runs):
    pool = OutcomePool()
    assert final.write(runs, pool, Signals()) >= 0
    assert [request.probe for request in pool.requests] == ["cost", "learning"]
    assert {request.runs for request in pool.requests} == {tuple(run.path for run in runs)}
    assert pool.requests[0].labels == {run.id: "lora" for run in runs}
    assert final.failures.summaries == {}
    known = table.read(final.tables.folder / "configurations.parquet").frame
    assert known["configuration"].tolist() == ["lora"]


def test_a_run_that_the_table_lacks_is_a_failure_of_its_probe(final, runs):
    final.write(runs, OutcomePool(cost=Done(result={runs[1].id: "cut off"})), Signals())
    line = "probe cost on lora seed=1: failed: cut off"
    assert final.failures.summaries == {"cost": line}
    # a measurement has recorded it already, with its traceback
    final.failures.record_probe(runs[0].id, "learning", NO)
    final.write(runs, OutcomePool(learning=Done(result={runs[0].id: "no"})), Signals())
    record = (final.failures.out / "failed" / "learning.json").read_text()
    assert '"traceback": "t"' in record


def test_a_table_that_fails_is_deleted(final, runs):
    """It may lack runs; the record of a measurement says more than that of the table."""
    final.failures.record_probe(runs[0].id, "learning", NO)
    measured = dict(final.failures.summaries)
    files = [put_old_table(final, name) for name in ("cost", "learning")]
    final.write(runs, OutcomePool(cost=NO, learning=NO), Signals())
    assert not any(file.exists() for file in files)
    assert final.failures.summaries == {"cost": "probe cost: failed: no"} | measured


def test_a_full_disk_ends_the_study(final, runs):
    full = DiskError(error_summary="No space left on device: out", errno=28)
    with pytest.raises(OSError, match="No space left on device: out; finished runs are kept"):
        final.write(runs, OutcomePool(cost=full), Signals())
