"""The update of every method equals the difference of the merged weights."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForMaskedLM

import peftlens
from peftlens.adapters.delta_weights import delta_weights, saved_delta_weights
from peftlens.adapters.merging import merged_weights, weight_layout
from peftlens.models.base_model import load_base_model
from peftlens.results.table import NotApplicable
from peftlens.runs.config import RunConfig

RANKS = {"lora": 3, "rslora": 3, "lora_fa": 3, "lora_plus": 3, "pissa": 6, "olora": 6, "loha": 9}
OTHERS = ("adalora", "dora", "lokr", "vera", "oft", "ia3", "full", "last_layers", "embeddings")


def trained(base, words, out, method, steps=2, **options):
    options |= {"rank": 3} if method in RANKS else {}
    return peftlens.train(
        RunConfig(
            method=method,
            task=f"file:{words}",
            base_model=str(base),
            device="cpu",
            dtype="float32",
            method_config=options,
            training={
                "max_steps": steps,
                "batch_size": 4,
                "learning_rate": 1e-2,
                "checkpoint_steps": [0],
            },
        ),
        out,
    )


def updates(context, run, step=None):
    return list(delta_weights(run, context.base_model(run), step))


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
@pytest.mark.parametrize("method", [*RANKS, *OTHERS])
def test_updates_are_what_merging_changes(context, bases, words, tmp_path, method, kind):
    run = trained(bases[kind], words, tmp_path, method)
    base = load_base_model(str(bases[kind]), device="cpu", dtype="float32")
    own = {name: p.detach().clone() for name, p in base.model.named_parameters()}
    tuned = merged_weights(run, base)
    changed = {
        name: (tuned[name] - own[name]).numpy()
        for name in own
        if own[name].ndim == 2 and not torch.equal(own[name], tuned[name])
    }
    found = {update.name: update for update in updates(context, run)}
    assert found.keys() == changed.keys()
    assert found
    turned = weight_layout(load_base_model(str(bases[kind]), device="cpu").model).transposed
    for name, update in found.items():
        expected = changed[name].T if name.removesuffix(".weight") in turned else changed[name]
        svd = update.svd
        np.testing.assert_allclose(svd.u * svd.s @ svd.vt, expected, atol=2e-6)
        np.testing.assert_allclose(update.values, svd.s, atol=1e-5)
        np.testing.assert_allclose(update.norm, np.linalg.norm(expected), rtol=1e-3)
        np.testing.assert_allclose(update.after - update.before, expected, atol=2e-6)
        assert update.exact
        if method in RANKS:
            assert np.linalg.matrix_rank(expected, tol=1e-5) <= RANKS[method]


@pytest.mark.parametrize("method", ["lora", "rslora", "lora_fa", "lora_plus"])
def test_factors_are_kept_and_give_r_values(context, bases, words, tmp_path, method):
    found = updates(context, trained(bases["llama"], words, tmp_path, method))
    assert all(update.factors is not None and len(update.values) == 3 for update in found)


@pytest.mark.parametrize("method", ["pissa", "dora", "loha"])
def test_factors_that_are_not_the_update_are_not_taken_for_it(
    context, bases, words, tmp_path, method
):
    found = updates(context, trained(bases["llama"], words, tmp_path, method))
    assert all(update.factors is None for update in found)


@pytest.mark.parametrize("method", ["lora", "full"])
def test_before_training_nothing_has_changed(context, bases, words, tmp_path, method):
    assert not updates(context, trained(bases["llama"], words, tmp_path, method), step=0)


def test_updates_of_all_saved_steps(context, bases, words, tmp_path):
    run = trained(bases["llama"], words, tmp_path, "lora")
    base = context.base_model(run)
    assert run.steps == (0, 2)
    found = [(step, one.name) for step, one in saved_delta_weights(run, base)]
    assert found == [(2, one.name) for one in updates(context, run)]  # nothing at step 0


def test_linear_layers_come_as_outputs_by_inputs(context, bases, words, tmp_path):
    """GPT-2 keeps them the other way round."""
    found = {u.name: u for u in updates(context, trained(bases["gpt2"], words, tmp_path, "full"))}
    weight = found["transformer.h.0.attn.c_attn.weight"].before
    assert weight.shape[0] == 3 * weight.shape[1]


@pytest.mark.parametrize("method", ["lora", "full"])
def test_gpt2_s_square_layers_are_turned_too(context, bases, words, tmp_path, method):
    """(in, out) there, whatever the shape says."""
    config = {"target_modules": ["attn.c_proj"]} if method == "lora" else {}
    run = trained(bases["gpt2"], words, tmp_path, method, **config)
    base = load_base_model(str(bases["gpt2"]), device="cpu", dtype="float32")
    own = dict(base.model.named_parameters())
    (found,) = (one for one in updates(context, run) if one.name.endswith("h.0.attn.c_proj.weight"))
    np.testing.assert_array_equal(found.before, own[found.name].detach().numpy().T)
    after = merged_weights(run, base)[found.name].numpy().T
    np.testing.assert_allclose(found.after, after, atol=1e-5)


def test_the_head_of_a_lora_is_no_part_of_its_update(context, encoders, words, tmp_path):
    """The updates are B A of the file, times alpha / rank, and nothing else in it is one."""
    run = trained(encoders["bert"], words, tmp_path, "lora", rank=3)
    saved = load_file(run.adapter() / "adapter_model.safetensors")
    assert sum("classifier" in name or "pooler" in name for name in saved) == 4
    found = {update.name: update for update in updates(context, run)}
    assert len(found) == 4
    for name, update in found.items():
        b, a = (
            saved[f"base_model.model.{name.replace('.weight', f'.lora_{side}.weight')}"].double()
            for side in "BA"
        )
        assert update.factors is not None and len(update.values) == 3
        np.testing.assert_allclose(update.after - update.before, 16 / 3 * (b @ a), atol=1e-6)


def test_the_head_of_full_fine_tuning_is_no_part_of_its_update(context, encoders, words, tmp_path):
    run = trained(encoders["bert"], words, tmp_path, "full")
    saved = load_file(run.adapter() / "adapter_model.safetensors")
    plain = dict(AutoModelForMaskedLM.from_pretrained(encoders["bert"]).named_parameters())
    expected = {
        name: saved[name] - plain[name].detach()
        for name in saved
        if saved[name].ndim == 2 and name in plain and not torch.equal(saved[name], plain[name])
    }
    found = {update.name: update for update in updates(context, run)}
    assert found.keys() == expected.keys()
    assert "classifier.weight" in saved and "bert.pooler.dense.weight" in saved
    for name, update in found.items():
        np.testing.assert_allclose(update.after - update.before, expected[name], atol=1e-6)


def test_a_head_alone_updates_nothing(context, encoders, words, tmp_path):
    run = trained(encoders["bert"], words, tmp_path, "head")
    assert not updates(context, run)
    with pytest.raises(NotApplicable, match="head has changed no weight matrix"):
        list(saved_delta_weights(run, context.base_model(run)))
