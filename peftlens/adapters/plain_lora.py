"""Plain LoRA: write factors of weight updates as an adapter that peft, and servers, load."""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import peft
import torch
from numpy.typing import NDArray
from torch import nn
from transformers.pytorch_utils import Conv1D

from peftlens.adapters.adapter_config import PREFIX
from peftlens.adapters.adapter_file import BASE, CONFIG, VOCABULARY, WEIGHTS, write_weights
from peftlens.models.architecture import shapes, task_type
from peftlens.models.base_model import BaseModel
from peftlens.models.heads import head_modules, is_in_head
from peftlens.models.target_modules import short_names
from peftlens.numerics.linalg import Svd


@dataclass(frozen=True, kw_only=True)
class LoraFactors:
    """Factors of one module's update B A.

    Attributes:
        module: dotted name of the module in the base model.
        b: shape (d_out, r).
        a: shape (r, d_in).
        is_table: whether the module is a table of embeddings, of shape (tokens, d).
    """

    module: str
    b: NDArray[np.floating]
    a: NDArray[np.floating]
    is_table: bool = False

    @classmethod
    def of_svd(cls, module: str, svd: Svd, rank: int, is_table: bool = False) -> "LoraFactors":
        """Share the roots of the largest singular values between both factors."""
        half = np.sqrt(svd.s[:rank])
        b, a = svd.u[:, :rank] * half, half[:, None] * svd.vt[:rank]
        return cls(module=module, b=b, a=a, is_table=is_table)

    @property
    def rank(self) -> int:
        """Rank r."""
        return self.a.shape[0]

    @property
    def tensors(self) -> dict[str, torch.Tensor]:
        """Both factors in float32, as peft names and turns them."""
        b, a, ends = self.b, self.a, ("lora_A.weight", "lora_B.weight")
        if self.is_table:  # (r, tokens) and (d, r): peft adds the transposed product
            b, a, ends = self.a.T, self.b.T, ("lora_embedding_A", "lora_embedding_B")
        pairs = zip(ends, (a, b), strict=True)
        return {
            f"{PREFIX}{self.module}.{end}": torch.from_numpy(np.array(one, np.float32, order="C"))
            for end, one in pairs
        }


def write_plain_lora(
    factors: Sequence[LoraFactors],
    base: BaseModel,
    folder: Path,
    head: Mapping[str, torch.Tensor] | None = None,
) -> None:
    """Write adapter_config.json and adapter_model.safetensors; the scale alpha / r is 1 everywhere.

    Args:
        factors: factors of every module, at least one.
        base: the base model.
        folder: folder that exists and is empty.
        head: tensors of a new head, by the base's names.
    """
    tensors = {name: tensor for one in factors for name, tensor in one.tensors.items()}
    tensors |= {f"{PREFIX}{name}": tensor.contiguous() for name, tensor in (head or {}).items()}
    metadata = {"format": "pt"}
    if base.origin.vocabulary:
        metadata[VOCABULARY] = base.origin.vocabulary
    write_weights(tensors, folder / WEIGHTS, metadata)
    text = json.dumps(_config(factors, base), indent=2, sort_keys=True, default=sorted)
    (folder / CONFIG).write_text(text + "\n", encoding="utf-8")


def _config(factors: Sequence[LoraFactors], base: BaseModel) -> dict[str, Any]:
    """Make peft's configuration; it takes the keys of a pattern for ends of names, as expressions.

    An encoder that predicts masked tokens has no task type in peft.
    """
    ranks = {one.module: one.rank for one in factors}
    usual = Counter(ranks.values()).most_common(1)[0][0]
    others = {f"^{re.escape(module)}": rank for module, rank in ranks.items() if rank != usual}
    turned = any(isinstance(base.model.get_submodule(name), Conv1D) for name in ranks)
    config = peft.LoraConfig(
        r=usual,
        lora_alpha=usual,
        rank_pattern=others,
        alpha_pattern=others,
        target_modules=_targets(factors, base),
        modules_to_save=[*head_modules(base.model)] or None,
        fan_in_fan_out=turned,
        task_type=None if base.kind == "encoder" and not base.head else task_type(base.model),
        inference_mode=True,
        base_model_name_or_path=base.reference,
    )
    return config.to_dict() | {BASE: base.reference}


def _targets(factors: Sequence[LoraFactors], base: BaseModel) -> list[str]:
    """Return the shortest names by which peft finds these modules and no others."""
    tables = [one.module for one in factors if one.is_table]
    layers = [one.module for one in factors if not one.is_table]
    names = [*short_names(layers, shapes(base.model)), *tables]
    found = {
        name
        for name, module in base.model.named_modules()
        if isinstance(module, (nn.Linear, nn.Embedding, Conv1D))
        and not is_in_head(f"{name}.", base.model)
        and any(f".{name}".endswith(f".{end}") for end in names)
    }
    everything = [*layers, *tables]
    return names if found == {*everything} else everything
