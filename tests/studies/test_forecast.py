"""Forecasts against the training's own counts of tokens, and against counted operations."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from peftlens.models.architecture import blocks
from peftlens.runs.config import RunConfig, TrainingConfig
from peftlens.studies.forecast import (
    beside_products,
    block_parameters,
    forecast,
    operations_per_token,
)
from peftlens.studies.grid import plan_study
from peftlens.training.dry_run import dry_run
from peftlens.training.run_plan import plan_run

STEPS = {"max_steps": 5, "batch_size": 4}


@pytest.fixture
def planned(bases, words, context):
    def plan(method, training=STEPS, **options):
        config = RunConfig(
            method=method, task=f"file:{words}", base_model=str(bases["llama"]), device="cpu",
            dtype="float32", method_config=options, training=training,
        )  # fmt: skip
        return plan_run(config, context)

    return plan


def training_of(run):
    """Operations of training alone, without the validation examples."""
    return forecast(run, ()).training - forecast(run, ()).scoring / len(
        run.task.splits["test"]
    ) * len(run.task.splits["validation"])


def test_training_is_steps_times_the_tokens_of_a_step(planned):
    """The dry run counts the tokens of all rows; the forecast those of a sample."""
    run = planned("lora", rank=2)
    trial = dry_run(run)
    expected = (
        5
        * trial.tokens
        * operations_per_token(block_parameters(run.shapes), trial.trainable_parameters)
    )
    assert training_of(run) == pytest.approx(expected, rel=0.05)
    doubled = planned("lora", STEPS | {"gradient_accumulation_steps": 2}, rank=2)
    assert training_of(doubled) == pytest.approx(2 * training_of(run))


def test_a_small_model_s_steps_are_more_than_products(planned):
    """MiniLM on words, 112 tokens a step: by LoRA 14 s, by full fine-tuning 46 s, with AMX."""
    few, many, full = (
        forecast(one, ())
        for one in (planned("lora"), planned("lora", STEPS | {"max_steps": 10}), planned("full"))
    )
    assert many.beside == 2 * few.beside > 0
    assert full.beside > few.beside
    sizes = {f"layer.{n}.weight": (10_645_248 // 6, 1) for n in range(6)} | {
        "rest": (11_916_288, 1)
    }
    lora, whole = (
        112 * 300 * operations_per_token(10_645_248, trained)
        + beside_products(TrainingConfig(max_steps=300), sizes, trained)
        for trained in (73_728, 22_561_536)
    )
    assert 2 < whole / lora < 46 / 14


def test_tokens_before_the_input_count(planned):
    run, longer = (planned("prompt_tuning", num_virtual_tokens=n) for n in (5, 15))
    width = 32
    trained = (training_of(one) / operations_per_token(block_parameters(one.shapes), n * width)
               for one, n in ((run, 5), (longer, 15)))  # fmt: skip
    few, many = trained
    assert many - few == pytest.approx(5 * 4 * 10)  # ten tokens for each of four rows in five steps
    prefix = planned("prefix_tuning", num_virtual_tokens=15)  # keys and values: no further tokens
    assert training_of(prefix) < training_of(run)
    fixed = planned("few_shot", shots=3)
    at_scoring = forecast(fixed, ()).scoring - forecast(planned("frozen"), ()).scoring
    examples, tokens = len(fixed.task.splits["test"]), len(fixed.method_config.token_ids)
    assert at_scoring == pytest.approx(examples * tokens * 2 * block_parameters(fixed.shapes))


def test_a_run_without_steps_is_scored_only(planned):
    frozen = forecast(planned("frozen"), ())
    assert 0 < frozen.training < forecast(planned("lora"), ()).training
    steps = STEPS | {"checkpoint_steps": [0, 2]}
    assert forecast(planned("lora", steps), ()).scoring == 3 * frozen.scoring


def test_operations_are_those_that_torch_counts(planned):
    """Of the blocks' products forward, without attention scores: one token has none to others."""
    run = planned("frozen")
    model = run.base.model
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        model.model(input_ids=torch.ones(1, 1, dtype=torch.long))
    counted = counter.get_total_flops()
    norms = sum(
        parameter.numel()
        for name, parameter in model.named_parameters()
        if name.startswith(tuple(blocks(run.shapes))) and parameter.ndim == 1
    )
    assert 2 * (block_parameters(run.shapes) - norms) == pytest.approx(counted, rel=0.02)


def test_all_parameters_count_where_blocks_are_not_recognized():
    assert block_parameters({"encoder.weight": (3, 4), "norm": (5,)}) == 17


def test_probes_that_a_method_can_not_have_are_no_work(planned):
    probes = ("soft_prompt_null", "delta_spectrum", "forgetting")
    assert forecast(planned("lora"), probes).inapplicable == {"soft_prompt_null"}
    assert forecast(planned("prompt_tuning"), probes).inapplicable == {"delta_spectrum"}


def test_data_that_can_not_be_tokenized_do_not_stop_the_plan(planned, monkeypatch):
    from peftlens.data.collate import Collator
    from peftlens.errors import InputError

    def refuse(*_):
        raise InputError("no template")

    monkeypatch.setattr(Collator, "items", refuse)
    assert forecast(planned("lora"), ()).training > 0


def test_a_study_is_planned_with_forecasts(tiny_study, context):
    file = tiny_study('method = "lora"\ngrid = { rank = [1, 2] }', 'method = "frozen"')
    plan = plan_study(file, "study.toml", context).to_plan()
    *loras, frozen = (run.forecast.training for run in plan.runs)
    assert max(loras) > min(loras) > frozen > 0
    assert ["forgetting", "forgetting_items"] in plan.probe_groups
    assert plan.runs[0].forecast.inapplicable >= {"soft_prompt_null", "soft_prompt_neighbors"}
