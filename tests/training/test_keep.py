"""Penalties and their gradients against loops of plain torch, and what they do to a training."""

import json
from copy import deepcopy
from functools import partial

import pytest
import torch
from safetensors.torch import load_file
from tiny import byte_tokenizer
from transformers import AutoModelForCausalLM

import peftlens
from peftlens.adapters.run_context import RunContext
from peftlens.errors import InputError
from peftlens.models.snapshot import restored_after
from peftlens.runs.config import RunConfig
from peftlens.tasks import load_task
from peftlens.training import keep, trainer
from peftlens.training.batched_trainer import batch_key
from peftlens.training.data_loader import TokenizedTask, TrainingLoader
from peftlens.training.dry_run import dry_run
from peftlens.training.keep import prepare, text_penalty
from peftlens.training.run_plan import plan_run
from peftlens.training.train_state import TrainState

TEXT = {"kind": "language_modeling", "template": "{text}"}
ALL = 1000  # rows of a batch, more than there are
FAST = {"max_steps": 4, "batch_size": 4, "max_length": 32, "logging_steps": 1}


@pytest.fixture(scope="module")
def general(tmp_path_factory):
    """General text in a file: 40 sentences."""
    file = tmp_path_factory.mktemp("general") / "general.jsonl"
    colors, acts = ("old", "new", "red", "dim"), ("dog runs", "cat sits")
    places = ("sun", "rain", "big house", "sea", "x")
    texts = [f"the {a} {b} in the {c}" for a in colors for b in acts for c in places]
    file.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return f"file:{file}"


@pytest.fixture
def config(bases, words):
    def make(method="lora", keep=None, base="llama", train=None, **changes):
        training = FAST | {"keep": keep} | (train or {})
        return RunConfig(
            method=method, task=f"file:{words}", base_model=str(bases[base]), device="cpu",
            **{"dtype": "float32", "training": training} | changes,
        )  # fmt: skip

    return make


@pytest.fixture
def started(tmp_path):
    """A run with all rows in its first step, at weights near its start; gives its base, too."""

    def start(config):
        planned = plan_run(config, RunContext())
        task = TokenizedTask.of(planned.base, planned.task, 32)
        loader = TrainingLoader.of(task.collator, task.train, planned.config.training)
        base = deepcopy(planned.base.model)
        complete = prepare(planned, loader)
        model = trainer.attach_planned(planned)
        term = complete(model)
        torch.manual_seed(1)
        with torch.no_grad():
            for p in model.parameters():
                if p.requires_grad:
                    p.add_(0.02 * torch.randn_like(p))
        writer = trainer.open_writer(planned, tmp_path)
        state = TrainState.of_single_run(planned, writer, model, loader, {}, None, term)
        passes = next(loader.steps(0))
        forward = partial(trainer.single_run_loss, model, loader)
        (loss,) = trainer.accumulate_gradients([state], [passes], forward)
        return base, model.eval(), state, loss

    return start


def trained(model):
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def require_gradient_of(model, objective):
    """The gradients of the step are those of an objective, and the objective has some."""
    named = trained(model)
    found = {name: p.grad for name, p in named.items()}
    expected = torch.autograd.grad(objective, [*named.values()])
    largest = max(g.abs().max() for g in expected)
    for name, gradient in zip(named, expected, strict=True):
        assert torch.allclose(found[name], gradient, atol=2e-4 * largest.item(), rtol=1e-3), name
    assert largest > 1e-4


def texts_of(source):
    tokenizer = byte_tokenizer()
    task = load_task(source, TEXT)
    return [tokenizer(one.answers[0])["input_ids"] for one in task.splits["train"]]


def rows_of(words):
    tokenizer = byte_tokenizer()
    train = load_task(f"file:{words}", {}).splits["train"]
    return [
        (tokenizer(one.prompt)["input_ids"], tokenizer(one.answers[one.correct])["input_ids"])
        for one in train
    ]


def logs_of(model, ids):
    return model(torch.tensor([ids])).logits[0, :-1].float().log_softmax(-1)


def kl(base, model, ids, places=slice(None)):
    with torch.no_grad():
        before = logs_of(base, ids)
    after = logs_of(model, ids)[-len(before) :]  # a prompt of vectors stands in front
    return (before.exp() * (before - after))[places].sum()


def task_loss(model, words):
    """Mean loss of the right answers' tokens over the training rows."""
    total, count = 0.0, 0
    for prompt, answer in rows_of(words):
        logs = logs_of(model, [*prompt, *answer])[-len(answer) :]
        total = total - sum(logs[at, token] for at, token in enumerate(answer))
        count += len(answer)
    return total / count


@pytest.mark.parametrize("method", ["lora", "full", "prompt_tuning"])
def test_kl_on_general_text(config, started, general, words, method):
    keep = {"kind": "kl", "weight": 0.7, "data": general}
    base, model, state, loss = started(config(method, keep, train={"batch_size": ALL}))
    texts = texts_of(general)
    penalty = sum(kl(base, model, ids) for ids in texts) / sum(len(ids) - 1 for ids in texts)
    expected = task_loss(model, words)
    assert state.keep.value == pytest.approx(penalty.item(), rel=1e-3)
    assert loss == pytest.approx(expected.item(), rel=1e-4)
    require_gradient_of(model, expected + 0.7 * penalty)


@pytest.mark.parametrize("method", ["lora", "full"])
@pytest.mark.parametrize("passes", [1, 2])
def test_masked_kl_on_the_tokens_that_are_no_targets(config, started, words, method, passes):
    rows = rows_of(words)
    train = {"batch_size": len(rows) // passes, "gradient_accumulation_steps": passes}
    keep = {"kind": "masked_kl", "weight": 2.0}
    base, model, state, loss = started(config(method, keep, train=train))
    parts = [
        kl(base, model, [*prompt, *answer], slice(0, len(prompt) - 1)) for prompt, answer in rows
    ]
    # the answer's first token is predicted at the prompt's last position
    penalty = sum(parts) / sum(len(prompt) - 1 for prompt, _ in rows)
    expected = task_loss(model, words)
    assert state.keep.value == pytest.approx(penalty.item(), rel=1e-3)
    assert loss == pytest.approx(expected.item(), rel=1e-4)
    require_gradient_of(model, expected + 2.0 * penalty)


def test_replay_is_the_loss_of_general_text(config, started, general, words):
    keep = {"kind": "replay", "weight": 0.5, "data": general}
    _, model, state, _ = started(config("lora", keep, train={"batch_size": ALL}))
    texts = [torch.tensor([ids]) for ids in texts_of(general)]
    counts = [ids.shape[1] - 1 for ids in texts]
    losses = [model(ids, labels=ids).loss * n for ids, n in zip(texts, counts, strict=True)]
    penalty = sum(losses) / sum(counts)
    assert state.keep.value == pytest.approx(penalty.item(), rel=1e-4)
    require_gradient_of(model, task_loss(model, words) + 0.5 * penalty)


def update_of(model, base, method):
    """The change of each weight with which the model computes, as a function of what is trained."""
    before = dict(base.named_parameters())
    if method == "full":
        return {name: p - before[name] for name, p in model.named_parameters()}
    layers = {n: m for n, m in model.named_modules() if hasattr(m, "lora_A")}
    return {
        name: m.base_layer.weight
        + m.scaling["default"] * m.lora_B["default"].weight @ m.lora_A["default"].weight
        - before[f"{name.removeprefix('base_model.model.')}.weight"]
        for name, m in layers.items()
    }


@pytest.mark.parametrize("method", ["lora", "pissa", "full"])
def test_l2sp_is_half_the_squared_norm_of_the_update(config, started, words, method):
    keep = {"kind": "l2sp", "weight": 3.0}
    base, model, state, _ = started(config(method, keep, train={"batch_size": ALL}))
    penalty = 0.5 * sum((one**2).sum() for one in update_of(model, base, method).values())
    assert state.keep.value == pytest.approx(penalty.item(), rel=1e-3)
    require_gradient_of(model, task_loss(model, words) + 3.0 * penalty)


def test_l2sp_of_trained_vectors_is_their_distance_from_the_start(config, started):
    keep = {"kind": "l2sp", "weight": 3.0}
    options = {"train": {"batch_size": ALL}}
    _, model, state, _ = started(config("prompt_tuning", keep, **options))
    torch.manual_seed(1)
    noise = 0.02 * torch.randn_like(next(iter(trained(model).values())))  # that of `started`
    assert state.keep.value == pytest.approx(0.5 * (noise**2).sum().item(), rel=1e-4)


@pytest.mark.parametrize("method", ["lora", "full"])
def test_ewc_weighs_each_entry_of_the_update_by_its_information(
    config, started, general, words, method
):
    keep = {"kind": "ewc", "weight": 50.0, "data": general}
    base, model, state, _ = started(config(method, keep, train={"batch_size": ALL}))
    updates, fisher = state.keep.penalty.args
    by_name = dict(zip([one.name for one in updates], fisher, strict=True))
    expected = update_of(model, base, method)
    named = {name.removeprefix("base_model.model."): one for name, one in expected.items()}
    named = {name if name in by_name else f"{name}.weight": one for name, one in named.items()}
    assert by_name.keys() == named.keys()
    penalty = 0.5 * sum((by_name[name] * one**2).sum() for name, one in named.items())
    assert state.keep.value == pytest.approx(penalty.item(), rel=1e-4)
    require_gradient_of(model, task_loss(model, words) + 50.0 * penalty)


def test_what_ewc_predicts_is_the_divergence_that_comes(config, started, general):
    """½ F δ² of one weight, changed alone, is KL(base || changed) per token of the same text."""
    keep = {"kind": "ewc", "data": general}
    base, _, state, _ = started(config("full", keep, train={"batch_size": ALL}))
    updates, fisher = state.keep.penalty.args
    at = [one.name for one in updates].index("model.layers.1.input_layernorm.weight")
    entry, texts = fisher[at].argmax().item(), texts_of(general)
    changed = deepcopy(base)
    with torch.no_grad():
        changed.get_submodule("model.layers.1.input_layernorm").weight[entry] += 0.02
        tokens = sum(len(ids) - 1 for ids in texts)
        found = sum(kl(base, changed, ids) for ids in texts).item() / tokens
    # one draw for each of 560 tokens: a fifth of the value is its standard error
    assert found == pytest.approx(0.5 * fisher[at][entry].item() * 0.02**2, rel=0.5)


STEPS = {"max_steps": 30, "batch_size": 16, "learning_rate": 0.01}
KINDS = {
    "none": None,
    "kl": {"kind": "kl"},
    "masked_kl": {"kind": "masked_kl"},
    "replay": {"kind": "replay"},
    "ewc": {"kind": "ewc", "weight": 100.0},
    "l2sp": {"kind": "l2sp"},
}


@pytest.fixture(scope="module")
def measured(bases, words, general, tmp_path_factory):
    """Divergence from the base, and loss, on held-out general text after training by each kind."""
    out, found = tmp_path_factory.mktemp("runs"), {}
    tokenizer, base = byte_tokenizer(), AutoModelForCausalLM.from_pretrained(bases["llama"])
    texts = [tokenizer(one.answers[0])["input_ids"]
             for one in load_task(general, TEXT).splits["test"]]  # fmt: skip
    for name, kind in KINDS.items():
        reads = kind and name not in ("masked_kl", "l2sp")
        kept = {**kind, "data": general} if reads else kind
        one = RunConfig(
            method="full", task=f"file:{words}", base_model=str(bases["llama"]), device="cpu",
            dtype="float32", training=FAST | STEPS | {"keep": kept},
        )  # fmt: skip
        run = peftlens.train(one, out)
        model = deepcopy(base)
        model.load_state_dict(load_file(run.path / "adapter/adapter_model.safetensors"), False)
        with torch.no_grad():
            found[name] = (
                sum(kl(base, model, ids) for ids in texts).item(),
                sum(-logs_of(model, ids).gather(1, torch.tensor(ids[1:])[:, None]).sum()
                    for ids in texts).item(),
            )  # fmt: skip
    return found


@pytest.mark.parametrize("kind", ["kl", "masked_kl", "ewc", "l2sp"])
def test_after_as_many_steps_a_kept_run_is_nearer_to_its_base(measured, kind):
    assert measured[kind][0] < 0.7 * measured["none"][0]


def test_after_as_many_steps_replayed_text_is_more_probable(measured):
    assert measured["replay"][1] < 0.9 * measured["none"][1]


def test_the_run_records_how_it_was_kept_and_is_the_same_again(config, general, tmp_path):
    keep = {"kind": "kl", "data": general}
    first, again = (peftlens.train(config("lora", keep), tmp_path / name) for name in "ab")
    assert first.id == again.id
    for name in ("metrics.jsonl", "adapter/adapter_model.safetensors"):
        assert (first.path / name).read_bytes() == (again.path / name).read_bytes()
    record = first.record
    assert record.config.training.keep.model_dump() == keep | {"weight": 1.0}
    assert record.configuration == f"lora rank=8 keep=kl keep_data={general}"
    assert record.results["keep"] == {"text_tokens": pytest.approx(16 * 23, rel=0.2)}
    lines = first.metrics()
    assert lines[0]["keep_loss"] == pytest.approx(0, abs=1e-5)  # LoRA starts as its base
    assert lines[3]["keep_loss"] > lines[0]["keep_loss"]
    assert first.timing()[-1]["keep_seconds"] > 0


def test_a_run_without_it_has_the_id_that_it_always_had(config, context):
    dumped = config("lora").model_dump(mode="json")
    assert "keep" not in dumped["training"]
    planned = plan_run(config("lora"), context)
    assert planned.depends_on.keys() == {"base", "data", "versions"}


def test_a_kept_run_is_trained_alone(config, context):
    assert batch_key(plan_run(config("lora"), context)) is not None
    assert batch_key(plan_run(config("lora", {"kind": "l2sp"}), context)) is None


@pytest.mark.parametrize("kind", ["kl", "masked_kl", "replay", "ewc", "l2sp"])
def test_in_bfloat16_the_weights_of_the_base_are_kept_too(config, general, tmp_path, kind):
    keep = {"kind": kind} | ({"data": general} if kind in ("kl", "replay", "ewc") else {})
    run = peftlens.train(config("full", keep, dtype="bfloat16"), tmp_path)
    assert run.record.status == "finished"
    assert run.metrics()[3]["keep_loss"] > 0


def test_ewc_refuses_what_is_no_weight_of_the_base(config, general, tmp_path):
    keep = {"kind": "ewc", "data": general}
    with pytest.raises(InputError, match="prompt_tuning trains .*, which is none; take l2sp, kl"):
        peftlens.train(config("prompt_tuning", keep), tmp_path)


def test_a_base_that_changes_its_heads_logits_can_not_be_kept_by_kl(
    config, general, tmp_path, monkeypatch
):
    monkeypatch.setattr("peftlens.training.base_predictions.output_head", lambda _: None)
    with pytest.raises(InputError, match="more than its output head's.*take replay, ewc or l2sp"):
        peftlens.train(config("lora", {"kind": "kl", "data": general}), tmp_path)


def test_a_step_restores_the_base(config, general, context, tmp_path):
    planned = plan_run(config("lora", {"kind": "ewc", "data": general}), context)
    with restored_after(planned.base.model):
        trainer.train_run(planned, tmp_path)
    assert not planned.base.changed()
    assert not any(p.grad is not None for p in planned.base.model.parameters())


def test_a_dry_run_takes_steps_of_a_kept_run(config, general, context, monkeypatch):
    whole = config("lora", {"kind": "kl", "data": general}, train={"max_steps": 50})
    planned = plan_run(whole, context)
    taken = []
    monkeypatch.setattr(keep, "text_penalty", lambda *a: taken.append(a) or text_penalty(*a))
    assert dry_run(planned).step_seconds > 0
    assert len(taken) == 3
    assert not planned.base.changed()


def test_a_new_head_alone_has_nothing_to_keep(encoders, words, tmp_path):
    config = RunConfig(
        method="head", task=f"file:{words}", base_model=str(encoders["bert"]), device="cpu",
        dtype="float32", training=FAST | {"keep": {"kind": "l2sp"}},
    )  # fmt: skip
    with pytest.raises(InputError, match="head trains a new head alone; leave keep out"):
        peftlens.train(config, tmp_path)
