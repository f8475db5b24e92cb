"""Training above held states is training: the same losses, the same gradients, less work."""

import numpy as np
import pytest
import torch

import peftlens
from peftlens import registry, training
from peftlens.encoding import Encoder
from peftlens.models import adapters, lower
from peftlens.models.base import Base, resident
from peftlens.models.lending import lent
from peftlens.models.lower import Held, Lower, Shape
from peftlens.scoring import answer_loss
from peftlens.tasks import load_task

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


@pytest.fixture(autouse=True)
def nothing_held():
    lower.forget()
    yield
    lower.forget()


def attached(base: Base, method: str, options: dict):
    """A method's model on the base, and the blocks below it."""
    before = Shape.of(base)
    model = adapters.attach(base.model, method, registry.configure("methods", method, options))
    return model, Lower.of(base, model, before)


@pytest.mark.parametrize(("kind", "method", "options", "depth"), CASES)
def test_blocks_below_all_that_is_trained(kind, method, options, depth, bases):
    base = resident(str(bases[kind]), device="cpu", dtype="float32")
    with lent(base.model):
        _, found = attached(base, method, options)
        assert len(found.names) == depth
    assert not base.changed()


def test_what_forgets_at_random_is_computed_anew(llama):
    llama.model.model.layers[0].self_attn.attention_dropout = 0.1
    assert attached(llama, "last_layers", {"blocks": 1})[1].names == ()


def test_a_change_below_that_is_not_trained_counts(llama):
    before = Shape.of(llama)
    llama.model.model.layers[1].mlp.register_forward_hook(lambda *_: None)
    config = registry.configure("methods", "last_layers", {"blocks": 1})
    model = adapters.attach(llama.model, "last_layers", config)
    assert len(Lower.of(llama, model, before).names) == 1


@pytest.mark.parametrize(
    ("kind", "method", "options"),
    [(kind, method, options) for kind, method, options, depth in CASES if depth],
)
def test_losses_and_gradients_are_the_same(kind, method, options, bases, words):
    base = resident(str(bases[kind]), device="cpu", dtype="float32")
    encoder = Encoder.of(base, 32)
    items, _ = encoder.items(load_task(f"file:{words}", {}).splits["train"][:6])
    rows = [item.rows[item.correct] for item in items]
    with lent(base.model):
        model, found = attached(base, method, options)
        trained = [p for p in model.parameters() if p.requires_grad]
        plain = answer_loss(model, encoder.batch(rows))
        expected = torch.autograd.grad(plain, trained)
        with found.given([row.read for row in rows]):
            loss = answer_loss(model, encoder.batch(rows))
        again = torch.autograd.grad(loss, trained)
        torch.testing.assert_close(loss, plain, rtol=1e-6, atol=1e-6)
        for one, other in zip(again, expected, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
    assert not base.changed()


def test_states_do_not_depend_on_a_rows_company(llama):
    _, found = attached(llama, "last_layers", {"blocks": 1})
    row, other = (5, 6, 7), (8, 9, 10, 11, 12)
    with found.given([row, other]):
        pass
    first = found.held.get(row, lambda: pytest.fail("it was held")).clone()
    found.held._near.clear()
    with found.given([row]):
        pass
    assert torch.equal(found.held.get(row, lambda: pytest.fail("it was held")), first)
    assert first.shape == (3, 32)


def test_lower_blocks_are_read_once_for_each_row(llama):
    model, found = attached(llama, "last_layers", {"blocks": 1})
    calls = []
    llama.model.model.layers[0].mlp.register_forward_hook(lambda *_: calls.append(1))
    for _ in range(3):
        with found.given([(5, 6, 7), (8, 9)]):
            ids = torch.tensor([[5, 6, 7], [8, 9, 0]])
            model(input_ids=ids, attention_mask=(ids > 0).long())
    assert len(calls) == 2


def test_what_does_not_fit_in_memory_is_on_disk():
    held, asked = Held(most=100), []

    def make(value):
        asked.append(value)
        return torch.full((2, 8), value, dtype=torch.bfloat16)  # 32 bytes

    for _ in range(2):
        for value in range(6):
            states = held.get((value,), lambda value=value: make(value))
            assert states.dtype == torch.bfloat16
            assert states.tolist() == [[value] * 8] * 2
    assert asked == list(range(6))
    assert (len(held._near), len(held._far)) == (3, 3)
    held.close()


def trained(words, bases, tmp_path, method="last_layers", **options):
    config = peftlens.RunConfig(
        method=method, task=f"file:{words}", base=str(bases["llama"]), device="cpu",
        dtype="float32", method_config=options,
        training={"steps": 20, "batch_size": 16, "log_every": 1, "max_length": 32},
    )  # fmt: skip
    return peftlens.train(config, tmp_path)


def test_a_run_is_the_same_with_and_without(words, bases, tmp_path, monkeypatch):
    held = trained(words, bases, tmp_path / "held", blocks=1)
    assert lower._HELD
    lower.forget()
    monkeypatch.setattr(lower, "MOST", 0)
    lower.forget()
    on_disk = trained(words, bases, tmp_path / "disk", blocks=1)
    monkeypatch.setattr(training, "REUSED", np.inf)
    plain = trained(words, bases, tmp_path / "plain", blocks=1)
    losses = [[line.get("loss", 0) for line in run.metrics()] for run in (held, on_disk, plain)]
    assert losses[0] == losses[1]
    assert losses[0] == pytest.approx(losses[2], rel=1e-4)
    assert losses[0][0] > losses[0][-2]


def test_other_runs_find_the_states_there(words, bases, tmp_path, monkeypatch):
    trained(words, bases, tmp_path, blocks=1)
    (held,) = lower._HELD.values()
    count = len(held._near)
    monkeypatch.setattr(Lower, "_states", lambda *_: pytest.fail("they are there"))
    trained(words, bases, tmp_path, "lora", target_modules=["layers.2.self_attn.v_proj"])
    assert len(held._near) == count


def test_few_epochs_hold_nothing(words, bases, tmp_path):
    config = peftlens.RunConfig(
        method="last_layers", task=f"file:{words}", base=str(bases["llama"]), device="cpu",
        dtype="float32", method_config={"blocks": 1}, training={"steps": 2, "batch_size": 4},
    )  # fmt: skip
    peftlens.train(config, tmp_path)
    assert not lower._HELD
