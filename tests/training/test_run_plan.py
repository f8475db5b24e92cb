import pytest

import peftlens
from peftlens.errors import InputError
from peftlens.methods import lora
from peftlens.runs.config import RunConfig
from peftlens.tasks import task_of
from peftlens.training.run_plan import plan_run


@pytest.fixture
def config(bases, words):
    def make(method="lora", **changes):
        return RunConfig(
            method=method,
            task=f"file:{words}",
            base_model=str(bases["llama"]),
            device="cpu",
            **changes,
        )

    return make


def test_every_default_is_written_out(context, config):
    planned = plan_run(config(dtype="float32"), context)
    assert planned.config.method_config["rank"] == 8
    assert planned.config.training.learning_rate == lora.LEARNING_RATE
    assert planned.config.device == "cpu"


def test_what_is_said_and_what_is_default_are_the_same_run(context, config):
    assert plan_run(config(), context).id == plan_run(config(method_config={"rank": 8}), context).id


def test_text_is_resolved_to_token_ids(context, config):
    options = {"init": "labels", "num_virtual_tokens": 2}
    planned = plan_run(config("prompt_tuning", method_config=options), context)
    assert len(planned.config.method_config["init_ids"]) == 2


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "lora rank=8"),
        ({"method_config": {"alpha": 4}}, "lora rank=8 alpha=4"),
        ({"method_config": {"target_modules": ["q_proj"]}}, "lora rank=8 target_modules=q_proj"),
        ({"training": {"learning_rate": 0.1}}, "lora rank=8 learning_rate=0.1"),
        (
            {"method_config": {"target_modules": ["q_proj"], "rank": 4, "alpha": 4}},
            "lora rank=4 alpha=4 target_modules=q_proj",
        ),
    ],
)
def test_configuration_in_words(context, config, changes, expected):
    assert plan_run(config(**changes), context).configuration == expected


def test_run_id_follows_the_data(context, config, words, tmp_path):
    other = tmp_path / "words.jsonl"
    other.write_text(words.read_text().replace("good", "nice"))
    first = plan_run(config(), context)
    second = plan_run(config().model_copy(update={"task": f"file:{other}"}), context)
    assert first.depends_on["data"] != second.depends_on["data"]
    assert first.id != second.id


def test_what_trains_nothing_takes_no_steps(context, config):
    planned = plan_run(
        config("frozen", training={"max_steps": 9, "checkpoint_steps": [0, 5]}), context
    )
    assert planned.config.training.max_steps == 0
    assert planned.config.training.checkpoint_steps == ()
    assert planned.id == plan_run(config("frozen", training={"max_steps": 3}), context).id


def test_checkpoint_after_the_end(context, config):
    with pytest.raises(InputError, match="checkpoint_steps: 5 lies after the last step, 3"):
        plan_run(config(training={"max_steps": 3, "checkpoint_steps": [5]}), context)


def test_shuffled_labels_are_another_run_on_the_same_data(context, config):
    plain = plan_run(config(), context)
    shuffled = plan_run(config(training={"shuffle_labels": True}), context)
    assert "shuffle_labels" not in plain.config.model_dump()["training"]  # ids stay as they were
    assert shuffled.id != plain.id
    assert shuffled.configuration == "lora rank=8 shuffle_labels=True"
    assert shuffled.depends_on == plain.depends_on
    rows = [[one.correct for one in planned.task.splits["train"]] for planned in (plain, shuffled)]
    assert sorted(rows[0]) == sorted(rows[1])
    assert rows[0] != rows[1]
    assert shuffled.task.splits["test"] == plain.task.splits["test"]


def test_a_run_with_shuffled_labels_reads_the_task_as_published(context, config, tmp_path):
    run = peftlens.train(
        config(training={"shuffle_labels": True, "max_steps": 1}, dtype="float32"), tmp_path
    )
    assert run.config.training.shuffle_labels
    planned = plan_run(config(), context)
    assert task_of(run) == planned.task
