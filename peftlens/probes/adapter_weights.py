"""What lies in an adapter's file, module by module: sizes, and the update's spectrum if it has it.

It needs no base. Where the file alone says what is added to a weight (LoRA, AdaLoRA, LoHa, LoKr),
the singular values of ΔW come exactly from its factors; otherwise `no_spectrum` says why not. Of
DoRA it is the update before lengths are set, which the base would be needed for.
"""

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from peft.mapping import PEFT_TYPE_TO_PREFIX_MAPPING

from peftlens.adapters.adapter_file import PREFIX, AdapterFile, read
from peftlens.adapters.delta_factors import DeltaFactors, delta_factors
from peftlens.adapters.run_context import RunContext
from peftlens.numerics.linalg import effective_rank, energy_rank, stable_rank
from peftlens.results.table import Chart, Column, NotApplicable
from peftlens.runs.trained_model import TrainedModel

REQUIRES = frozenset()
VERSION = 2
OPTIONAL = True  # for a look at one adapter; of a study delta_spectrum says more
COLUMNS = (
    Column("module", "of the base, or what all modules share"),
    Column("layer", "the number in the module's name; missing outside of the blocks"),
    Column("role", "the last part of the module's name, such as q_proj"),
    Column("tensors", "in the file"),
    Column("n_values", "in these", "1"),
    Column("bytes", "that they take", "bytes"),
    Column("dtype", "of the tensors"),
    Column("largest", "largest absolute value", "1"),
    Column("zero", "tensors that hold nothing but zeros"),
    Column("not_finite", "tensors that hold NaN or infinite values"),
    Column("rank", "nominal rank r"),
    Column("norm", "‖ΔW‖_F", "1"),
    Column("stable_rank", "‖ΔW‖_F² / ‖ΔW‖₂²", "1"),
    Column("effective_rank", "exp of the entropy of the singular values' shares", "1"),
    Column("k90", "singular values that hold 90 % of ‖ΔW‖_F²", "1"),
    Column("k95", "singular values that hold 95 % of it", "1"),
    Column("k99", "singular values that hold 99 % of it", "1"),
    Column("spectrum_unavailable", "why the update's singular values are not known"),
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
    """A row for each module that the file has anything of, in the model's order.

    Raises:
        NotApplicable: nothing was trained.
    """
    if run.record.results.get("trainable_parameters") == 0:
        raise NotApplicable(f"{run.config.method} trains nothing")
    file = read(run.adapter(), trust_remote_code=context.trust_remote_code)
    spectra, reason = _spectra(file)
    rows = [
        {"module": module, **_place(module), **sizes, "spectrum_unavailable": reason}
        | spectra.get(f"{module}.weight", {})
        for module, sizes in _sizes(file)
    ]
    frame = pd.DataFrame(rows).reindex(columns=[column.name for column in COLUMNS])
    return frame.astype(dict.fromkeys(_COUNTS, "Int64") | dict.fromkeys(_NUMBERS, "Float64"))


def _place(module: str) -> dict[str, Any]:
    number = re.search(r"\.(\d+)\.", module)
    return {"layer": number and int(number[1]), "role": module.rpartition(".")[2]}


def _sizes(file: AdapterFile) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each module, and what its tensors come to."""
    groups: dict[str, list[str]] = {}
    for name in file.header:
        groups.setdefault(_module(name, file), []).append(name)
    with file.open_weights() as opened:
        for module, names in sorted(groups.items(), key=lambda item: _natural(item[0])):
            tensors = [opened.get_tensor(name) for name in names]
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
    """A key by which layer 10 comes after layer 9; the file has them in the order of letters."""
    return [(0, int(part)) if part.isdigit() else (1, part) for part in module.split(".")]


def _module(name: str, file: AdapterFile) -> str:
    """Cut at the part of a tensor's name that is the adapter's."""
    own = name.removeprefix(PREFIX)
    if file.is_peft_type:
        stem = next(
            (p for k, p in PEFT_TYPE_TO_PREFIX_MAPPING.items() if k == file.adapter_type), None
        )
        if stem and (found := re.match(rf"(?:(.+?)\.)?(?:base_model\.)?{stem}", own)):
            return found[1] or "shared"
    return own.removesuffix(".weight").removesuffix(".bias")


def _spectra(file: AdapterFile) -> tuple[dict[str, dict[str, Any]], str | None]:
    """By weight; and why there are none."""
    if file.non_finite_tensors:
        return {}, "it holds NaN or infinite values"
    try:
        found = {one.name: _spectrum(one) for one in delta_factors(file)}
    except NotApplicable as reason:
        return {}, str(reason)
    return found, None


def _spectrum(one: DeltaFactors) -> dict[str, Any]:
    values = np.asarray(one.values, float)
    if not values.any():
        return {"rank": one.rank, "norm": 0.0}
    return {
        "rank": one.rank,
        "norm": one.norm,
        "stable_rank": stable_rank(values),
        "effective_rank": effective_rank(values),
    } | {f"k{share}": energy_rank(values, share / 100) for share in (90, 95, 99)}
