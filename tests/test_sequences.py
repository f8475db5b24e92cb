"""Studies of sequences of tasks: each run is trained further from the one before it."""

import json
import shutil

import pytest

from peftlens.errors import InputError
from peftlens.results import table
from peftlens.runs.config import RunConfig
from peftlens.studies import runner
from peftlens.studies.runner import StudyOptions
from peftlens.training import trainer

HERE = StudyOptions(workers=0)

SEQUENCE = """
name = "sequence"
base_model = "{base}"
device = "cpu"
dtype = "float32"
seeds = [0, 1]
probes = ["continual", "continual_matrix", "parameter_count"]

[continual]
order = "by_seed"
items = 10
tasks = [
  {{ name = "file:{data}" }},
  {{ name = "file:{copy}1.jsonl", template = "Is {{text}} good?" }},
  {{ name = "file:{copy}2.jsonl", template = "{{text}} is" }},
]

[training]
max_steps = 2
batch_size = 4
max_length = 64

[[runs]]
method = "lora"

[[runs]]
method = "fish_mask"
"""


def test_a_sequence_of_tasks(bases, words, tmp_path):
    for number in (1, 2):
        shutil.copy(words, tmp_path / f"copy{number}.jsonl")
    file = tmp_path / "sequence.toml"
    file.write_text(SEQUENCE.format(base=bases["llama"], data=words, copy=tmp_path / "copy"))
    outcome = runner.run_study(file, tmp_path / "out", HERE)
    assert outcome.failed == ()
    found = table.read(tmp_path / "out" / "tables" / "continual.parquet").frame
    assert found["n_seeds"].tolist() == [2] * 2 * 2 * 4
    assert (found["orders"].str.count(";") == 1).all()  # two seeds, two orders
    swapped = found[found["regime"] == "swapped"].set_index("measure")["value"]
    assert swapped[["BWT", "F", "FWT"]].tolist() == [0] * 6
    cells = table.read(tmp_path / "out" / "tables" / "continual_matrix.parquet").frame
    assert len(cells) == 2 * 2 * 2 * (1 + 3) * 3
    by_id = {run.id: run for run in outcome.runs}
    # each task alone, and the second and third after the one before
    assert len(by_id) == 2 * 2 * (3 + 2)
    for run in by_id.values():
        if run.config.continue_from:
            before = by_id[run.config.continue_from]
            assert before.config.task != run.config.task
            assert before.config.seed == run.config.seed


HEADS = """
name = "heads"
base_model = "{base}"
device = "cpu"
dtype = "float32"
seeds = [0, 1]
probes = ["sequence_scores", "continual", "continual_matrix"]

[continual]
items = 10
tasks = [{{ name = "file:{data}" }}, {{ name = "file:{threes}" }}]

[training]
max_steps = 3
batch_size = 8
max_length = 64
learning_rate = 0.01

[[runs]]
method = "head"

[[runs]]
method = "bottleneck"
"""


def test_a_sequence_of_tasks_with_a_head_each(encoders, words, tmp_path):
    rows = [json.loads(line) for line in words.read_text().splitlines()]
    threes = tmp_path / "threes.jsonl"
    threes.write_text(
        "".join(
            json.dumps(row | {"label": ["one", "two", "three"][number % 3]}) + "\n"
            for number, row in enumerate(rows)
        )
    )
    file = tmp_path / "heads.toml"
    file.write_text(HEADS.format(base=encoders["bert"], data=words, threes=threes))
    outcome = runner.run_study(file, tmp_path / "out", HERE)
    assert outcome.failed == ()
    assert len(outcome.runs) == 2 * 2 * 3
    tables = tmp_path / "out" / "tables"
    found = table.read(tables / "continual.parquet").frame
    assert found["n_seeds"].tolist() == [2] * 2 * 2 * 4
    head = found[found["configuration"].str.startswith("head") & (found["regime"] == "one adapter")]
    ends = head[head["measure"] == "BWT"][["value", "ci_low", "ci_high"]]
    assert ends.to_numpy().tolist() == [[0, 0, 0]]
    scores = table.read(tables / "sequence_scores.parquet").frame
    base = scores.groupby(["seed", "task"])["base_accuracy"]
    assert (base.nunique() == 1).all()  # the untrained head is the same for all methods
    before = [file.read_bytes() for file in sorted(tables.glob("*.parquet"))]
    again = runner.run_study(file, tmp_path / "out", HERE)
    assert [run.id for run in again.runs] == [run.id for run in outcome.runs]
    assert [file.read_bytes() for file in sorted(tables.glob("*.parquet"))] == before


def test_training_goes_on_from_what_the_run_before_has_trained(bases, words, tmp_path):
    def adapter(**changes):
        config = RunConfig(
            method="lora", task=f"file:{words}", base_model=str(bases["llama"]), device="cpu",
            dtype="float32", training={"max_steps": 3, "checkpoint_steps": [0]}, **changes,
        )  # fmt: skip
        return trainer.train(config, tmp_path)

    first = adapter()
    second = adapter(continue_from=first.id, seed=1)
    start = (second.adapter(0) / "adapter_model.safetensors").read_bytes()
    assert start == (first.adapter() / "adapter_model.safetensors").read_bytes()
    assert (second.adapter() / "adapter_model.safetensors").read_bytes() != start
    with pytest.raises(InputError, match="is not a run"):
        adapter(continue_from="missing")


def test_p_tuning_keeps_too_little_to_be_trained_on(bases, words, tmp_path):
    config = RunConfig(
        method="p_tuning", task=f"file:{words}", base_model=str(bases["llama"]), device="cpu",
        dtype="float32", training={"max_steps": 1}, method_config={"hidden_size": 16},
    )  # fmt: skip
    first = trainer.train(config, tmp_path)
    with pytest.raises(InputError, match="p_tuning saves only its network's output"):
        trainer.train(config.model_copy(update={"continue_from": first.id}), tmp_path)
