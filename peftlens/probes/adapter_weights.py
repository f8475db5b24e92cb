"""Contents of an adapter file per module: tensor sizes, and the spectrum of the update.

It needs no base model. Where the file alone determines the update of a weight (LoRA, AdaLoRA, LoHa,
LoKr), the singular values of ΔW are computed exactly from its factors; otherwise
`spectrum_unavailable` gives the reason, as for DoRA, whose rescaling of rows requires the base.
"""

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from peft.mapping import PEFT_TYPE_TO_PREFIX_MAPPING

from peftlens.adapters.adapter_config import PREFIX
from peftlens.adapters.adapter_file import AdapterFile, read
from peftlens.adapters.delta_factors import DeltaFactors, delta_factors
from peftlens.adapters.run_context import RunContext
from peftlens.numerics.linalg import effective_rank, energy_rank, stable_rank
from peftlens.results.table import Chart, Column, NotApplicable
from peftlens.runs.trained_model import TrainedModel

REQUIRES = frozenset()
VERSION = 3
OPTIONAL = True  # meant for single adapters; in a study, delta_spectrum is more informative
COLUMNS = (
    Column("module", "name of the base's module, or shared for tensors of all modules"),
    Column("layer", "number of the block in the module's name; missing outside of the blocks"),
    Column("role", "last part of the module's name, such as q_proj"),
    Column("tensors", "number of tensors in the file"),
    Column("n_values", "number of values in these tensors", "1"),
    Column("bytes", "size of these tensors", "bytes"),
    Column("dtype", "data types of these tensors"),
    Column("largest", "largest absolute value", "1"),
    Column("zero", "number of tensors with zeros only"),
    Column("not_finite", "number of tensors with NaN or infinite values"),
    Column("rank", "nominal rank r"),
    Column("norm", "‖ΔW‖_F", "1"),
    Column("stable_rank", "‖ΔW‖_F² / ‖ΔW‖₂²", "1"),
    Column("effective_rank", "exponential of the entropy of the normalized singular values", "1"),
    Column("k90", "number of singular values needed for 90 % of ‖ΔW‖_F²", "1"),
    Column("k95", "number of singular values needed for 95 % of it", "1"),
    Column("k99", "number of singular values needed for 99 % of it", "1"),
    Column("spectrum_unavailable", "reason for missing singular values of the update"),
)
CHARTS = (
    Chart(
        "heatmap", x="layer", y="role", value="norm", title="Size of the update ‖ΔW‖_F",
        each="configuration",
    ),
    Chart(
        "heatmap", x="layer", y="role", value="effective_rank",
        title="Effective rank of the update", each="configuration",
    ),
)  # fmt: skip
_COUNTS = ("layer", "rank", "k90", "k95", "k99")
_NUMBERS = ("largest", "norm", "stable_rank", "effective_rank")


def measure(context: RunContext, run: TrainedModel) -> pd.DataFrame:
    """Return one row per module in the file, in the order of the model.

    Raises:
        NotApplicable: no parameter was trained.
    """
    if run.record.results.get("trainable_parameters") == 0:
        raise NotApplicable(f"{run.config.method} trains nothing")
    file = read(run.adapter(), trust_remote_code=context.trust_remote_code)
    spectra, reason = _spectra(file)
    rows = [
        {"module": module, **_position(module), **sizes, "spectrum_unavailable": reason}
        | spectra.get(f"{module}.weight", {})
        for module, sizes in _sizes(file)
    ]
    frame = pd.DataFrame(rows).reindex(columns=[column.name for column in COLUMNS])
    return frame.astype(dict.fromkeys(_COUNTS, "Int64") | dict.fromkeys(_NUMBERS, "Float64"))


def _position(module: str) -> dict[str, Any]:
    number = re.search(r"\.(\d+)\.", module)
    return {"layer": number and int(number[1]), "role": module.rpartition(".")[2]}


def _sizes(file: AdapterFile) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each module with the sizes of its tensors."""
    groups: dict[str, list[str]] = {}
    for name in file.header:
        groups.setdefault(_module(name, file), []).append(name)
    with file.open_weights() as opened:
        for module, names in sorted(groups.items(), key=lambda item: _natural(item[0])):
            tensors = [file.tensor(opened, name) for name in names]
            finite = [one for one in tensors if one.isfinite().all()]
            highest = [float(one.abs().max()) for one in finite if one.numel()]
            yield (
                module,
                {
                    "tensors": len(names),
                    "n_values": sum(one.numel() for one in tensors),
                    "bytes": sum(one.nbytes for one in tensors),
                    "dtype": " ".join(sorted({file.header[name].dtype for name in names})),
                    "largest": max(highest, default=None),
                    "zero": sum(not one.any() for one in tensors),
                    "not_finite": len(tensors) - len(finite),
                },
            )


def _natural(module: str) -> list[tuple[int, int | str]]:
    """Build a sort key with layer 10 after layer 9; the file's order is lexicographic."""
    return [(0, int(part)) if part.isdigit() else (1, part) for part in module.split(".")]


def _module(name: str, file: AdapterFile) -> str:
    """Strip the adapter's part from a tensor's name."""
    parameter = name.removeprefix(PREFIX)
    if file.is_peft_type:
        stem = next(
            (p for k, p in PEFT_TYPE_TO_PREFIX_MAPPING.items() if k == file.adapter_type), None
        )
        if stem and (match := re.match(rf"(?:(.+?)\.)?(?:base_model\.)?{stem}", parameter)):
            return match[1] or "shared"
    return parameter.removesuffix(".weight").removesuffix(".bias")


def _spectra(file: AdapterFile) -> tuple[dict[str, dict[str, Any]], str | None]:
    """Compute the spectrum per weight, or the reason for its absence."""
    if file.non_finite_tensors:
        return {}, "the file has NaN or infinite values"
    try:
        spectra = {factors.name: _spectrum(factors) for factors in delta_factors(file)}
    except NotApplicable as reason:
        return {}, str(reason)
    return spectra, None


def _spectrum(factors: DeltaFactors) -> dict[str, Any]:
    values = np.asarray(factors.values, float)
    if not values.any():
        return {"rank": factors.rank, "norm": 0.0}
    return {
        "rank": factors.rank,
        "norm": factors.norm,
        "stable_rank": stable_rank(values),
        "effective_rank": effective_rank(values),
    } | {f"k{share}": energy_rank(values, share / 100) for share in (90, 95, 99)}
