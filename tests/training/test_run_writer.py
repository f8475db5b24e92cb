import json

import pytest

from peftlens.adapters import checkpoint
from peftlens.models.snapshot import restored_after
from peftlens.runs.config import RunConfig
from peftlens.runs.run import Run
from peftlens.training.run_plan import plan_run
from peftlens.training.run_writer import RunWriter


@pytest.fixture
def planned(context, bases, words):
    return plan_run(
        RunConfig(method="lora", task=f"file:{words}", base_model=str(bases["llama"]), device="cpu",
                  dtype="float32"),
        context,
    )  # fmt: skip


@pytest.fixture
def writer(planned, tmp_path):
    return RunWriter(path=tmp_path, method="lora", method_config=planned.method_config,
                     origin=planned.base.origin)  # fmt: skip


@pytest.fixture
def model(planned):
    with restored_after(planned.base.model) as base:
        yield checkpoint.attach(base, "lora", planned.method_config)


def record(writer, planned, **changes):
    return writer.write_record(
        **{"config": planned.config, "configuration": "lora rank=8", "diverged": False,
           "depends_on": planned.depends_on, "results": {"steps": 5}} | changes
    )  # fmt: skip


def test_lines_are_appended_to_their_files(writer, tmp_path):
    assert (tmp_path / "metrics.jsonl").read_text() == (tmp_path / "timing.jsonl").read_text() == ""
    writer.log_metrics({"step": 1, "loss": 2.0})
    writer.log_metrics({"step": 2, "loss": 1.5})
    writer.log_timing({"step": 1, "seconds": 0.5})
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [
        {"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.5}
    ]  # fmt: skip
    assert (tmp_path / "timing.jsonl").read_text() == '{"step": 1, "seconds": 0.5}\n'


def test_values_that_are_no_json_are_refused(writer):
    with pytest.raises(ValueError, match="not JSON compliant"):
        writer.log_metrics({"loss": float("nan")})


def test_a_recorded_folder_is_a_run(writer, model, planned, tmp_path):
    writer.save_checkpoint(model, 3)
    assert writer.save_adapter(model) == tmp_path / "adapter"
    assert record(writer, planned, trained_together=3) == planned.id
    run = Run(tmp_path)
    assert run.id == planned.id
    assert run.steps == (3, 5)
    assert run.record.status == "finished"
    assert run.record.environment["trained_together"] == 3
    assert run.record.environment["device"] == "cpu"
    run.verify(run.digests)
    assert "run.json" in run.digests
    assert "checkpoints/3/adapter_model.safetensors" in run.digests


def test_a_diverged_run_says_so(writer, planned, tmp_path):
    record(writer, planned, diverged=True)
    assert Run(tmp_path).record.status == "diverged"
