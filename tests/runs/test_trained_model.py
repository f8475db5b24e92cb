import pytest
import theirs

import peftlens
from peftlens.adapters.external import ExternalAdapter
from peftlens.runs.config import RunConfig
from peftlens.runs.trained_model import TrainedModel


@pytest.fixture
def run(bases, words, tmp_path) -> TrainedModel:
    return peftlens.train(
        RunConfig(
            method="lora", task=f"file:{words}", base_model=str(bases["llama"]), device="cpu",
            dtype="float32", method_config={"rank": 2},
            training={"max_steps": 2, "batch_size": 4, "checkpoint_steps": [0]},
        ),
        tmp_path / "runs",
    )  # fmt: skip


@pytest.fixture
def adapter(bases, tmp_path) -> TrainedModel:
    return ExternalAdapter(theirs.save(theirs.wrapped("LORA"), tmp_path / "a", str(bases["llama"])))


def test_a_run_has_its_task_and_keeps_tables(run, words):
    assert run.id == run.path.name
    assert run.task == f"file:{words}"
    assert run.is_reproducible
    assert run.rank == 2
    assert run.steps == (0, 2)
    assert run.table_folder == run.path / "probes"
    assert run.timing()
    assert run.metrics()


def test_of_another_programs_adapter_nothing_is_recorded_or_written(adapter, bases):
    assert adapter.task is None
    assert not adapter.is_reproducible
    assert adapter.config.base_model == str(bases["llama"])
    assert adapter.rank == adapter.config.method_config["r"]
    assert adapter.adapter() == adapter.path
    assert adapter.table_folder is None
    assert (adapter.metrics(), adapter.timing(), adapter.digests) == ([], [], {})
