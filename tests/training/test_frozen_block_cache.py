"""Training above held states is training: the same losses, the same gradients, less work."""

import numpy as np
import pytest
import torch

import peftlens
from peftlens import registry
from peftlens.adapters import checkpoint
from peftlens.data.collate import Collator
from peftlens.data.tokenization import TokenizedAnswer
from peftlens.evaluation.log_likelihood import answer_loss
from peftlens.models.base_model import BaseModel, load_base_model
from peftlens.models.snapshot import restored_after
from peftlens.tasks import load_task
from peftlens.training import frozen_block_cache, trainer
from peftlens.training.frozen_block_cache import BlockFingerprint, FrozenBlockCache, StateStore
from peftlens.training.run_plan import plan_run

TOP = {"target_modules": ("layers.2.self_attn.q_proj", "layers.2.mlp.down_proj")}
CASES = [
    ("llama", "last_layers", {"blocks": 1}, 2),
    ("llama", "last_layers", {"blocks": 3}, 0),
    ("llama", "lora", TOP, 2),
    ("llama", "ia3", TOP, 2),
    ("llama", "lora", {}, 0),
    ("llama", "bottleneck", {}, 0),
    ("llama", "prompt_tuning", {}, 0),
    ("llama", "prefix_tuning", {}, 0),
    ("llama", "embeddings", {}, 0),
    ("llama", "head", {}, 3),
    ("llama", "ln_tuning", {}, 0),
    ("llama", "full", {}, 0),
    ("llama", "intrinsic_dimension", {}, 0),
    ("gpt2", "last_layers", {"blocks": 1}, 1),
    ("t5", "last_layers", {"blocks": 1}, 0),
]


ROWS = [
    TokenizedAnswer((5, 6), (7, 4)),
    TokenizedAnswer((8, 9, 10, 11), (12, 4)),
    TokenizedAnswer((8, 9), (7, 4)),
]


def attached(base: BaseModel, method: str, options: dict, rows=ROWS):
    """A method's model on the base, and the blocks below it."""
    before = BlockFingerprint.of(base)
    model = checkpoint.attach(base.model, method, registry.configure("methods", method, options))
    return model, FrozenBlockCache.of(base, model, before, Collator.of(base, 32), rows)


@pytest.mark.parametrize(("kind", "method", "options", "depth"), CASES)
def test_blocks_below_all_that_is_trained(context, kind, method, options, depth, bases):
    base = context.base_models.get(str(bases[kind]), device="cpu", dtype="float32")
    with restored_after(base.model):
        _, found = attached(base, method, options)
        assert len(found.names) == depth
    assert not base.changed()


def test_what_forgets_at_random_is_computed_anew(llama):
    llama.model.model.layers[0].self_attn.attention_dropout = 0.1
    assert attached(llama, "last_layers", {"blocks": 1})[1].names == ()


def test_a_change_below_that_is_not_trained_counts(llama):
    before = BlockFingerprint.of(llama)
    llama.model.model.layers[1].mlp.register_forward_hook(lambda *_: None)
    config = registry.configure("methods", "last_layers", {"blocks": 1})
    model = checkpoint.attach(llama.model, "last_layers", config)
    assert len(FrozenBlockCache.of(llama, model, before, Collator.of(llama, 32), ROWS).names) == 1


@pytest.mark.parametrize(
    ("kind", "method", "options"),
    [(kind, method, options) for kind, method, options, depth in CASES if depth],
)
def test_losses_and_gradients_are_the_same(context, kind, method, options, bases, words):
    base = context.base_models.get(str(bases[kind]), device="cpu", dtype="float32")
    encoder = Collator.of(base, 32)
    items, _ = encoder.items(load_task(f"file:{words}", {}).splits["train"][:6])
    rows = [item.rows[item.correct] for item in items]
    with restored_after(base.model):
        model, found = attached(base, method, options, rows)
        trained = [p for p in model.parameters() if p.requires_grad]
        plain = answer_loss(model, encoder.batch(rows))
        expected = torch.autograd.grad(plain, trained)
        with found.skipping(rows):
            loss = answer_loss(model, encoder.batch(rows))
        again = torch.autograd.grad(loss, trained)
        torch.testing.assert_close(loss, plain, rtol=1e-6, atol=1e-6)
        for one, other in zip(again, expected, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
    assert not base.changed()


def test_states_do_not_depend_on_the_order_of_training(bases):
    found = []
    for order in (ROWS, ROWS[::-1]):
        base = load_base_model(str(bases["llama"]), device="cpu", dtype="float32")
        _, one = attached(base, "last_layers", {"blocks": 1})
        for row in order:
            with one.skipping([row]):
                pass
        found.append([one.held[row].clone() for row in ROWS])
    for states, again in zip(*found, strict=True):
        assert torch.equal(states, again)
    assert [len(states) for states in found[0]] == [3, 5, 3]


def test_lower_blocks_are_read_once(llama):
    model, found = attached(llama, "last_layers", {"blocks": 1})
    calls = []
    llama.model.model.layers[0].mlp.register_forward_hook(lambda *_: calls.append(1))
    for _ in range(3):
        with found.skipping(ROWS):
            model(**Collator.of(llama, 32).batch(ROWS).inputs)
    assert len(calls) == 1  # the three rows make one group


def test_what_does_not_fit_in_memory_is_on_disk():
    held = StateStore(most=100)
    rows = [TokenizedAnswer((value,), (1,)) for value in range(6)]
    for value, row in enumerate(rows):
        assert row not in held
        held[row] = torch.full((2, 8), value, dtype=torch.bfloat16)  # 32 bytes
    for value, row in enumerate(rows):
        assert row in held
        assert held[row].dtype == torch.bfloat16
        assert held[row].tolist() == [[value] * 8] * 2
    assert (len(held._in_memory), len(held._on_disk)) == (3, 3)
    file = held._file
    del held
    assert file.closed


def trained(context, words, bases, tmp_path, method="last_layers", **options):
    config = peftlens.RunConfig(
        method=method, task=f"file:{words}", base_model=str(bases["llama"]), device="cpu",
        dtype="float32", method_config=options,
        training={"max_steps": 20, "batch_size": 16, "logging_steps": 1, "max_length": 32},
    )  # fmt: skip
    return trainer.train_run(plan_run(config, context), tmp_path)


def held_states(context, run):
    """The stores of states that hang on a run's base model."""
    return [*context.base_model(run)._derived.get("states of frozen blocks", {}).values()]


def test_a_run_is_the_same_with_and_without(context, words, bases, tmp_path, monkeypatch):
    held = trained(context, words, bases, tmp_path / "held", blocks=1)
    (in_memory,) = held_states(context, held)
    assert in_memory._in_memory
    context.base_models.discard()
    monkeypatch.setattr(frozen_block_cache, "MOST", 0)
    on_disk = trained(context, words, bases, tmp_path / "disk", blocks=1)
    monkeypatch.setattr(trainer, "MIN_CACHED_EPOCHS", np.inf)
    plain = trained(context, words, bases, tmp_path / "plain", blocks=1)
    losses = [[line.get("loss", 0) for line in run.metrics()] for run in (held, on_disk, plain)]
    assert losses[0] == losses[1]
    assert losses[0] == pytest.approx(losses[2], rel=1e-4)
    assert losses[0][0] > losses[0][-2]


def test_other_runs_find_the_states_there(context, words, bases, tmp_path, monkeypatch):
    first = trained(context, words, bases, tmp_path, blocks=1)
    (held,) = held_states(context, first)
    count = len(held._in_memory)
    monkeypatch.setattr(FrozenBlockCache, "_read", lambda *_: pytest.fail("they are there"))
    trained(context, words, bases, tmp_path, "lora", target_modules=["layers.2.self_attn.v_proj"])
    assert len(held._in_memory) == count


def test_few_epochs_hold_nothing(context, words, bases, tmp_path):
    config = peftlens.RunConfig(
        method="last_layers", task=f"file:{words}", base_model=str(bases["llama"]), device="cpu",
        dtype="float32", method_config={"blocks": 1}, training={"max_steps": 2, "batch_size": 4},
    )  # fmt: skip
    run = trainer.train_run(plan_run(config, context), tmp_path)
    assert not held_states(context, run)
