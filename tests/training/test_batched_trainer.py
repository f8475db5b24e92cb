"""Runs trained in one pass are what they are when each is trained alone."""

import json
from functools import partial

import pytest
import torch
from safetensors.torch import load_file

from peftlens.models.snapshot import fingerprint
from peftlens.runs.config import RunConfig
from peftlens.runs.lock import lock_run
from peftlens.runs.run import Run
from peftlens.training import batched_trainer, trainer
from peftlens.training.run_plan import plan_run

FAST = {"max_steps": 7, "batch_size": 5, "max_length": 32, "logging_steps": 1}
WILD = {"learning_rate": 1e37, "lr_scheduler_type": "constant"}
SWEEP = [(0, 0.01), (1, 0.003), (2, 0.03)]  # seeds and rates


@pytest.fixture
def planned(context, bases, words):
    def make(method, base="llama", training=None, dtype="float32", **changes):
        return plan_run(
            RunConfig(
                method=method,
                task=f"file:{words}",
                base_model=str(bases[base]),
                device="cpu",
                dtype=dtype,
                training=FAST | {"gradient_accumulation_steps": 2} | (training or {}),
                **changes,
            ),
            context,
        )

    return make


def sweep(planned, method, options=({},), **changes):
    """A run for each seed and rate, with the options in turn."""
    return [
        planned(
            method,
            seed=seed,
            training={"learning_rate": rate} | changes.get("training", {}),
            method_config=options[index % len(options)],
            **{key: value for key, value in changes.items() if key != "training"},
        )
        for index, (seed, rate) in enumerate(SWEEP)
    ]


def losses(run):
    return [line["loss"] for line in run.metrics() if "loss" in line]


def weights(run, step=None):
    return load_file(run.adapter(step) / "adapter_model.safetensors")


def assert_same(one, other, rel, step=None):
    assert losses(one) == pytest.approx(losses(other), rel=rel)
    found, expected = weights(one, step), weights(other, step)
    assert found.keys() == expected.keys()
    for name, tensor in found.items():
        torch.testing.assert_close(tensor, expected[name], rtol=rel, atol=rel, msg=name)


METHODS = [
    ("lora", ({"rank": 1}, {"rank": 4, "alpha": 3}, {"rank": 2})),
    ("bottleneck", ({"bottleneck_size": 3, "placement": "both"},
                    {"bottleneck_size": 8, "placement": "both"})),
    ("prompt_tuning", ({"num_virtual_tokens": 4}, {"num_virtual_tokens": 4, "init": "random"})),
    ("ia3", ({},)),
    ("ln_tuning", ({},)),
]  # fmt: skip


@pytest.mark.parametrize("base", ["llama", "gpt2"])
@pytest.mark.parametrize(("method", "options"), METHODS)
def test_each_run_is_as_if_trained_alone(planned, tmp_path, base, method, options):
    """Unequal sizes, seeds and rates; the last batch of an epoch is smaller, and comes when its
    seed says. Losses and weights agree to 2e-4, after 7 steps of AdamW of two passes each."""
    plans = sweep(planned, method, options, base=base, training={"checkpoint_steps": [0, 3]})
    assert len({batched_trainer.batch_key(one) for one in plans}) == 1
    before = fingerprint(plans[0].base.model)
    runs = batched_trainer.train_runs(plans, tmp_path / "together")
    assert fingerprint(plans[0].base.model) == before
    for run, one in zip(runs, plans, strict=True):
        alone = trainer.train_run(one, tmp_path / "alone")
        assert run.id == alone.id
        assert_same(run, alone, rel=2e-4)
        assert_same(run, alone, rel=2e-4, step=3)
        assert weights(run, 0).keys() == weights(alone, 0).keys()
        assert all(torch.equal(t, weights(alone, 0)[n]) for n, t in weights(run, 0).items())
        one_way, other = run.record.results, alone.record.results
        assert one_way.keys() == other.keys()
        assert one_way == {
            key: pytest.approx(value, rel=1e-3) if isinstance(value, float) else value
            for key, value in other.items()
        }
        assert run.record.environment["trained_together"] == 3
        assert (run.adapter() / "adapter_config.json").read_text() == (
            alone.adapter() / "adapter_config.json"
        ).read_text()
        assert [line.get("tokens") for line in run.metrics()] == [
            line.get("tokens") for line in alone.metrics()
        ]


@pytest.mark.parametrize("method", ["lora", "ln_tuning", "ia3"])
def test_in_bfloat16_as_near_as_rounding_lets(planned, tmp_path, method):
    """Losses: AdamW makes whole steps of what rounding leaves of a gradient near zero."""
    plans = sweep(planned, method, dtype="bfloat16")
    for run, one in zip(batched_trainer.train_runs(plans, tmp_path / "t"), plans, strict=True):
        alone = trainer.train_run(one, tmp_path / "alone")
        assert losses(run) == pytest.approx(losses(alone), rel=0.01)
        assert run.metrics()[0]["grad_norm"] == pytest.approx(
            alone.metrics()[0]["grad_norm"], rel=0.01
        )


def test_gradients_of_one_pass_are_those_of_each_run(planned, tmp_path, monkeypatch):
    """The norms of the first step, before any optimizer has its say."""
    monkeypatch.setitem(FAST, "max_steps", 1)
    plans = sweep(planned, "lora", ({"rank": 2}, {"rank": 3}))
    for run, one in zip(batched_trainer.train_runs(plans, tmp_path / "t"), plans, strict=True):
        alone = trainer.train_run(one, tmp_path / "alone")
        assert run.metrics()[0]["grad_norm"] == pytest.approx(
            alone.metrics()[0]["grad_norm"], rel=1e-5
        )
        assert run.metrics()[0]["loss"] == pytest.approx(alone.metrics()[0]["loss"], rel=1e-6)


@pytest.mark.parametrize("method", ["lora", "bottleneck", "ln_tuning"])
def test_one_that_diverges_leaves_the_others_alone(planned, tmp_path, method):
    plans = sweep(planned, method, training={"lr_scheduler_type": "constant"})
    wild = planned(method, training=WILD)
    with_it = batched_trainer.train_runs([plans[0], wild, plans[1]], tmp_path / "with")
    assert [run.record.status for run in with_it] == ["finished", "diverged", "finished"]
    alone = trainer.train_run(wild, tmp_path / "alone")
    assert with_it[1].metrics()[-1] == alone.metrics()[-1]
    assert with_it[1].record.results == alone.record.results
    without = batched_trainer.train_runs(plans[:2], tmp_path / "without")
    for run, other in zip(with_it[::2], without, strict=True):
        assert_same(run, other, rel=2e-4)


def test_all_diverge(planned, tmp_path):
    plans = [planned("ln_tuning", seed=seed, training=WILD) for seed in (0, 1)]
    assert {r.record.status for r in batched_trainer.train_runs(plans, tmp_path)} == {"diverged"}


def test_what_is_there_or_elsewhere_is_left(planned, tmp_path):
    plans = sweep(planned, "lora")
    there = trainer.train_run(plans[0], tmp_path)
    before = (there.path / "digests.json").stat().st_mtime_ns
    with lock_run(tmp_path, plans[1].id):
        runs = batched_trainer.train_runs(plans, tmp_path)
    assert [run.id for run in runs] == [plans[0].id, plans[2].id]
    assert (there.path / "digests.json").stat().st_mtime_ns == before
    assert runs[1].record.environment["trained_together"] == 1


def test_a_run_that_raises_leaves_nothing_of_any(planned, tmp_path, monkeypatch):
    monkeypatch.setattr(trainer, "validate", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        batched_trainer.train_runs(sweep(planned, "lora"), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_reads_like_any_other(planned, tmp_path):
    (run, *_) = batched_trainer.train_runs(sweep(planned, "lora"), tmp_path)
    last = run.timing()[-1]
    assert last["peak_memory_bytes"] is None
    assert last["seconds"] > 0
    run.verify(run.digests)
    assert json.loads((run.path / "run.json").read_text())["status"] == "finished"
    assert isinstance(Run(run.path).record.results["validation_accuracy"], float)


def test_who_goes_together(planned):
    key = batched_trainer.batch_key
    lora = partial(planned, "lora")
    same = {
        key(lora(seed=seed, method_config={"rank": rank}, training={"learning_rate": rate}))
        for seed, rank, rate in [(0, 1, 0.1), (1, 8, 0.2)]
    }
    assert len(same) == 1
    (known,) = same
    assert known != key(lora(training={"batch_size": 6}))
    assert known != key(lora(method_config={"target_modules": ["all_linear"]}))
    assert known != key(lora(base="gpt2"))
    shuffled = [key(lora(seed=seed, training={"shuffle_labels": True})) for seed in (0, 1)]
    assert len({known, *shuffled}) == 3  # each seed has labels of its own
    prompt = partial(planned, "prompt_tuning")
    assert key(prompt(method_config={"num_virtual_tokens": 4})) != key(
        prompt(method_config={"num_virtual_tokens": 5})
    )
    assert key(prompt(method_config={"anchor_weight": 1.0, "anchor_text": "up"})) is None
    for alone in (
        planned("full"),
        planned("dora"),
        planned("frozen"),
        lora(training={"max_steps": 0}),
    ):
        assert key(alone) is None


def test_rows_that_are_routed_or_dropped_by_chance_are_trained_alone(planned, monkeypatch):
    one = planned("lora")
    config = one.base.model.config
    monkeypatch.setattr(config, "num_local_experts", 4, raising=False)
    assert batched_trainer.batch_key(one) is None
    monkeypatch.undo()
    monkeypatch.setattr(one.base.model.model, "dropout", 0.1, raising=False)
    assert batched_trainer.batch_key(one) is None
