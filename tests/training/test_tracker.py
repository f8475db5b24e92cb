"""Trainings of other programs, kept as runs; and whatever goes wrong, they go on."""

import logging

import peft
import pytest
import theirs
import torch
from safetensors.torch import load_file
from tiny import build, byte_tokenizer

import peftlens
from peftlens.evaluation import probe_runner
from peftlens.runs import store
from peftlens.runs.run import Run
from peftlens.vocab.trained_vectors import trained_vectors

IDS = torch.arange(3, 19).reshape(2, 8)


@pytest.fixture
def prompt(bases):
    """A prompt that is about to be trained, on the tiny Llama."""
    base = peftlens.load_base_model(str(bases["llama"]), device="cpu", dtype="float32")
    return peft.get_peft_model(base.model, theirs.config("PROMPT_TUNING"))


def steps(model, tracker=None, count=6):
    """A plain loop; gives its losses."""
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.5)
    losses = []
    for _ in range(count):
        loss = model(input_ids=IDS, attention_mask=torch.ones_like(IDS), labels=IDS).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        if tracker:
            tracker.step(loss=loss)
    return losses


def test_a_loop_becomes_a_run(context, prompt, tmp_path):
    options = {"training": {"learning_rate": 0.5, "batch_size": 2}, "tokenizer": byte_tokenizer()}
    with peftlens.track(prompt, tmp_path, every=2, seed=7, **options) as tracker:
        losses = steps(prompt, tracker)
    (folder,) = tmp_path.iterdir()
    run = Run(folder)
    assert run.steps == (0, 2, 4, 6)
    assert run.config.method == "peft:PROMPT_TUNING"
    assert (run.config.seed, run.config.training.learning_rate) == (7, 0.5)
    assert [line["loss"] for line in run.metrics()] == pytest.approx(losses[1::2])
    assert store.damage(run, weights=True) is None
    assert run.record.results["trainable_parameters"] == 4 * 32
    assert run.record.results["base_parameters"] == sum(
        p.numel() for p in build("llama").parameters()
    )
    with context.open_run(run, 6) as model, torch.no_grad():
        again = model(input_ids=IDS, attention_mask=torch.ones_like(IDS)).logits
    expected = prompt(input_ids=IDS, attention_mask=torch.ones_like(IDS)).logits
    assert torch.equal(again, expected)


def test_its_probes_see_where_it_started(context, prompt, tmp_path):
    start = prompt.get_prompt(1)[0].detach().clone()
    with peftlens.track(prompt, tmp_path, every=3) as tracker:
        steps(prompt, tracker)
    run = Run(next(tmp_path.iterdir()))
    found = trained_vectors(run, context.base_model(run), 6)
    assert torch.equal(found.start, start)
    rows = probe_runner.run_probe(context, run, "soft_prompt_neighbors").frame
    assert set(rows["step"]) == {0, 3, 6}
    assert (rows[rows["step"] == 6]["relative_displacement"] > 0).all()
    (row,) = probe_runner.run_probe(context, run, "task_items").frame.to_dict("records")
    assert row["status"] == "not_applicable"


def test_a_whole_model_is_full_fine_tuning(context, bases, tmp_path):
    base = peftlens.load_base_model(str(bases["llama"]), device="cpu", dtype="float32")
    with peftlens.track(base.model, tmp_path) as tracker:
        steps(base.model, tracker, 2)
    kept = Run(next(tmp_path.iterdir()))
    assert kept.config.method == "full"
    with context.open_run(kept) as model, torch.no_grad():
        assert torch.equal(model(input_ids=IDS).logits, base.model(input_ids=IDS).logits)


def test_what_can_not_be_kept_is_told_once(bases, tmp_path, caplog):
    """A model of which a part is trained without peft: nothing could load that again."""
    base = peftlens.load_base_model(str(bases["llama"]), device="cpu", dtype="float32")
    base.model.model.embed_tokens.weight.requires_grad = False
    with peftlens.track(base.model, tmp_path) as tracker:
        assert steps(base.model, tracker, 2)
    assert [one.message for one in caplog.records if one.levelno == logging.WARNING] == [
        "peftlens stopped tracking; training continues: the model is not a peft.PeftModel, "
        "and some of its weights are frozen"
    ]
    assert not list(tmp_path.iterdir())


def test_a_probe_that_fails_costs_only_itself(prompt, tmp_path, caplog):
    with peftlens.track(prompt, tmp_path, probes=("no_such_probe", "training_log")) as tracker:
        tracker.step(loss=1.0)
    assert "no probe named 'no_such_probe'" in caplog.text
    assert tracker.run == Run(*tmp_path.iterdir())
    assert (tracker.run.path / "probes" / "training_log.parquet").exists()


def test_a_place_that_is_no_folder_is_told(prompt, tmp_path, caplog):
    (tmp_path / "file").write_text("")
    with peftlens.track(prompt, tmp_path / "file") as tracker:
        steps(prompt, tracker, 1)
    assert "peftlens stopped tracking" in caplog.text


def test_a_training_that_fails_leaves_nothing(prompt, tmp_path):
    with pytest.raises(KeyError), peftlens.track(prompt, tmp_path):
        raise KeyError
    assert not list(tmp_path.iterdir())


def test_nobody_sweeps_a_training_away(prompt, tmp_path):
    with peftlens.track(prompt, tmp_path, every=1) as tracker:
        assert store.sweep(tmp_path) == 0
        steps(prompt, tracker, 2)
    assert len(list(tmp_path.iterdir())) == 1


def test_numbers_that_are_none_are_left_out(prompt, tmp_path):
    with peftlens.track(prompt, tmp_path, every=1) as tracker:
        tracker.step(loss=float("nan"), note="text", accuracy=0.5)
    kept = Run(next(tmp_path.iterdir()))
    assert kept.metrics() == [{"step": 1, "accuracy": 0.5}]
    assert kept.record.status == "finished"


def test_weights_that_are_none_are_a_diverged_run(prompt, tmp_path):
    with peftlens.track(prompt, tmp_path, probes=()) as tracker:
        with torch.no_grad():
            next(p for p in prompt.parameters() if p.requires_grad).fill_(float("nan"))
        tracker.step(loss=1.0)
    assert Run(next(tmp_path.iterdir())).record.status == "diverged"


def test_the_same_training_is_the_same_run(prompt, tmp_path):
    for _ in range(2):
        with peftlens.track(prompt, tmp_path) as tracker:
            tracker.step(loss=1.0)
    assert len(list(tmp_path.iterdir())) == 1


def test_a_resumed_loop_begins_at_its_step(prompt, tmp_path):
    with peftlens.track(prompt, tmp_path, every=4, first_step=10) as tracker:
        steps(prompt, tracker, 6)
    run = tracker.run
    assert run.steps == (10, 12, 16)
    assert run.record.results["first_step"] == 10


def test_restored_weights_are_filed_under_their_step(prompt, tmp_path):
    """By a loop that saves each second step, and ends on an odd one without keeping it."""
    with peftlens.track(prompt, tmp_path, every=2) as tracker:
        steps(prompt, tracker, 2)
        best = prompt.get_prompt(1)[0].detach().clone()
        steps(prompt, tracker, 3)
        with torch.no_grad():
            next(p for p in prompt.parameters() if p.requires_grad).copy_(best)
        run = tracker.finish(restored_step=2)
    assert run.steps == (0, 2)  # weights of the last step are nowhere
    with torch.no_grad():
        next(p for p in prompt.parameters() if p.requires_grad).zero_()
    with peftlens.track(prompt, tmp_path, every=50) as tracker:
        steps(prompt, tracker, 3)
        tracker.keep()
        kept = prompt.get_prompt(1)[0].detach().clone()
        with torch.no_grad():
            next(p for p in prompt.parameters() if p.requires_grad).copy_(best)
        run = tracker.finish(restored_step=2)
    assert run.steps == (0, 2, 3)
    found = [load_file(run.adapter(step) / "adapter_model.safetensors") for step in (2, 3)]
    assert torch.equal(found[0]["prompt_embeddings"], best)
    assert torch.equal(found[1]["prompt_embeddings"], kept)


def test_kept_weights_of_a_step_that_was_not_the_last_are_deleted(prompt, tmp_path):
    with peftlens.track(prompt, tmp_path, every=3) as tracker:
        for _ in range(5):
            steps(prompt, tracker, 1)
            tracker.keep()
    assert tracker.run.steps == (0, 3, 5)


def test_steps_that_come_twice_are_saved_once(prompt, tmp_path, caplog):
    with peftlens.track(prompt, tmp_path, every=1) as tracker:
        for step in (0, 1, 1, 2.0, torch.tensor(3)):
            tracker.step(step, loss=1.0)
    assert tracker.run.steps == (0, 1, 2, 3)
    assert not caplog.records


@pytest.mark.parametrize("name", ["self", "step", "epoch"])
def test_metrics_may_have_any_name(name, prompt, tmp_path, caplog):
    with peftlens.track(prompt, tmp_path, every=1) as tracker:
        tracker.step(1, **{name: 5} if name != "step" else {})
        tracker.log(1, **{name: 7})
    assert tracker.run.metrics()[-1] == {"step": 1} | ({name: 7} if name != "step" else {})
    assert not caplog.records


def test_recorded_values_that_no_run_can_hold_cost_only_themselves(prompt, tmp_path, caplog):
    values = {"learning_rate": "high", "lr_scheduler_type": "cosine_with_restarts", "batch_size": 4,
              "optimizer": "adafactor", "max_steps": 10**6}  # fmt: skip
    with peftlens.track(prompt, tmp_path, training=values, seed=-1) as tracker:
        tracker.step(loss=1.0)
    config = tracker.run.config
    assert (config.training.batch_size, config.training.max_steps, config.seed) == (4, 1, 0)
    assert config.training.learning_rate is None
    assert "does not record these values of the training: {'learning_rate': 'high'" in caplog.text


def test_the_model_of_a_data_parallel_loop(prompt, tmp_path):
    wrapped = torch.nn.DataParallel(prompt)
    with peftlens.track(wrapped, tmp_path) as tracker:
        steps(prompt, tracker, 1)
    assert tracker.run.config.method == "peft:PROMPT_TUNING"
