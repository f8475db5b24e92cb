import shutil

import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import torch

from peftlens.adapters.external import ExternalAdapter
from peftlens.errors import InputError
from peftlens.probes.rank_components import Config, measure, top_share
from peftlens.results.table import NotApplicable
from peftlens.tasks import task_of

FEW = Config(components=2, task_items=4, general_items=2, random=3)


@pytest.fixture(scope="module")
def rank_3(trained):
    return trained("lora", rank=3, learning_rate=0.02)


def test_a_lora_s_components(context, rank_3):
    frame = measure(context, rank_3, FEW)
    assert len(frame) == 12
    assert frame["block"].tolist() == [1] * 4 + [2] * 4 + [3] * 4
    assert (frame["part"] == "attention").all()
    for column in ("share", "top_share_task", "p_auc", "q_sparseness", "sparseness_random"):
        assert frame[column].between(0, 1).all(), column
    assert frame["auc"].between(0, 1).all()
    assert (frame["n_tokens_task"] > 20).all()
    assert (frame[["power_at_0.1", "power_at_0.4"]] == 0).all(axis=None)  # of so few random ones


def test_power_of_a_run_with_many_random_directions(context, rank_3):
    frame = measure(context, rank_3, Config(components=2, task_items=4, random=20))
    assert frame["power_at_0.4"].iloc[0] > frame["power_at_0.1"].iloc[0]


def test_the_most_active_token_is_that_of_a_plain_forward_pass(context, rank_3):
    frame = measure(context, rank_3, FEW)
    row = frame.iloc[-1]
    model, tokenizer = rank_3.load()
    layer = dict(model.named_modules())[f"base_model.model.{row['weight'].removesuffix('.weight')}"]
    b, a = (side["default"].weight.double() for side in (layer.lora_B, layer.lora_A))
    v = np.linalg.svd((b @ a).detach().numpy())[2][1]
    seen = []
    layer.register_forward_hook(lambda _, args, __: seen.append(args[0][0].detach().numpy() @ v))
    best = []
    for example in task_of(rank_3).splits["test"][:4]:
        ids = tokenizer(example.prompt + example.answers[example.correct])["input_ids"][:-1]
        with torch.no_grad():
            model(torch.tensor([ids]))
        at = 1 + int(np.abs(seen[-1][1:]).argmax())
        best.append((abs(seen[-1][at]), tokenizer.decode([ids[at]])))
    activation, token = max(best)
    assert abs(row["activation_task"]) == pytest.approx(activation, rel=1e-4)
    assert row["token_task"].replace("␣", " ") == token


def test_invariant_under_another_basis_of_the_same_update(context, rank_3, bases, tmp_path):
    """B M and M⁻¹ A are the same update."""
    file = tmp_path / "texts.txt"
    file.write_text("good 1 up\nbad 2 down\npoor 3 up\n")
    config = Config(components=3, task_items=3, general_items=2, random=3, texts=str(file))
    folder = shutil.copytree(rank_3.adapter(), tmp_path / "other")
    tensors = safetensors.torch.load_file(folder / "adapter_model.safetensors")
    generator = torch.Generator().manual_seed(3)
    for name in [name for name in tensors if "lora_A" in name]:
        mixing = torch.randn(3, 3, generator=generator, dtype=torch.float64)
        other = name.replace("lora_A", "lora_B")
        tensors[name] = (torch.linalg.inv(mixing) @ tensors[name].double()).float()
        tensors[other] = (tensors[other].double() @ mixing).float()
    safetensors.torch.save_file(tensors, folder / "adapter_model.safetensors", {"format": "pt"})
    same = shutil.copytree(rank_3.adapter(), tmp_path / "same")
    one, mixed = (
        measure(context, ExternalAdapter(path, str(bases["llama"])), config)
        for path in (same, folder)
    )
    clear = (one["separation"] > 0.02) & (one["value"] > 1e-3)
    assert clear.sum() > 9
    pd.testing.assert_frame_equal(one[clear], mixed[clear], rtol=2e-2, atol=2e-3)


def test_an_adapter_of_unknown_task_has_general_text_alone(context, rank_3, bases, tmp_path):
    folder = shutil.copytree(rank_3.adapter(), tmp_path / "adapter")
    frame = measure(context, ExternalAdapter(folder, str(bases["llama"])), FEW)
    assert frame["auc"].isna().all()
    assert frame["q_sparseness"].between(0, 1).all()


def test_share_of_the_largest_twentieth():
    values = np.ones(40)
    values[3] = -9
    assert top_share(values) == pytest.approx((81 + 1) / (81 + 39))


def test_what_can_not_be_measured_is_told(context, trained):
    with pytest.raises(NotApplicable, match="no weight matrix in the blocks"):
        measure(context, trained("embeddings"), FEW)
    for options in ({"components": 0}, {"random": 1}, {"task_items": 0}):
        with pytest.raises(InputError, match=next(iter(options))):
            measure(context, trained("lora", rank=2), Config(**options))
