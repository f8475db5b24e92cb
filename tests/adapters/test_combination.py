"""Combined updates are dense float64 arithmetic on the updates, and peft's where peft is asked."""

import warnings

import numpy as np
import peft
import pytest
import theirs
import torch
from tiny import build

from peftlens.adapters.combination import (
    AdapterUpdates,
    Recipe,
    combine_adapters,
    combine_factors,
    combine_updates,
)
from peftlens.adapters.conversion import decompose
from peftlens.adapters.delta_weights import DeltaWeight
from peftlens.adapters.external import ExternalAdapter
from peftlens.adapters.weight_changes import ModuleUpdate
from peftlens.errors import InputError


def updates(**dense):
    """Updates of one adapter, whose base weights are so small that nothing is rounded."""
    made = []
    for name, change in dense.items():
        array = np.array(change, np.float32)
        delta = DeltaWeight(name=f"{name}.weight", before=0 * array, change=array)
        made.append(ModuleUpdate(modules=(name,), delta=delta, is_table=(False,)))
    return {one.update.modules[0]: one for one in decompose(made)}


def product(one):
    return one.factors.b @ one.factors.a


FIRST = updates(w=[[4.0, -1.0], [0.5, 3.0]])
SECOND = updates(w=[[2.0, 5.0], [-0.25, -1.0]], v=[[1.0, 2.0]])


def test_the_sum_by_hand():
    w, v = combine_updates([FIRST, SECOND], Recipe(how="cat", weights=(1.0, 2.0)))
    np.testing.assert_allclose(product(w), [[8, 9], [0, 1]], atol=1e-6)
    np.testing.assert_allclose(product(v), [[2, 4]], atol=1e-6)
    assert w.energy == v.energy == pytest.approx(1)


def test_a_truncated_sum_by_hand():
    (w, _) = combine_updates([FIRST, SECOND], Recipe(how="svd", rank=1))
    u, s, vt = np.linalg.svd(np.array([[6.0, 4.0], [0.25, 2.0]]))
    np.testing.assert_allclose(product(w), np.outer(u[:, 0] * s[0], vt[0]), atol=1e-5)
    assert w.energy == pytest.approx(s[0] ** 2 / (s**2).sum())


def test_ties_by_hand():
    """Half of the entries: 4 and 3 of the first, 2 and 5 of the other; 4 and 2 agree."""
    (w, _) = combine_updates([FIRST, SECOND], Recipe(how="ties", density=0.5, weights=(1.0, 1.0)))
    np.testing.assert_allclose(product(w), [[3, 5], [0, 3]], atol=1e-5)
    # all entries: -1 loses to 5, 0.5 beats -0.25, 3 beats -1
    (w, _) = combine_updates([FIRST, SECOND], Recipe(how="ties", density=1.0))
    np.testing.assert_allclose(product(w), [[3, 5], [0.5, 3]], atol=1e-5)


def test_dare_drops_entries_and_rescales_the_others():
    values = np.arange(1.0, 101.0).reshape(10, 10)
    one, zero = updates(w=values), updates(v=[[1.0]])

    def combined(seed, density=0.25):
        recipe = Recipe(how="dare", density=density, seed=seed, rank=10)
        return product(combine_updates([one, zero], recipe)[0])

    ratio = combined(0) / values
    assert ((np.abs(ratio) < 1e-3) | (np.abs(ratio - 4) < 1e-3)).all()
    assert 10 < (ratio > 1).sum() < 40
    np.testing.assert_array_equal(combined(0), combined(0))
    assert not np.allclose(combined(0), combined(1))
    np.testing.assert_allclose(combined(0, density=1.0), values, rtol=1e-4)


def test_updates_that_cancel_leave_nothing():
    assert combine_updates([FIRST, FIRST], Recipe(how="cat", weights=(1.0, -1.0))) == []


@pytest.fixture
def loras(bases, tmp_path):
    """Two LoRAs of rank 3 with different scales, by plain peft, and both on one model."""
    models = [theirs.wrapped("LORA", r=3, lora_alpha=alpha) for alpha in (6, 12)]
    with torch.no_grad():
        for parameter in models[1].parameters():
            if parameter.requires_grad:
                parameter.copy_(parameter.flip(0) - 0.02)
    folders = [
        theirs.save(model, tmp_path / name, str(bases["llama"]))
        for name, model in zip("ab", models, strict=True)
    ]
    both = peft.PeftModel.from_pretrained(build("llama"), folders[0], "a")
    both.load_adapter(folders[1], "b")
    return folders, models, both


def of_peft(both, kind, weights, **options):
    """Updates of peft's own combination."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        both.add_weighted_adapter(["a", "b"], weights, kind, combination_type=kind, **options)
    return {
        name: layer.get_delta_weight(kind).detach().numpy()
        for name, layer in both.get_base_model().named_modules()
        if hasattr(layer, "get_delta_weight")
    }


def opened(folders, base):
    return [AdapterUpdates.of(ExternalAdapter(folder), base) for folder in folders]


@pytest.mark.parametrize("weights", [(1.0, 1.0), (0.7, -0.3)])
def test_linear_is_that_of_peft_and_not_the_sum(weights, loras, llama):
    folders, models, both = loras
    adapters = opened(folders, llama)
    recipe = Recipe(how="linear", weights=weights)
    combined = {one.factors.module: one for one in combine_adapters(adapters, recipe)}
    expected = of_peft(both, "linear", list(weights))
    assert combined.keys() == expected.keys()
    sums = [theirs.deltas(model) for model in models]
    for name, one in combined.items():
        np.testing.assert_allclose(product(one), expected[name], atol=1e-5)
        assert one.norm == pytest.approx(np.linalg.norm(expected[name]), rel=1e-4)
        exact = sum(w * each[f"{name}.weight"] for w, each in zip(weights, sums, strict=True))
        assert np.linalg.norm(product(one) - exact.numpy()) > 0.1 * exact.norm()


@pytest.mark.parametrize("weights", [(1.0, 1.0), (0.7, -0.3)])
@pytest.mark.parametrize(("how", "kind"), [("cat", "cat"), ("svd", "svd"), ("ties", "ties_svd")])
def test_the_others_are_those_of_peft_on_updates(how, kind, weights, loras, llama):
    folders, _, both = loras
    adapters = opened(folders, llama)
    options = {"cat": {}, "svd": {"rank": 2}, "ties": {"density": 0.4, "rank": 6}}[how]
    recipe = Recipe(how=how, weights=weights, **options)
    combined = combine_adapters(adapters, recipe)
    theirs_too = {"svd_rank" if key == "rank" else key: one for key, one in options.items()}
    expected = of_peft(both, kind, list(weights), **theirs_too)
    for one in combined:
        np.testing.assert_allclose(product(one), expected[one.factors.module], atol=1e-5)


def test_factors_of_other_types_or_ranks_are_not_summed(bases, llama, tmp_path):
    folders = [
        theirs.save(theirs.wrapped(kind, **options), tmp_path / name, str(bases["llama"]))
        for name, kind, options in (
            ("a", "LORA", {"r": 2}), ("b", "LORA", {"r": 3}), ("c", "LOHA", {"r": 2}),
        )
    ]  # fmt: skip
    adapters = opened(folders, llama)
    with pytest.raises(InputError, match="sums factors of one rank"):
        combine_factors(adapters[:2], (1.0, 1.0))
    with pytest.raises(InputError, match="c is no plain LoRA"):
        combine_factors(adapters[1:], (1.0, 1.0))


BAD = [
    ({"how": "average"}, "how='average'"),
    ({"weights": (1.0,)}, "1 weights for 2 adapters"),
    ({"weights": (1.0, float("nan"))}, "weight=nan"),
    ({"rank": 0, "how": "svd"}, "rank=0"),
    ({"rank": 2}, "--rank does not apply to cat"),
    ({"density": 0.5}, "--density applies to ties and dare"),
    ({"density": 0.0, "how": "dare"}, "density=0"),
]


@pytest.mark.parametrize(("options", "words"), BAD)
def test_options_that_do_not_fit(options, words):
    with pytest.raises(InputError, match=words):
        Recipe(**options).check(2)


def test_one_adapter_is_no_combination():
    with pytest.raises(InputError, match="two adapters"):
        Recipe().check(1)
