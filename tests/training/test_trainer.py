import json
from functools import partial

import pytest
import torch
from safetensors.torch import load_file
from tiny import byte_tokenizer
from torch.nn.attention import SDPBackend, sdpa_kernel

import peftlens
from peftlens.adapters.checkpoint import attach
from peftlens.data.collate import length
from peftlens.data.tokenization import TokenizedAnswer
from peftlens.errors import InputError
from peftlens.models.snapshot import fingerprint, restored_after
from peftlens.runs.config import RunConfig
from peftlens.tasks import task_of
from peftlens.training import trainer
from peftlens.training.data_loader import TokenizedTask, TrainingLoader
from peftlens.training.method_hooks import MethodHooks
from peftlens.training.run_plan import plan_run
from peftlens.training.trainer import TrainState

FAST = {"max_steps": 6, "batch_size": 4, "max_length": 32, "logging_steps": 2}


@pytest.fixture
def config(bases, words):
    def make(method="lora", base="llama", train=None, **changes):
        return RunConfig(
            method=method, task=f"file:{words}", base_model=str(bases[base]), device="cpu",
            **{"dtype": "float32", "training": FAST | (train or {})} | changes,
        )  # fmt: skip

    return make


@pytest.mark.parametrize(
    ("method", "dtype"),
    [("lora", "float32"), ("prompt_tuning", "float32"), ("bottleneck", "float32"),
     ("full", "float32"), ("ln_tuning", "float32"), ("lora", "bfloat16"), ("full", "bfloat16")],
)  # fmt: skip
def test_same_seed_same_bytes(config, tmp_path, method, dtype):
    options = {"train": {"checkpoint_steps": [0, 3]}, "dtype": dtype}
    first = peftlens.train(config(method, **options), tmp_path / "a")
    again = peftlens.train(config(method, **options), tmp_path / "b")
    assert first.id == again.id
    written = ("metrics.jsonl", "adapter/adapter_model.safetensors", "adapter/adapter_config.json")
    for name in (*written, "checkpoints/3/adapter_model.safetensors"):
        assert (first.path / name).read_bytes() == (again.path / name).read_bytes()


@pytest.mark.parametrize("method", ["full", "ln_tuning"])
def test_the_first_step_has_its_gradient_in_bfloat16(config, tmp_path, method):
    """That of float32, about; the float32 copies of weights take it by hooks."""
    norms = {
        dtype: peftlens.train(config(method, dtype=dtype), tmp_path).metrics()[0]["grad_norm"]
        for dtype in ("float32", "bfloat16")
    }
    assert norms["bfloat16"] == pytest.approx(norms["float32"], rel=0.1)
    assert norms["float32"] > 0


def test_another_seed_is_another_run(config, tmp_path):
    first, other = (peftlens.train(config(seed=seed), tmp_path) for seed in (0, 1))
    assert first.id != other.id
    assert first.metrics() != other.metrics()


def test_a_run_folder_holds_what_the_design_says(context, config, tmp_path):
    run = peftlens.train(config(train={"checkpoint_steps": [0]}), tmp_path)
    found = {str(file.relative_to(run.path)) for file in run.path.rglob("*") if file.is_file()}
    assert found == {
        "run.json", "metrics.jsonl", "timing.jsonl", "digests.json",
        "adapter/adapter_config.json", "adapter/adapter_model.safetensors",
        "checkpoints/0/adapter_config.json", "checkpoints/0/adapter_model.safetensors",
    }  # fmt: skip
    assert run.record.config.training.learning_rate == 3e-3  # the method's own, written out
    assert run.record.results["steps"] == 6
    assert run.record.results["base_parameters"] == sum(
        p.numel() for p in context.base_model(run).model.parameters()
    )


@pytest.mark.parametrize("base", ["llama", "gpt2", "t5"])
def test_it_learns(config, tmp_path, base):
    train = {"max_steps": 80, "learning_rate": 0.01, "batch_size": 16}
    run = peftlens.train(config("full", base=base, train=train), tmp_path)
    losses = [line["loss"] for line in run.metrics() if "loss" in line]
    assert losses[-1] < 0.2 * losses[0]
    assert run.record.results["validation_accuracy"] > 0.9


def test_a_finished_run_is_not_trained_again(config, tmp_path, monkeypatch):
    first = peftlens.train(config(), tmp_path)
    monkeypatch.setattr(trainer, "_train", lambda *_: pytest.fail("trained twice"))
    assert peftlens.train(config(), tmp_path).path == first.path


def test_accumulation_gives_the_gradient_of_the_whole_batch(config, tmp_path):
    """Two passes of 4 equal one of 8 in loss: tokens are counted over both."""
    rows = {
        "max_steps": 1,
        "lr_scheduler_type": "constant",
        "warmup_ratio": 0,
        "max_grad_norm": 1e9,
    }
    whole = peftlens.train(config(train=rows | {"batch_size": 96}), tmp_path)
    parts = peftlens.train(
        config(train=rows | {"batch_size": 48, "gradient_accumulation_steps": 2}), tmp_path
    )
    assert whole.metrics()[0]["loss"] == pytest.approx(parts.metrics()[0]["loss"], rel=1e-5)
    assert whole.metrics()[0]["grad_norm"] == pytest.approx(
        parts.metrics()[0]["grad_norm"], rel=1e-4
    )


def test_warm_up_and_decay(config, tmp_path):
    train = {"max_steps": 10, "warmup_ratio": 0.2, "learning_rate": 1.0, "logging_steps": 1}
    run = peftlens.train(config(method="ln_tuning", train=train), tmp_path)
    rates = [line["learning_rate"] for line in run.metrics() if "learning_rate" in line]
    assert rates[:3] == [0.0, 0.5, 1.0]
    assert rates[-1] == pytest.approx(1 / 8)


def test_small_steps_are_not_lost_in_bfloat16(config, tmp_path):
    """A rate whose single steps round away in bfloat16 still moves the weights over many."""
    train = {
        "max_steps": 40,
        "learning_rate": 3e-5,
        "lr_scheduler_type": "constant",
        "warmup_ratio": 0,
        "checkpoint_steps": [0],
    }
    run = peftlens.train(config("full", dtype="bfloat16", train=train), tmp_path)
    start, end = (dict(run.load(step=s)[0].named_parameters()) for s in (0, 40))
    name = "model.layers.1.mlp.up_proj.weight"
    assert end[name].dtype == torch.bfloat16
    assert (start[name] != end[name]).float().mean() > 0.3


@pytest.mark.parametrize("method", ["full", "lora", "prompt_tuning"])
def test_the_base_is_as_it_was(context, config, tmp_path, method):
    planned = plan_run(config(method), context)
    before = fingerprint(planned.base.model)
    trainer.train_run(planned, tmp_path)
    assert fingerprint(planned.base.model) == before


def test_divergence_is_a_result(config, tmp_path):
    train = {"learning_rate": 1e30, "warmup_ratio": 0, "lr_scheduler_type": "constant"}
    run = peftlens.train(config("full", train=train), tmp_path)
    assert run.record.status == "diverged"
    assert run.metrics()[-1] == {"step": run.steps[-1], "diverged": True}
    assert run.steps[-1] < 6
    assert "validation_loss" not in run.record.results


def test_a_frozen_run_takes_no_steps(config, tmp_path):
    run = peftlens.train(config("frozen"), tmp_path)
    assert run.record.results["steps"] == 0
    assert run.steps == (0,)
    assert run.record.results["trainable_parameters"] == 0


def test_nothing_is_left_of_a_run_that_raised(config, tmp_path, monkeypatch):
    monkeypatch.setattr(trainer, "validate", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        peftlens.train(config(), tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "loraa"}, "did you mean lora"),
        ({"task": "bbc_topics"}, "no task named 'bbc_topics'; did you mean bbc_topic"),
        ({"method_config": {"rank": 99}}, "rank=99 must lie between 1 and 16"),
        ({"training": {"max_steps": 3, "checkpoint_steps": [5]}}, "5 lies after the last step, 3"),
        ({"training": {"max_length": 8}}, "leaves no room"),
        ({"base_model": "nothing here"}, "no base model named"),
    ],
)
def test_what_can_not_work_is_said_before_anything_is_written(config, tmp_path, changes, message):
    if "leaves no room" in message:
        changes = changes | {"task_config": {"labels": {"up": "upwards and up", "down": "down"}}}
    with pytest.raises(InputError, match=message):
        peftlens.train(config().model_copy(update=_parsed(changes)), tmp_path)
    assert list(tmp_path.iterdir()) == []


def _parsed(changes):
    if "training" in changes:
        return changes | {"training": peftlens.TrainingConfig(**changes["training"])}
    return changes


def test_metrics_are_strict_json(config, tmp_path):
    run = peftlens.train(config(), tmp_path)

    def refuse(constant):
        pytest.fail(f"{constant} is no JSON")

    for line in (run.path / "metrics.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=refuse)
    assert [line["step"] for line in run.metrics()] == [1, 2, 4, 6, 6]


@pytest.mark.parametrize(
    "method",
    ["adalora", "cpt", "diff_pruning", "fish_mask", "lora_fa", "lora_plus", "p_tuning",
     "peft:GRALORA", "qlora", "trainable_tokens"],
)  # fmt: skip
def test_methods_with_a_say_in_the_loop_load_as_they_were_saved(config, tmp_path, method):
    own = {"trainable_tokens": {"text": "ab"}, "peft:GRALORA": {"r": 4}, "cpt": {"shots": 2}}
    options = {"method_config": own.get(method, {}), "train": {"learning_rate": 0.02}}
    run = peftlens.train(config(method, **options), tmp_path)
    ids = torch.arange(3, 11).reshape(2, 4)
    with torch.inference_mode():
        first, again = (run.load(device="cpu")[0](input_ids=ids) for _ in "ab")
    assert torch.equal(first.logits, again.logits)
    losses = [line["loss"] for line in run.metrics() if "loss" in line]
    assert losses[-1] < losses[0]


def test_lora_plus_moves_b_more_than_lora_does(config, tmp_path):
    def size_of_b(method):
        run = peftlens.train(config(method, train={"learning_rate": 1e-4}), tmp_path)
        tensors = load_file(run.adapter() / "adapter_model.safetensors")
        return sum(t.abs().sum() for name, t in tensors.items() if "lora_B" in name)

    # Adam's steps have the size of the rate, whatever the gradient's
    assert size_of_b("lora_plus") / size_of_b("lora") == pytest.approx(16, rel=0.2)


def test_adalora_ends_with_the_mean_rank_that_was_asked_for(config, tmp_path):
    options = {"rank": 2, "initial_rank": 4}
    run = peftlens.train(
        config("adalora", method_config=options, train={"max_steps": 12}), tmp_path
    )
    tensors = load_file(run.adapter() / "adapter_model.safetensors")
    lambdas = [t for name, t in tensors.items() if "lora_E" in name]
    assert [len(t) for t in lambdas] == [4] * 6
    assert sum(int((t != 0).sum()) for t in lambdas) == 2 * 6


def test_fish_mask_changes_entries_chosen_on_the_data(config, tmp_path):
    chosen = {}
    for method in ("fish_mask", "random_mask", "magnitude_mask"):
        run = peftlens.train(config(method), tmp_path)
        tensors = load_file(run.adapter() / "adapter_model.safetensors")
        assert (tensors["sparse_update.values"] != 0).float().mean() > 0.9
        chosen[method] = set(tensors["sparse_update.places"].tolist())
    assert len(set(map(len, chosen.values()))) == 1
    assert chosen["fish_mask"] != chosen["magnitude_mask"] != chosen["random_mask"]


def test_few_shot_examples_come_from_the_training_split_by_the_seed(config, tmp_path):
    first, again, other = (
        peftlens.train(config("few_shot", seed=seed, method_config={"shots": 2}), tmp_path / name)
        for seed, name in ((0, "a"), (0, "b"), (1, "c"))
    )
    ids = [tuple(run.config.method_config["token_ids"]) for run in (first, again, other)]
    assert ids[0] == ids[1] != ids[2]
    assert first.id == again.id != other.id
    text = byte_tokenizer().decode(ids[0])
    prompts = [one.prompt for one in task_of(first).splits["train"]]
    shown = text.removesuffix("\n\n").split("\n\n")
    assert len(shown) == 2
    assert all(any(block.startswith(prompt) for prompt in prompts) for block in shown)


def test_more_examples_than_the_model_can_read(config, tmp_path):
    many = config("few_shot", method_config={"shots": 8})
    with pytest.raises(
        InputError, match="tokens before the input are too many: this model's context is 128"
    ):
        peftlens.train(many, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("method", ["lora", "prompt_tuning", "bottleneck", "full"])
def test_a_step_has_the_gradients_of_transformers_own_loss(context, config, method, tmp_path):
    """Padded rows, the head where the loss is, attention by plain products and no cache, beside one
    row at a time by `labels` with all logits: gradients agree to 1e-4 of the largest."""
    planned = plan_run(config(method, train={"gradient_accumulation_steps": 2}), context)
    task = TokenizedTask.of(planned.base, planned.task, 32)
    loader = TrainingLoader.of(task.collator, task.train, planned.config.training)
    passes = next(loader.steps(0))
    rows = [row for part in passes for row in part]
    assert len({length(row) for row in rows}) > 1
    with restored_after(planned.base.model) as base:
        model = attach(base, method, planned.method_config).train()
        writer = trainer.open_writer(planned, tmp_path)
        state = TrainState.of_single_run(planned, writer, model, loader, {})
        trained = state.parameters
        forward = partial(trainer.single_run_loss, model, loader)
        (loss,) = trainer.accumulate_gradients([state], [passes], forward)
        found = [p.grad.clone() for p in trained]
        for p in trained:
            p.grad = None
        targets, total = sum(row.scored for row in rows), 0.0
        for row in rows:
            ids = torch.tensor([[*row.prompt, *row.answer]])
            labels = ids.clone()
            labels[0, : len(row.prompt)] = -100
            with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
                plain = model(input_ids=ids, labels=labels).loss * row.scored / targets
            plain.backward()
            total += plain.item()
    assert loss == pytest.approx(total, rel=1e-5)
    for gradient, p in zip(found, trained, strict=True):
        torch.testing.assert_close(
            gradient, p.grad, rtol=1e-3, atol=1e-4 * p.grad.abs().max().item()
        )


def test_each_run_s_loss_is_a_mean_over_its_own_tokens():
    """Two passes; the first run has 4 scored tokens in all, the second 2."""
    a, b = (torch.nn.Parameter(torch.tensor(value)) for value in (3.0, 5.0))
    hooks = MethodHooks(regularization_loss=lambda: 10 * a)
    nothing = dict.fromkeys(("planned", "writer", "batches", "open_model"))
    states = [
        TrainState(parameters=[a], results={}, hooks=hooks, **nothing),
        TrainState(parameters=[b], results={}, **nothing),
    ]
    two, one = TokenizedAnswer((5,), (6, 7)), TokenizedAnswer((5,), (6,))
    losses = trainer.accumulate_gradients(
        states, [[[two], [two]], [[one], [one]]], lambda *_: [4 * a, 6 * b]
    )
    assert losses == [2 * 4 * 3 / 4, 2 * 6 * 5 / 2]
    assert a.grad.item() == 2 * 4 / 4 + 10  # the regularization counts in the gradient alone
    assert b.grad.item() == 2 * 6 / 2
