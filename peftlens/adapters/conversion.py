"""Conversion: the factors of a LoRA for any change of weights, by truncated SVD within a budget.

The truncation of an update is the nearest matrix of its rank (Eckart & Young 1936). Singular values
that rounding of the weights to float32 explains are no part of the update.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from peftlens.adapters.delta_factors import LEADING
from peftlens.adapters.delta_weights import DeltaWeight
from peftlens.adapters.plain_lora import LoraFactors
from peftlens.adapters.weight_changes import ModuleUpdate
from peftlens.errors import InputError, require, require_positive
from peftlens.io.progress import track
from peftlens.numerics.linalg import Svd, gram_svd
from peftlens.numerics.rank_budget import allocate_ranks, rounding_floor

_NOISE = 2e-7  # of the largest singular value: what `gram_svd` can tell from nothing


@dataclass(frozen=True, kw_only=True)
class UpdateSpectrum:
    """An update with its singular values and vectors.

    Attributes:
        update: the update.
        svd: its decomposition, as far as it is known, without rounding errors.
        norm: ‖ΔW‖_F.
    """

    update: ModuleUpdate
    svd: Svd
    norm: float

    @property
    def cost(self) -> int:
        """Number of parameters of one rank."""
        return sum(self.update.delta.shape) * len(self.update.modules)

    def energy(self, rank: int) -> float:
        """Share of ‖ΔW‖_F² that a rank keeps."""
        return float((self.svd.s[:rank] ** 2).sum()) / self.norm**2

    def energy_rank(self, share: float) -> int:
        """Least rank that keeps a share of ‖ΔW‖_F².

        Raises:
            InputError: it needs more directions than are computed of a large matrix.
        """
        kept = np.cumsum(self.svd.s.astype(float) ** 2)
        needed = int(np.searchsorted(kept, share * self.norm**2 * (1 - 1e-9))) + 1
        if needed > len(kept):
            raise InputError(
                f"energy={share:g} of {self.update.delta.name} needs more than the {LEADING} "
                f"directions that are computed of so large a matrix; give --rank {LEADING} or less"
            )
        return needed


def decompose(updates: Sequence[ModuleUpdate]) -> list[UpdateSpectrum]:
    """Decompose updates; those that are nothing but rounding errors are left out."""
    spectra = []
    for update in track(updates, "Decomposing updates"):
        svd = _without_rounding(update.delta)
        if len(svd.s):
            known = update.delta.change is None or update.delta.exact
            norm = float(np.linalg.norm(svd.s.astype(float))) if known else update.delta.norm
            spectra.append(UpdateSpectrum(update=update, svd=svd, norm=norm))
    return spectra


def _without_rounding(delta: DeltaWeight) -> Svd:
    """Decompose an update, keep what is no rounding error, and store it in float32."""
    svd = gram_svd(delta.change) if delta.change is not None and delta.exact else delta.svd
    floor = _NOISE * svd.s.max(initial=0.0)
    if delta.change is not None:
        floor = max(floor, rounding_floor(delta.before, delta.change))
    rank = int((svd.s > floor).sum())
    cut = svd.u[:, :rank], svd.s[:rank], svd.vt[:rank]
    return Svd(*(one.astype(np.float32) for one in cut))


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What the converted adapter may cost; one of rank, energy and kl.

    Attributes:
        rank: rank of every module, or less where its update has less.
        energy: share of each module's ‖ΔW‖_F² that is kept, by the least rank.
        kl: largest divergence of the converted model from the original, nats per token.
        adaptive: whether the parameters of `rank` go to the strongest singular values of all
            modules, and the ranks differ.
    """

    rank: int | None = None
    energy: float | None = None
    kl: float | None = None
    adaptive: bool = False

    def check(self) -> None:
        """Refuse a budget that is no budget.

        Raises:
            InputError: none or several are given, or one is out of range.
        """
        if sum(one is not None for one in (self.rank, self.energy, self.kl)) != 1:
            raise InputError("give one budget: --rank 8, --energy 0.95, or --kl 0.01")
        if self.adaptive and self.rank is None:
            raise InputError("--adaptive shares the parameters of --rank; give --rank")
        if self.rank is not None:
            require("rank", self.rank, 1)
        if self.energy is not None:
            require("energy", self.energy, 0, 1, "it is a share")
        if self.kl is not None:
            require_positive("kl", self.kl)

    def ranks(self, spectra: Sequence[UpdateSpectrum]) -> list[int]:
        """Return the rank of each update for a budget of rank or energy."""
        if self.energy is not None:
            return [one.energy_rank(self.energy) for one in spectra]
        assert self.rank is not None
        if self.adaptive:
            values, costs = [one.svd.s for one in spectra], [one.cost for one in spectra]
            return allocate_ranks(values, costs, self.rank * sum(costs))
        return [min(self.rank, len(one.svd.s)) for one in spectra]


def lora_factors(spectra: Sequence[UpdateSpectrum], ranks: Sequence[int]) -> list[LoraFactors]:
    """Return the factors of the truncated updates; a module of rank 0 has none."""
    return [
        LoraFactors.of_svd(module, one.svd, rank, is_table)
        for one, rank in zip(spectra, ranks, strict=True)
        for module, is_table in zip(one.update.modules, one.update.is_table, strict=True)
        if rank
    ]
