import json

from peftlens.adapters.run_context import RunContext
from peftlens.runs.config import RunConfig
from peftlens.training import trainer
from peftlens.training.data_loader import TokenizedTask, TrainingLoader
from peftlens.training.run_plan import plan_run
from peftlens.training.train_state import TrainState


def test_a_step_that_is_not_finite_is_not_taken(bases, words, tmp_path):
    config = RunConfig(
        method="lora", task=f"file:{words}", base_model=str(bases["llama"]), device="cpu",
        dtype="float32", training={"max_steps": 9, "batch_size": 4, "logging_steps": 4},
    )  # fmt: skip
    planned = plan_run(config, RunContext())
    task = TokenizedTask.of(planned.base, planned.task, 32)
    loader = TrainingLoader.of(task.collator, task.train, planned.config.training)
    model, writer = trainer.attach_planned(planned), trainer.open_writer(planned, tmp_path)
    state = TrainState.of_single_run(planned, writer, model, loader, {})
    for parameter in state.parameters:
        parameter.grad = parameter.new_ones(parameter.shape)
    taken = [state.step(1, 0.5), state.step(2, float("nan"))]
    assert taken[0]["loss"] == 0.5
    assert taken[1] == {}
    assert state.diverged
    assert state.results["steps"] == 1
    for step in (1, 2, 4, 9):
        state.log(taken[0] | {"step": step}, 10, 2.0)
    lines = [json.loads(line) for line in (tmp_path / "timing.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 4, 9]
    assert lines[0]["tokens_per_second"] == 5
