"""Truncation: reduce a LoRA's rank by a truncated SVD of its update, saved in plain peft's layout.

The truncation is the nearest matrix of that rank (Eckart & Young 1936), computed from the factors
without forming the update. Only evaluation shows whether the task needs the removed part.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from peftlens.adapters.adapter_config import PREFIX
from peftlens.adapters.adapter_file import CONFIG, WEIGHTS, AdapterFile, read, write_weights
from peftlens.adapters.delta_factors import DeltaFactors, Float, delta_factors
from peftlens.adapters.opening import refuse_existing
from peftlens.adapters.tensor_names import misplaced
from peftlens.errors import InputError, require
from peftlens.io.files import new_folder
from peftlens.numerics.linalg import energy_rank
from peftlens.results.table import NotApplicable

_FACTOR_ENDS = ("lora_A.weight", "lora_B.weight", "lora_A.default.weight", "lora_B.default.weight",
                "lora_embedding_A", "lora_embedding_B")  # fmt: skip
# Fields of initializations, which have no effect on trained factors.
_OF_INITIALIZATION = ("loftq_config", "eva_config", "corda_config", "lora_ga_config")
# Parts of names by transformers 4 that peft converts for transformers 5.
_CONVERTED = ("block_sparse_moe.", "language_model.model.", ".experts.")


@dataclass(frozen=True)
class Truncation:
    """Truncation of one weight's update.

    Attributes:
        weight: name of the weight.
        rank: rank before.
        kept: rank after.
        energy: retained share of ‖ΔW‖_F²; 1 for an update of zero.
    """

    weight: str
    rank: int
    kept: int
    energy: float


def truncate(
    adapter: str | Path,
    out: str | Path,
    *,
    rank: int | None = None,
    energy: float | None = None,
    trust_remote_code: bool = False,
) -> list[Truncation]:
    """Write a copy of an adapter with a lower rank.

    Args:
        adapter: folder of a LoRA.
        out: folder of the new adapter, which must not exist.
        rank: new rank of every weight with a higher one.
        energy: alternatively, the share of each weight's ‖ΔW‖_F² to retain, with the lowest rank.
        trust_remote_code: whether its configuration may name Python code to import.

    Returns:
        Old rank, new rank and retained energy of each weight's update.

    Raises:
        InputError: neither or both of rank and energy are set, the adapter is not a LoRA, its
            factors are not the whole update, or `out` exists.
    """
    if (rank is None) == (energy is None):
        raise InputError("give either a rank or an energy, such as --rank 8 or --energy 0.95")
    require("rank", 1 if rank is None else rank, 1)
    require("energy", energy or 1, 0, 1, "it is a share")
    refuse_existing(Path(out))
    file = read(Path(adapter), trust_remote_code=trust_remote_code)
    _refuse(file)
    report, tensors, ranks = [], _others(file), {}
    try:
        for one in delta_factors(file):
            kept = _kept(one, rank, energy)
            module = one.name.removesuffix(".weight")
            ranks[module] = kept
            tensors |= _factors(one, kept, module, file)
            share = float((one.values[:kept] ** 2).sum()) / one.norm**2 if one.norm else 1.0
            report.append(Truncation(one.name, one.rank or 0, kept, share))
    except NotApplicable as reason:
        raise InputError(f"{adapter} can't be resized: {reason}") from reason
    if not report:
        raise InputError(f"{adapter} can't be resized: it holds no pairs of factors")
    _refuse_unequal(file, ranks)
    with new_folder(Path(out)) as folder:
        metadata = {"format": "pt"} | file.metadata
        write_weights(tensors, folder / WEIGHTS, metadata)
        text = json.dumps(_config(file.config, ranks), indent=2, sort_keys=True)
        (folder / CONFIG).write_text(text + "\n", encoding="utf-8")
        read(folder, trust_remote_code=trust_remote_code)
    return report


def _refuse(file: AdapterFile) -> None:
    """Refuse adapters whose update is not a product of two matrices."""
    if file.non_finite_tensors:
        file.require_sound()
    if names := [name for names in misplaced(file).values() for name in names]:
        raise InputError(
            f"{file.folder} can't be resized: peft finds no place for {names[0]}; see `peftlens "
            "inspect`"
        )
    config = file.config
    if file.adapter_type != "LORA":
        raise InputError(
            f"{file.folder} is of type {file.adapter_type}; only a LoRA has a rank to lower"
        )
    for option, why in (
        ("use_dora", "its lengths belong to the whole update"),
        ("target_parameters", "it adapts parameters that are not plain matrices"),
        ("layer_replication", "several layers share one factor"),
        ("alora_invocation_tokens", "it is active only after certain tokens"),
    ):
        if config.get(option):
            raise InputError(f"{file.folder} has {option}, and can't be resized: {why}")
    weights = {name: one.shape for name, one in file.header.items() if "lora_" in name}
    if deep := [name for name, shape in weights.items() if len(shape) > 2]:
        raise InputError(f"{file.folder} can't be resized: {deep[0]} belongs to a convolution")


def _refuse_unequal(file: AdapterFile, ranks: Mapping[str, int]) -> None:
    """Refuse unequal ranks under names that peft converts: it looks up ranks by the new names."""
    old = [name for name in ranks if any(part in name for part in _CONVERTED)]
    if old and len({*ranks.values()}) > 1:
        raise InputError(
            f"{file.folder} can't be resized to unequal ranks: peft converts names such as "
            f"{old[0]} while loading; give one --rank for all"
        )


def _kept(one: DeltaFactors, rank: int | None, energy: float | None) -> int:
    most = min(one.rank or 1, *one.shape)
    if rank is not None:
        return min(rank, most)
    assert energy is not None
    return min(energy_rank(one.values, energy), most) if one.norm else 1


def _factors(
    one: DeltaFactors, kept: int, module: str, file: AdapterFile
) -> dict[str, torch.Tensor]:
    """Compute B and A of the truncated update at scale 1, each with the singular values' roots."""
    svd = one.svd
    half = np.sqrt(svd.s[:kept])
    b, a = svd.u[:, :kept] * half, half[:, None] * svd.vt[:kept]
    ends = {"B": ("lora_B.weight", "lora_B.default.weight"),
            "A": ("lora_A.weight", "lora_A.default.weight")}  # fmt: skip
    if not any(_name(file, module, end) for end in ends["A"]):  # an embedding: see `delta_factors`
        ends = {side: (f"lora_embedding_{side}",) for side in "BA"}
        b, a = a.T, b.T
    names = {
        side: next(name for end in several if (name := _name(file, module, end)))
        for side, several in ends.items()
    }
    return {names[side]: _like(file, names[side], value) for side, value in (("B", b), ("A", a))}


def _name(file: AdapterFile, module: str, end: str) -> str | None:
    """Return the name of a factor in the file; some files lack the prefix."""
    names = (f"{PREFIX}{module}.{end}", f"{module}.{end}")
    return next((name for name in names if name in file.header), None)


def _like(file: AdapterFile, name: str, value: Float) -> torch.Tensor:
    with file.open_weights() as opened:
        dtype = opened.get_slice(name)[:1].dtype
    return torch.from_numpy(np.ascontiguousarray(value)).to(dtype)


def _others(file: AdapterFile) -> dict[str, torch.Tensor]:
    """Read the tensors that are not truncated: biases, full layers, trained tokens."""
    with file.open_weights() as opened:
        others = {
            name: opened.get_tensor(name) for name in file.header if not name.endswith(_FACTOR_ENDS)
        }
    if biased := [name for name in others if name.endswith("lora_B.bias")]:
        raise InputError(f"{file.folder} can't be resized: {biased[0]} is scaled with its factors")
    return others


def _config(config: Mapping[str, Any], ranks: Mapping[str, int]) -> dict[str, Any]:
    """Make the configuration with the new ranks; the scale alpha / r is 1 everywhere.

    peft takes the keys of a pattern as regular expressions for the end of a name.
    """
    usual = max(ranks.values())
    others = {f"^{re.escape(module)}": rank for module, rank in ranks.items() if rank != usual}
    kept = {name: value for name, value in config.items() if name not in _OF_INITIALIZATION}
    return kept | {
        "r": usual,
        "lora_alpha": usual,
        "use_rslora": False,
        "rank_pattern": others,
        "alpha_pattern": others,
        "init_lora_weights": True,
    }
