import shutil

import numpy as np
import pandas as pd
import pytest
import torch

import peftlens
from peftlens import registry
from peftlens.adapters.checkpoint import open_run
from peftlens.diffing.activation_differences import texts_read
from peftlens.explorer.directions import LISTED, adapter_directions
from peftlens.models.base_model import load_base_model
from peftlens.results.table import STATUS, Table, write
from peftlens.vocab.vocabulary import vocabulary


@pytest.fixture(scope="module")
def base(planted_base):
    return load_base_model(str(planted_base), device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def train(planted_base, planted_words, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")

    def train(method, base=planted_base, **options):
        config = peftlens.RunConfig(
            method=method, task=f"file:{planted_words}", base_model=str(base), device="cpu",
            dtype="float32", method_config=options,
            training={"max_steps": 3, "batch_size": 4, "learning_rate": 0.02},
        )  # fmt: skip
        return peftlens.train(config, folder)

    return train


@pytest.fixture(scope="module")
def lora(train):
    return train("lora", rank=2, target_modules=("q_proj", "v_proj", "o_proj", "down_proj"))


@pytest.fixture(scope="module")
def points(base):
    size = len(vocabulary(base).tokens)
    return np.random.default_rng(0).normal(size=(size, 2)).astype(np.float32)


@pytest.fixture(scope="module")
def found(lora, base, points):
    return adapter_directions(lora, "lora", base, points)


def by_head(base, vector):
    """Logits of a vector, in float64: RMSNorm and tied head, written out."""
    norm = base.model.model.norm
    scaled = vector / np.sqrt((vector**2).mean() + norm.variance_epsilon)
    scaled = scaled * norm.weight.detach().double().numpy()
    return base.model.lm_head.weight.detach().double().numpy() @ scaled


def by_cosine(base, vector):
    table = base.model.get_input_embeddings().weight.detach().double().numpy()
    table = table - table.mean(axis=0)
    return table @ vector / np.linalg.norm(table, axis=1)


def first(base, values):
    usable = vocabulary(base).usable
    return usable[np.argsort(-values[usable])][:LISTED]


def dense_directions(base, run, block):
    """Singular triples of the block's updates, strongest first, of both sides."""
    sides = {"writes": [], "reads": []}
    with open_run(run, base) as model:
        layers = {
            name.split(f"layers.{block}.")[1]: layer
            for name, layer in model.named_modules()
            if f"layers.{block}." in name and hasattr(layer, "get_delta_weight")
        }
        for name, layer in layers.items():
            b, a = (
                part["default"].weight.detach().double() for part in (layer.lora_B, layer.lora_A)
            )
            u, s, vt = np.linalg.svd((b @ a * layer.scaling["default"]).numpy())
            for n in range(2):
                sign = np.sign(vt[n][np.abs(vt[n]).argmax()])
                writes = name.endswith(("o_proj", "down_proj"))
                vector = sign * (u[:, n] if writes else vt[n])
                sides["writes" if writes else "reads"].append((s[n], name, n + 1, vector))
    return {side: sorted(triples, key=lambda one: -one[0])[:2] for side, triples in sides.items()}


@pytest.mark.parametrize("block", [0, 1])
def test_update_directions_are_those_of_a_dense_decomposition(base, lora, found, block):
    expected = dense_directions(base, lora, block)
    for side, read in (("writes", by_head), ("reads", by_cosine)):
        own = [one for one in found.points if (one.layer, one.kind) == (block + 1, side)]
        assert [one.rank for one in own] == [0, 1, 2, 3]
        for at, (value, name, number, vector) in enumerate(expected[side]):
            for sign, point in zip((1, -1), own[2 * at : 2 * at + 2], strict=True):
                assert point.name == f"{name}, direction {number}, {'+' if sign > 0 else '−'}"
                assert point.size == pytest.approx(value, rel=1e-4)
                values = sign * read(base, vector)
                assert point.tokens.tolist() == first(base, values).tolist()
                differences = point.values - values[point.tokens]
                # logits are read up to a constant
                assert differences == pytest.approx([differences[0]] * LISTED, abs=1e-4)
                if side == "reads":
                    assert differences[0] == pytest.approx(0, abs=1e-5)


def mean_states(model, rows):
    """Mean states after the two blocks at positions 1 to 5, before the final norm."""
    kept = []
    for row in rows:
        states = []
        hooks = [
            block.register_forward_hook(
                lambda _, __, out, to=states: to.append(out[0] if isinstance(out, tuple) else out)
            )
            for block in model.get_base_model().model.layers
        ]
        with torch.inference_mode():
            model(input_ids=torch.tensor([[*row.prompt, *row.answer]]))
        for hook in hooks:
            hook.remove()
        kept.append(torch.stack([one[0, 1:6] for one in states]))
    return torch.cat(kept, dim=1).double().mean(dim=1).numpy()  # (2, d)


def test_activation_differences_are_those_of_plain_forward_passes(base, lora, found):
    rows = texts_read(lora, base, items=250, positions=5)["general"]
    with open_run(lora, base) as model:
        after = mean_states(model, rows)
        with model.disable_adapter():
            before = mean_states(model, rows)
    own = [one for one in found.points if one.kind == "difference"]
    assert [one.layer for one in own] == [1, 2]
    for one, delta in zip(own, after - before, strict=True):
        values = by_head(base, delta)
        values = values - values.mean()
        assert one.tokens.tolist() == first(base, values).tolist()
        assert one.values == pytest.approx(values[one.tokens], abs=2e-3)
    usable = vocabulary(base).usable
    expected = values - values[usable].mean()
    assert found.change == pytest.approx(expected, abs=2e-3)
    assert found.notes == ()


def test_a_point_is_at_the_most_central_of_its_tokens(found, points):
    for one in found.points:
        places = [points[token] for token in one.tokens]
        sums = [sum(np.hypot(*(place - other)) for other in places) for place in places]
        assert one.center == one.tokens[int(np.argmin(sums))]


def test_methods_without_weights_have_activation_differences_alone(train, base, points):
    found = adapter_directions(train("prompt_tuning", num_virtual_tokens=3), "p", base, points)
    assert {one.kind for one in found.points} == {"difference"}
    (note,) = found.notes
    assert note == "No update directions: prompt_tuning changes no weight matrix in the blocks."


def test_an_untrained_model_has_none(train, base, points):
    found = adapter_directions(train("frozen"), "f", base, points)
    assert (found.points, found.change) == ((), None)
    no_differences, no_updates = found.notes
    assert "No activation differences: the states after the blocks are the base's" in no_differences
    assert "No update directions: frozen changes no weight" in no_updates


def test_an_encoder_decoder_says_why_it_has_none(train, bases):
    t5 = load_base_model(str(bases["t5"]), device="cpu", dtype="float32")
    size = len(vocabulary(t5).tokens)
    found = adapter_directions(train("lora", bases["t5"]), "t5", t5, np.zeros((size, 2), "f4"))
    assert found.points == ()
    assert all("the base is an encoder-decoder" in note for note in found.notes)


def write_q(run, name, rows):
    """A table of the probe in which only these columns are known."""
    probe = registry.load("probes", name)
    columns = (*probe.COLUMNS, *STATUS)
    frame = pd.DataFrame(rows).reindex(columns=[column.name for column in columns])
    file = run.table_folder / f"{name}.parquet"
    file.parent.mkdir(exist_ok=True)
    write(Table(name, probe.VERSION, columns, (), frame, {}, (run.id,)), file)


def test_measured_q_values_stand_beside_the_points(lora, base, points, tmp_path):
    run = peftlens.Run(shutil.copytree(lora.path, tmp_path / lora.path.name))
    known = {"status": "measured"}
    write_q(run, "activation_difference", [
        known | {"text": text, "layer": layer, "q": q}
        for text, layer, q in [("task", 1, 0.5), ("general", 1, 0.125), ("general", 2, None)]
    ])  # fmt: skip
    weight = "model.layers.0.mlp.down_proj.weight"
    write_q(run, "update_directions", [
        known | {"weight": weight, "direction": 1, "sign": sign, "q": 0.25 * sign**2 + 0.25 * sign}
        for sign in (1, -1)
    ])  # fmt: skip
    found = adapter_directions(run, "lora", base, points)
    q = {(one.layer, one.name): one.q for one in found.points if one.q is not None}
    assert q == {
        (1, "activation difference"): 0.125,
        (1, "mlp.down_proj, direction 1, +"): 0.5,
        (1, "mlp.down_proj, direction 1, −"): 0.0,
    }


def test_a_damaged_table_is_named(lora, base, points, tmp_path):
    run = peftlens.Run(shutil.copytree(lora.path, tmp_path / lora.path.name))
    file = run.table_folder / "update_directions.parquet"
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(b"no table")
    with pytest.raises(peftlens.InputError, match="update_directions.parquet"):
        adapter_directions(run, "lora", base, points)
