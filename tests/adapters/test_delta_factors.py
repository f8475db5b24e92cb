"""Spectra from an adapter's file alone, and by its base, against dense ones of peft's own."""

import numpy as np
import pytest
import theirs

from peftlens.adapters.adapter_file import read
from peftlens.adapters.delta_factors import DeltaFactors, delta_factors, product_values
from peftlens.adapters.delta_weights import delta_weights
from peftlens.adapters.external import ExternalAdapter
from peftlens.results.table import NotApplicable
from peftlens.runs.config import RunConfig

FACTORED = {
    "LORA": [
        {},
        {"use_rslora": True},
        {"rank_pattern": {"q_proj": 3}, "alpha_pattern": {"layers.1.self_attn.v_proj": 5}},
        {"r": 40},
    ],
    "ADALORA": [{}, {"lora_alpha": 32}],
    "LOHA": [{"r": 3, "alpha": 5}],
    "LOKR": [
        {"r": 3, "alpha": 5},
        {"r": 2, "decompose_both": True},
        {"r": 64, "alpha": 1},
    ],
}
CASES = [(kind, changed) for kind, several in FACTORED.items() for changed in several]
# What peft calls the delta weight of these is a factor of the weight, or can't be asked for.
OTHERWISE = ("HIRA", "HRA", "OFT", "BOFT", "MISS", "LILY", "SHIRA")


def folder(kind, bases, tmp_path, **changed):
    model = theirs.wrapped(kind, **changed)
    return theirs.save(model, tmp_path / kind, str(bases["llama"])), model


def same(found, deltas):
    assert found.keys() == deltas.keys()
    assert found
    for name, change in found.items():
        dense = np.linalg.svd(deltas[name].numpy(), compute_uv=False)
        values = np.sort(change.values)[::-1][: len(dense)]
        np.testing.assert_allclose(values, dense[: len(values)], atol=2e-6 * dense[0])
        assert dense[len(values) :].max(initial=0) < 2e-6 * dense[0]


@pytest.mark.parametrize(("kind", "changed"), CASES)
def test_factors_have_the_spectrum_of_pefts_dense_update(kind, changed, bases, tmp_path):
    place, model = folder(kind, bases, tmp_path, **changed)
    found = {one.name: one for one in delta_factors(read(place))}
    deltas = theirs.deltas(model)
    same(found, deltas)
    for name, one in found.items():
        np.testing.assert_allclose(one.dense, deltas[name].numpy(), atol=1e-6)


def test_an_embedding_is_its_rows(bases, tmp_path):
    place, model = folder("LORA", bases, tmp_path, target_modules=["embed_tokens"])
    (one,) = delta_factors(read(place))
    (delta,) = theirs.deltas(model).values()
    np.testing.assert_allclose(one.dense, delta.numpy(), atol=1e-6)


@pytest.mark.parametrize("kind", [kind for kind in theirs.BUILDABLE if kind not in OTHERWISE])
def test_with_the_base_every_update_is_pefts(context, kind, bases, tmp_path):
    place, model = folder(kind, bases, tmp_path)
    deltas = {} if kind in ("POLY", "BEFT") else theirs.deltas(model)
    run = ExternalAdapter(place)
    config = run.config.model_copy(update={"dtype": "float32", "device": "cpu"})
    run.__dict__["record"] = run.record.model_copy(update={"config": RunConfig(**vars(config))})
    if deltas:
        same({one.name: one for one in delta_weights(run, context.base_model(run))}, deltas)
        return
    try:
        found = list(delta_weights(run, context.base_model(run)))
    except NotApplicable as reason:
        assert f"peft:{kind}" in str(reason)
    else:
        assert found, kind
        assert kind in ("GLORA", "IA3", "LN_TUNING", "ROAD", "TRAINABLE_TOKENS")


@pytest.mark.parametrize("kind", ["HIRA", "HRA", "OFT"])
def test_what_is_a_factor_of_the_weight_is_seen_as_an_update(context, kind, bases, tmp_path):
    """Merging is peft's; the difference is taken here in float64."""
    place, model = folder(kind, bases, tmp_path)
    before = {n: p.detach().double().clone() for n, p in theirs.build("llama").named_parameters()}
    after = dict(model.merge_and_unload().named_parameters())
    run = ExternalAdapter(place)
    run.__dict__["record"] = run.record.model_copy(
        update={"config": run.config.model_copy(update={"dtype": "float32", "device": "cpu"})}
    )
    found = {one.name: one for one in delta_weights(run, context.base_model(run))}
    assert len(found) == 6
    same(found, {name: after[name].detach().double() - before[name] for name in found})


@pytest.mark.parametrize("kind", ["PROMPT_TUNING", "VERA", "OFT"])
def test_other_files_alone_do_not_say(kind, bases, tmp_path):
    with pytest.raises(NotApplicable, match="its file alone does not determine"):
        list(delta_factors(read(folder(kind, bases, tmp_path)[0])))


def test_a_part_of_the_weight_is_not_taken_for_an_update(bases, tmp_path):
    place, _ = folder("LORA", bases, tmp_path, init_lora_weights="pissa")
    with pytest.raises(NotApplicable, match="initialized by pissa"):
        list(delta_factors(read(place)))


def test_a_large_matrix_is_known_by_its_leading_values(monkeypatch):
    from peftlens.adapters import delta_factors as module

    monkeypatch.setattr(module, "LARGEST", 50)
    monkeypatch.setattr(module, "LEADING", 5)
    rng = np.random.default_rng(0)
    change = (rng.normal(size=(80, 4)) @ rng.normal(size=(4, 60))).astype(np.float32)
    one = DeltaFactors(name="w", change=change)
    assert not one.exact
    assert one.shape == (80, 60)
    np.testing.assert_allclose(one.values[:4], np.linalg.svd(change)[1][:4], rtol=1e-4)


@pytest.mark.parametrize("shape", [(40, 8, 30), (30, 1, 40), (6, 8, 30), (30, 8, 6)])
def test_values_of_a_product_equal_the_dense_ones(shape):
    m, r, n = shape
    rng = np.random.default_rng(0)
    b, a = rng.normal(size=(m, r)), rng.normal(size=(r, n))
    dense = np.linalg.svd(b @ a, compute_uv=False)[: min(shape)]
    np.testing.assert_allclose(product_values(b, a), dense, rtol=1e-6)


def test_a_large_product_has_exactly_r_values():
    """Of a known spectrum; a dense decomposition would give 4,096 values, most of them rounding."""
    rng = np.random.default_rng(0)
    u, v = (np.linalg.qr(rng.normal(size=(4096, 8)))[0] for _ in range(2))
    known = np.arange(8, 0, -1.0)
    np.testing.assert_allclose(product_values(u * known, v.T), known, rtol=1e-12)
