"""Adapters of every type of peft that a tiny Llama can have, made and saved by plain peft."""

import json
import warnings
from functools import cache
from pathlib import Path

import peft
import torch
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
from tiny import build

# What the defaults are too large for on a tiny model.
OPTIONS = {
    "ADALORA": {"total_step": 10},
    "ADAPTION_PROMPT": {"adapter_len": 4, "adapter_layers": 2},
    "C3A": {"block_size": 8},
    "FOURIERFT": {"n_frequency": 50},
    "IA3": {"feedforward_modules": []},
    "MISS": {"r": 4},
    "SHIRA": {"r": 2},
    "PSOFT": {"r": 4},
    "ROAD": {"group_size": 8},
    "VBLORA": {"vector_length": 8, "num_vectors": 16, "topk": 2},
    "WAVEFT": {"n_frequency": 50},
    "TRAINABLE_TOKENS": {"token_indices": [5, 6], "target_modules": ["embed_tokens"]},
}
UNBUILDABLE = {"XLORA"}  # of other adapters; it is tested on its own
TYPES = sorted(str(kind.value) for kind in PEFT_TYPE_TO_CONFIG_MAPPING)
BUILDABLE = [kind for kind in TYPES if kind not in UNBUILDABLE]


def config(kind: str, **changes):
    cls = PEFT_TYPE_TO_CONFIG_MAPPING[peft.PeftType(kind)]
    options = OPTIONS.get(kind, {}) | changes
    if issubclass(cls, peft.PromptLearningConfig):
        options = {"num_virtual_tokens": 4} | options
    elif kind != "ADAPTION_PROMPT":
        options = {"target_modules": ["q_proj", "v_proj"]} | options
    return cls(task_type="CAUSAL_LM", **options)


def wrapped(kind: str, base: str = "llama", **changes):
    """A model with a new adapter whose every trained number has been moved."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = peft.get_peft_model(build(base), config(kind, **changes))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad and parameter.is_floating_point():
                noise = torch.randn(parameter.shape, generator=generator)
                parameter += 0.05 * noise.to(parameter.dtype)
    return model.eval()


def save(model, folder: Path, base: str) -> Path:
    """By plain peft, with the base's name put in."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.save_pretrained(folder)
    edit(folder, base_model_name_or_path=base)
    return folder


def edit(folder: Path, **changes) -> None:
    """Change what an adapter's configuration says."""
    file = folder / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


@cache
def deltas(model) -> dict[str, torch.Tensor]:
    """ΔW of every layer as peft itself has it, float64, as (d_out, d_in)."""
    found = {}
    for name, layer in model.get_base_model().named_modules():
        if hasattr(layer, "get_delta_weight"):
            found[f"{name}.weight"] = layer.get_delta_weight("default").detach().double()
    return found
