import pytest

from peftlens.results import table
from peftlens.results.outcomes import Corrupted, Failed
from peftlens.runs.paused import paused_runs
from peftlens.runs.run import Run
from peftlens.studies import worker
from peftlens.studies.worker_protocol import (
    MeasureRequest,
    PlanRequest,
    TableRequest,
    TrainBatchRequest,
    TrainRequest,
)


def perform(request):
    """As a worker that has just started."""
    return worker.actions()[request.kind](request)


def plan(text, trust_remote_code=False):
    return perform(
        PlanRequest(
            text=text,
            source="worker.toml",
            dtypes=None,
            full_scale=False,
            trust_remote_code=trust_remote_code,
        )
    )


def train(run, folder, trust_remote_code=False):
    return perform(
        TrainRequest(
            run=run.id, config=run.config, folder=folder, trust_remote_code=trust_remote_code
        )
    )


def measure(folder, *probes, trust_remote_code=False):
    return perform(
        MeasureRequest(
            run=folder, probes=probes, probe_options={}, trust_remote_code=trust_remote_code
        )
    )


@pytest.fixture
def planned(tiny_study):
    """The one run of a study."""
    settings = 'dtype = "float32"\nprobes = ["parameter_count", "task_items"]'
    (run,) = plan(tiny_study('method = "lora"', settings=settings)).runs
    return run


@pytest.fixture
def trained(planned, tmp_path):
    assert "on validation" in train(planned, tmp_path / "runs")
    return tmp_path / "runs" / planned.id


def test_it_trains_the_run_that_was_planned(trained):
    assert Run(trained).record.status == "finished"
    assert set(Run(trained).digests) >= {"run.json", "metrics.jsonl", "timing.jsonl"}


def test_another_run_than_planned_is_refused(planned, tmp_path):
    with pytest.raises(ValueError, match="differ from those of the study"):
        train(planned.model_copy(update={"id": "0" * 12}), tmp_path)
    assert not list(tmp_path.iterdir())


def test_several_runs_in_one_pass(tiny_study, tmp_path):
    text = tiny_study('method = "lora"\ngrid = { rank = [1, 2] }', settings='dtype = "float32"')
    first, second = plan(text).runs
    assert first.batch_key == second.batch_key is not None
    request = TrainBatchRequest(
        configs={first.id: first.config, second.id: second.config},
        folder=tmp_path,
        trust_remote_code=False,
    )
    paused = perform(request.model_copy(update={"until": 1}))
    assert list(paused) == [first.id, second.id]
    assert all(text.startswith("paused after step 1, accuracy") for text in paused.values())
    summaries = perform(request)
    assert list(summaries) == [first.id, second.id]
    assert all("on validation" in summary for summary in summaries.values())
    assert all(Run(tmp_path / run).record.status == "finished" for run in summaries)


def test_a_probe_that_fails_costs_itself(trained, monkeypatch):
    from peftlens.probes import parameter_count

    monkeypatch.setattr(parameter_count, "measure", lambda *_: 1 / 0)
    wrong = measure(trained, "parameter_count", "task_items")
    assert list(wrong) == ["parameter_count"]
    assert isinstance(wrong["parameter_count"], Failed)
    assert wrong["parameter_count"].error_summary == "division by zero"
    assert (trained / "probes" / "task_items.parquet").exists()


def test_a_damaged_run_is_measured_no_further(trained):
    weights = trained / "adapter" / "adapter_model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    wrong = measure(trained, "task_items", "parameter_count")
    assert list(wrong) == ["task_items"]
    assert isinstance(wrong["task_items"], Corrupted)
    assert "contents have changed" in wrong["task_items"].error_summary


def test_tables(trained, planned, tmp_path):
    file = tmp_path / "tables" / "parameter_count.parquet"
    request = TableRequest(
        probe=file.stem,
        runs=(trained,),
        labels={planned.id: planned.configuration},
        probe_options={},
        file=file,
        trust_remote_code=False,
    )
    assert perform(request) == {}
    assert table.read(file).frame["configuration"].tolist() == ["lora rank=8"]


def test_a_process_that_only_measures_may_need_the_base_s_code(
    tiny_study, with_code, bases, tmp_path
):
    text = tiny_study('method = "lora"').replace(str(bases["llama"]), str(with_code))
    (run,) = plan(text, trust_remote_code=True).runs
    train(run, tmp_path, trust_remote_code=True)
    wrong = measure(tmp_path / run.id, "task_items")
    assert "allow it by --trust-remote-code" in wrong["task_items"].error_summary
    assert measure(tmp_path / run.id, "task_items", trust_remote_code=True) == {}


def test_a_run_is_paused_and_resumed_on_request(planned, tmp_path):
    request = TrainRequest(
        run=planned.id, config=planned.config, folder=tmp_path, trust_remote_code=False, until=1
    )
    assert perform(request).startswith("paused after step 1, accuracy 0.")
    (paused,) = paused_runs(tmp_path, planned.id)
    assert 0 < paused.scores["validation_loss"] < 10
    assert "on validation" in train(planned, tmp_path)
    assert Run(tmp_path / planned.id).record.status == "finished"
    assert perform(request).startswith("accuracy 0.")
