"""Names of a written LoRA are those that peft looks for, and no others."""

import json
import warnings

import numpy as np
import peft
import pytest
from tiny import build
from torch import nn

from peftlens.adapters.external import ExternalAdapter
from peftlens.adapters.plain_lora import LoraFactors, write_plain_lora
from peftlens.models.base_model import load_base_model


def factors(base, modules, ranks=(2, 2, 2, 2)):
    rng = np.random.default_rng(0)
    made = []
    for place, name in enumerate(modules):
        module = base.model.get_submodule(name)
        is_table = isinstance(module, nn.Embedding)
        rows, columns = module.weight.shape
        if type(module).__name__ == "Conv1D":
            rows, columns = columns, rows
        b, a = rng.normal(size=(rows, ranks[place])), rng.normal(size=(ranks[place], columns))
        made.append(LoraFactors(module=name, b=b, a=a, is_table=is_table))
    return made


def written(base, made, folder):
    folder.mkdir()
    write_plain_lora(made, base, folder)
    return json.loads((folder / "adapter_config.json").read_text())


CASES = [
    ("llama", ["model.layers.0.mlp.up_proj", "model.layers.2.mlp.up_proj"]),
    ("llama", [f"model.layers.{i}.self_attn.q_proj" for i in range(3)] + ["model.embed_tokens"]),
    ("gpt2", ["transformer.h.0.attn.c_proj", "transformer.h.1.mlp.c_proj", "transformer.wte"]),
]


@pytest.mark.parametrize(("kind", "modules"), CASES)
def test_peft_adds_these_products(kind, modules, bases, tmp_path):
    base = load_base_model(str(bases[kind]), device="cpu", dtype="float32")
    made = factors(base, modules, (1, 2, 3, 4))
    written(base, made, tmp_path / "new")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the orientation, and of tied embeddings
        model = peft.PeftModel.from_pretrained(build(kind), tmp_path / "new")
    layers = {name: one for name, one in model.get_base_model().named_modules()
              if hasattr(one, "get_delta_weight")}  # fmt: skip
    assert {*layers} == {*modules}
    for one in made:
        delta = layers[one.module].get_delta_weight("default").detach().numpy()
        turned = delta.shape != (one.b.shape[0], one.a.shape[1]) or kind == "gpt2"
        turned = turned and not one.is_table
        np.testing.assert_allclose(
            delta.T if turned else delta, one.b @ one.a, rtol=1e-4, atol=1e-5
        )


def test_short_names_where_they_mean_the_same(bases, tmp_path):
    base = load_base_model(str(bases["llama"]), device="cpu", dtype="float32")
    every = [f"model.layers.{i}.mlp.up_proj" for i in range(3)]
    assert written(base, factors(base, every), tmp_path / "a")["target_modules"] == ["up_proj"]
    some = written(base, factors(base, every[:2]), tmp_path / "b")["target_modules"]
    assert len(some) == 2


def test_our_own_reader_accepts_it(bases, tmp_path):
    base = load_base_model(str(bases["llama"]), device="cpu", dtype="float32")
    written(base, factors(base, ["model.layers.1.mlp.down_proj"]), tmp_path / "a")
    file = ExternalAdapter(tmp_path / "a").file
    file.require_sound()
    assert file.config["base_model_name_or_path"] == str(bases["llama"])
    assert {entry.dtype for entry in file.header.values()} == {"F32"}
