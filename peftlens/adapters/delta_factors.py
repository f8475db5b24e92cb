"""Factors of the weight updates ΔW, read from an adapter's file alone, without the base model.

LoRA and its variants save matrices whose products are the update, so its singular values follow
exactly without the base weight. AdaLoRA: B diag(E) A; LoHa: the elementwise product of two low-rank
matrices, whose factors are all products of their columns (Hyeon-Woo et al. 2021, arXiv:2108.06098,
proposition 1); LoKr: a Kronecker product, (w₁ ⊗ w₂a)(I ⊗ w₂b).
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from peft.utils.other import get_pattern_key
from sklearn.utils.extmath import randomized_svd

from peftlens.adapters.adapter_config import DEFAULT_RANK, PREFIX
from peftlens.adapters.adapter_file import HOLDING, AdapterFile
from peftlens.adapters.expert_factors import (
    expert_count,
    expert_name,
    parameter_of,
    plain_name,
    split_experts,
)
from peftlens.io.progress import track
from peftlens.numerics.linalg import Svd, product_svd
from peftlens.results.table import NotApplicable

_ALPHA = 8  # peft's default of alpha and lora_alpha
LARGEST = 2048  # largest smaller side of a matrix with a full SVD, which takes seconds
LEADING = 256  # number of singular values of a larger one, by random projection

Float = NDArray[np.floating]


@dataclass(frozen=True, kw_only=True)
class DeltaFactors:
    """The update of one weight matrix, dense or as factors, with its singular values.

    Attributes:
        name: name of the weight in the base model.
        change: ΔW, float32, shape (d_out, d_in); None if given by factors.
        factors: scale · B, shape (d_out, r), and A, shape (r, d_in), float64.
        rank: nominal rank in the method's configuration; None for methods without one.
    """

    name: str
    change: Float | None = None
    factors: tuple[Float, Float] | None = None
    rank: int | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Shape (d_out, d_in) of the weight."""
        if self.factors is not None:
            return self.factors[0].shape[0], self.factors[1].shape[1]
        assert self.change is not None
        return self.change.shape[0], self.change.shape[1]

    @property
    def exact(self) -> bool:
        """Whether all singular values are computed, and not only the largest."""
        return self.change is None or min(self.change.shape) <= LARGEST

    @cached_property
    def svd(self) -> Svd:
        """Singular values and vectors, largest first."""
        if self.factors is not None:
            return product_svd(*self.factors)
        assert self.change is not None
        if self.exact:
            return Svd(*np.linalg.svd(self.change, full_matrices=False))
        return Svd(*randomized_svd(self.change, LEADING, random_state=0))

    @cached_property
    def values(self) -> Float:
        """Singular values without vectors, which takes a third of the time."""
        if self.factors is not None:
            return product_values(*self.factors)
        if self.change is not None and self.exact:
            return np.linalg.svd(self.change, compute_uv=False)
        return self.svd.s

    @cached_property
    def norm(self) -> float:
        """Frobenius norm ‖ΔW‖_F."""
        return float(np.linalg.norm(self.values if self.change is None else self.change))

    @property
    def dense(self) -> Float:
        """Dense update ΔW, float32, shape (d_out, d_in)."""
        if self.factors is None:
            assert self.change is not None
            return self.change
        b, a = self.factors
        return b.astype(np.float32) @ a.astype(np.float32)


def product_values(b: Float, a: Float) -> Float:
    """Compute the singular values of B A, largest first: `linalg.product_svd` without vectors.

    Computed by torch, whose QR takes a quarter of NumPy's time where torch includes MKL.

    Args:
        b: shape (m, r), float64.
        a: shape (r, n), float64.
    """
    upper, lower = (
        torch.linalg.qr(torch.from_numpy(np.ascontiguousarray(side)), mode="r").R
        for side in (b, a.T)
    )
    return torch.linalg.svdvals(upper @ lower.T).numpy()


def delta_factors(file: AdapterFile, only: str | None = None) -> Iterator[DeltaFactors]:
    """Yield the update of each weight with factors in the file, in the file's order.

    Updates of zero are included: their `norm` is 0.

    Args:
        file: file of the adapter.
        only: name of a single weight to read.

    Raises:
        NotApplicable: this type's update depends on the base model, or it has none.
    """
    config = file.config
    marker, factors = _factors_of_type(file)
    with file.open_weights() as opened:
        targets = config.get("target_parameters") or ()
        modules = [
            (module, names)
            for module, names in _modules(file, marker).items()
            if targets or only in (None, f"{module}.weight")
        ]
        for module, names in track(modules, "Looking at factors"):
            parts = {
                end: opened.get_tensor(name).double().numpy()
                for end, name in names.items()
                if len(file.header[name].shape) == 2
            }
            parameter = parameter_of(module, [one for one, _ in modules], targets)
            if parameter:
                for one in _of_experts(parts, config, f"{plain_name(module)}.{parameter}"):
                    if only in (None, one.name):
                        yield one
            elif pair := factors(parts, config, module):
                yield DeltaFactors(
                    name=f"{module}.weight", factors=pair, rank=_rank(config, module, pair)
                )


def _of_experts(parts: "Parts", config: Mapping[str, Any], name: str) -> Iterator[DeltaFactors]:
    """Yield the update of each expert in a stacked weight, or of a weight in no linear layer."""
    b, a = parts["B"], parts["A"]
    rank = _by_pattern(config.get("rank_pattern"), name, config.get("r"))
    count = expert_count(a.shape[0], rank)
    for expert, (left, right) in enumerate(split_experts(b, a, count)):
        pair = scale(config, name, right.shape[0]) * left, right
        title = expert_name(name, expert if count > 1 else None)
        yield DeltaFactors(name=title, factors=pair, rank=right.shape[0])


def weights(file: AdapterFile) -> tuple[str, ...]:
    """Return the names of the weights whose updates `delta_factors` yields.

    Raises:
        NotApplicable: see `delta_factors`.
    """
    return tuple(one.name for one in delta_factors(file))


def _factors_of_type(file: AdapterFile) -> "tuple[str, Factors]":
    if file.adapter_type == "LORA" and file.initialization in HOLDING:
        raise NotApplicable(
            f"initialized by {file.initialization}, its factors contain a part of the base "
            "weights; give the base model"
        )
    if reason := _beyond_factors(file):
        raise NotApplicable(f"{reason}; give the base model")
    if file.adapter_type not in _FACTORS:
        raise NotApplicable(
            f"{file.adapter_type}: its file alone does not determine the update of a weight"
        )
    return _FACTORS[file.adapter_type]


# Options of a LoRA by which its update is more than scale · B A: the reason.
_VARIANTS = {
    "use_dora": "DoRA rescales the rows of each weight to trained lengths",
    "use_qalora": "QA-LoRA pools the inputs of A",
    "use_bdlora": "BD-LoRA's factors are blocks of a diagonal",
    "kasa_config": "KaSA removes directions of the base weights",
    "arrow_config": "Arrow chooses among several adapters by the input",
    "monteclora_config": "MonteCLoRA's factors are drawn",
}


def _beyond_factors(file: AdapterFile) -> str | None:
    """Describe what a LoRA's update has besides its factors, if anything."""
    if file.adapter_type != "LORA":
        return None
    if any("lora_magnitude_vector" in name for name in file.header):
        return _VARIANTS["use_dora"]
    return next((why for name, why in _VARIANTS.items() if file.config.get(name)), None)


def _modules(file: AdapterFile, marker: str) -> dict[str, dict[str, str]]:
    """Group the tensors by module; keys are the parts of their names after the marker."""
    modules: dict[str, dict[str, str]] = {}
    for name in file.header:
        module, mark, end = name.removeprefix(PREFIX).rpartition(f".{marker}")
        if mark:
            # behind a part peft accepts the weight and the name of the only adapter
            part = end.removesuffix(".weight").removesuffix(".default")
            modules.setdefault(module, {})[part] = name
    return modules


def _rank(config: Mapping[str, Any], module: str, pair: tuple[Float, Float]) -> int:
    """Return the nominal rank: from the configuration for LoHa and LoKr, else from the factors."""
    rank = config.get("r") if config.get("peft_type") in ("LOHA", "LOKR") else None
    if rank is None:
        return pair[1].shape[0]
    return _by_pattern(config.get("rank_pattern"), module, rank)


def _by_pattern(pattern: Mapping[str, Any] | None, module: str, otherwise: Any) -> Any:
    """Look up a module's value in a pattern of the configuration."""
    values = pattern or {}
    return values.get(get_pattern_key(list(values), module), otherwise)


Parts = Mapping[str, Float]
Factors = Callable[[Parts, Mapping[str, Any], str], tuple[Float, Float] | None]


def _lora(parts: Parts, config: Mapping[str, Any], module: str) -> tuple[Float, Float] | None:
    b, a = (parts.get("B"), parts.get("A"))
    if "embedding_A" in parts and "embedding_B" in parts:  # (r, V) and (d, r): a table's rows
        b, a = parts["embedding_A"].T, parts["embedding_B"].T
    if b is None or a is None:
        return None
    return scale(config, module, a.shape[0]) * b, a


def scale(config: Mapping[str, Any], module: str, rank: int) -> float:
    """Return the scale of LoRA's B A: alpha / r, or alpha / sqrt(r).

    Source of the latter: Kalajdzievski 2023, arXiv:2312.03732.

    Args:
        config: configuration of the adapter.
        module: name of the module.
        rank: r of the module.
    """
    alpha = _by_pattern(config.get("alpha_pattern"), module, config.get("lora_alpha", _ALPHA))
    return alpha / (rank**0.5 if config.get("use_rslora") else rank)


def _adalora(
    parts: Parts,
    config: Mapping[str, Any],
    module: str,  # noqa: ARG001
) -> tuple[Float, Float] | None:
    if not {"A", "B", "E"} <= parts.keys():
        return None
    a, b, e = parts["A"], parts["B"], parts["E"]
    # as in peft: lora_alpha or r over r, plus a small number so that the divisor is never zero
    given = config.get("lora_alpha", _ALPHA)
    alpha = given if given > 0 else a.shape[0]
    return alpha / (a.shape[0] + 1e-5) * b, e * a


def _loha(parts: Parts, config: Mapping[str, Any], module: str) -> tuple[Float, Float] | None:
    if "t1" in parts or not {"w1_a", "w1_b", "w2_a", "w2_b"} <= parts.keys():
        return None
    left = np.einsum("mi,mj->mij", parts["w1_a"], parts["w2_a"])
    right = np.einsum("in,jn->ijn", parts["w1_b"], parts["w2_b"])
    rows, columns = left.shape[0], right.shape[2]
    return _alpha_over_rank(config, module) * left.reshape(rows, -1), right.reshape(-1, columns)


def _lokr(parts: Parts, config: Mapping[str, Any], module: str) -> tuple[Float, Float] | None:
    if "w1" not in parts and not {"w1_a", "w1_b"} <= parts.keys():
        return None
    one = parts["w1"] if "w1" in parts else parts["w1_a"] @ parts["w1_b"]
    if "w2" in parts:
        left, right = parts["w2"], np.eye(parts["w2"].shape[1])
    elif {"w2_a", "w2_b"} <= parts.keys() and "t2" not in parts:
        left, right = parts["w2_a"], parts["w2_b"]
    else:
        return None
    scaled = _alpha_over_rank(config, module) * one
    return np.kron(scaled, left), np.kron(np.eye(one.shape[1]), right)


def _alpha_over_rank(config: Mapping[str, Any], module: str) -> float:
    rank = _by_pattern(config.get("rank_pattern"), module, config.get("r", DEFAULT_RANK))
    return _by_pattern(config.get("alpha_pattern"), module, config.get("alpha", _ALPHA)) / rank


# By type: the marker before the last part of its tensors' names, and the function for factors.
_FACTORS: dict[str, tuple[str, Factors]] = {
    "LORA": ("lora_", _lora),
    "ADALORA": ("lora_", _adalora),
    "LOHA": ("hada_", _loha),
    "LOKR": ("lokr_", _lokr),
}
