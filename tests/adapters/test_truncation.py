import json
import warnings

import numpy as np
import peft
import pytest
import theirs
import torch
from tiny import build

from peftlens.adapters.adapter_file import read
from peftlens.adapters.delta_factors import delta_factors
from peftlens.adapters.truncation import truncate
from peftlens.errors import InputError


@pytest.fixture
def saved(bases, tmp_path):
    def make(kind="LORA", **options):
        model = theirs.wrapped(kind, **options)
        return theirs.save(model, tmp_path / "old", str(bases["llama"])), model

    return make


def loaded(folder):
    return peft.PeftModel.from_pretrained(build("llama"), folder)  # a warning is an error


@pytest.mark.parametrize(
    "options", [{}, {"use_rslora": True}, {"rank_pattern": {"q_proj": 5}, "lora_alpha": 3}]
)
def test_plain_peft_loads_the_nearest_update_of_that_rank(options, saved, tmp_path):
    folder, model = saved(**options)
    report = truncate(folder, tmp_path / "new", rank=3)
    assert {one.kept for one in report} == {3}
    again = loaded(tmp_path / "new")
    for name, layer in again.get_base_model().named_modules():
        if hasattr(layer, "get_delta_weight"):
            u, s, vt = np.linalg.svd(theirs.deltas(model)[f"{name}.weight"].numpy())
            nearest = u[:, :3] * s[:3] @ vt[:3]
            np.testing.assert_allclose(layer.get_delta_weight("default").detach(), nearest,
                                       atol=1e-6)  # fmt: skip
            text_shown = next(one for one in report if one.weight == f"{name}.weight")
            assert text_shown.energy == pytest.approx((s[:3] ** 2).sum() / (s**2).sum())


def test_energy_gives_each_weight_its_own_rank(saved, tmp_path):
    folder, _ = saved()
    report = truncate(folder, tmp_path / "new", energy=0.6)
    assert len({one.kept for one in report}) > 1
    assert all(0.6 <= one.energy < 1 for one in report)
    ranks = {one.name: one.rank for one in delta_factors(read(tmp_path / "new"))}
    assert ranks == {one.weight: one.kept for one in report}
    loaded(tmp_path / "new")


def test_all_energy_keeps_the_outputs(saved, tmp_path):
    folder, model = saved(modules_to_save=["lm_head"], target_modules=["q_proj", "embed_tokens"])
    truncate(folder, tmp_path / "new", energy=1)
    ids = torch.arange(3, 11)[None]
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of tied embeddings
        again = peft.PeftModel.from_pretrained(build("llama"), tmp_path / "new").eval()
        torch.testing.assert_close(again(ids).logits, model(ids).logits, atol=1e-5, rtol=1e-4)


def test_a_rank_above_the_matrix_can_be_mended(saved, tmp_path):
    folder, _ = saved(r=40, lora_alpha=40)
    truncate(folder, tmp_path / "new", rank=40)
    read(tmp_path / "new").require_sound()


def test_the_dtype_stays(saved, tmp_path):
    folder, model = saved()
    theirs.save(model.bfloat16(), folder, "base")
    truncate(folder, tmp_path / "new", rank=2)
    assert {one.dtype for one in read(tmp_path / "new").header.values()} == {"BF16"}


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("LOHA", {}, "only a LoRA has a rank"),
        ("LORA", {"use_dora": True}, "has use_dora.*belong to the whole update"),
        ("LORA", {"init_lora_weights": "pissa"}, "initialized by pissa"),
        ("LORA", {"lora_bias": True}, "is scaled with its factors"),
    ],
)
def test_what_can_not_be_truncated_is_refused(kind, options, message, saved, tmp_path):
    folder, _ = saved(kind, **options)
    with pytest.raises(InputError, match=message):
        truncate(folder, tmp_path / "new", rank=2)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "either a rank or an energy"),
        ({"rank": 2, "energy": 0.5}, "either a rank or an energy"),
        ({"rank": -1}, "rank=-1"),
        ({"rank": 0}, "rank=0"),
        ({"energy": 1.5}, "energy=1.5"),
    ],
)
def test_values_that_can_not_be(options, message, saved, tmp_path):
    with pytest.raises(InputError, match=message):
        truncate(saved()[0], tmp_path / "new", **options)


def test_from_the_command_line(saved, run, tmp_path):
    folder, _ = saved()
    code, out, _ = run("resize", folder, "--rank", 2, "--out", tmp_path / "new")
    assert code == 0
    assert "rank 2 for 6 weights" in out
    assert "at least, in model.layers." in out
    assert json.loads((tmp_path / "new" / "adapter_config.json").read_text())["r"] == 2
    assert run("resize", folder, "--energy", 0.9, "--out", tmp_path / "by_energy")[0] == 0
    code, _, err = run("resize", folder, "--rank", 2, "--out", tmp_path / "new")
    assert code == 2
    assert "exists; name a new folder" in err
