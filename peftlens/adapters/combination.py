"""Combination: one LoRA from several adapters of one base, whatever their types.

All but `linear` combine the updates ΔW, as their papers do. `linear` is peft's, which sums the
factors: √(w s) A and √(w s) B of each adapter with weight w and scale s. Their product has the sum
of the updates and, for every pair of adapters, the products of one's B with the other's A, which
nobody trained. TIES and DARE are those of `peft.utils.merge_utils`, applied to the updates in
float64, as peft's `ties_svd` and `dare_linear_svd` are.

Source: Ilharco et al. 2023, arXiv:2212.04089 (sums); Yadav et al. 2023, arXiv:2306.01708, section 4
(TIES); Yu et al. 2024, arXiv:2311.03099, section 3 (DARE).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from peft.utils import merge_utils

from peftlens.adapters.adapter_file import read
from peftlens.adapters.conversion import UpdateSpectrum, decompose
from peftlens.adapters.delta_factors import scale
from peftlens.adapters.plain_lora import LoraFactors
from peftlens.adapters.weight_changes import Lost, ModuleUpdate, changes_of_run
from peftlens.errors import InputError, require, suggestion
from peftlens.io.progress import track
from peftlens.models.base_model import BaseModel
from peftlens.models.heads import seeded
from peftlens.numerics.linalg import Svd, product_svd
from peftlens.runs.trained_model import TrainedModel

How = Literal["linear", "ties", "dare", "svd", "cat"]
_DENSITY: dict[str, float] = {"ties": 0.2, "dare": 0.5}  # TIES: the paper's; DARE: half is dropped
Float = NDArray[np.floating]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How adapters are combined.

    Attributes:
        how: `cat` is the exact weighted sum of the updates, by concatenated factors; `svd` is that
            sum, truncated; `ties` trims each update to its largest entries and averages those of
            the majority's sign; `dare` drops entries at random and rescales the others; `linear` is
            peft's sum of factors, which is not the sum of the updates.
        weights: weight of each adapter; by default 1 for all.
        density: share of entries that `ties` and `dare` keep; by default 0.2 and 0.5.
        rank: rank of every module for `ties`, `dare` and `svd`; by default the sum of the adapters'
            ranks there.
        seed: seed by which `dare` drops entries.
    """

    how: How = "cat"
    weights: tuple[float, ...] = ()
    density: float | None = None
    rank: int | None = None
    seed: int = 0

    def check(self, count: int) -> None:
        """Refuse what does not fit.

        Args:
            count: number of adapters.

        Raises:
            InputError: an option is out of range, or belongs to another way of combining.
        """
        if self.how not in get_args(How):
            raise InputError(f"how={self.how!r}: {suggestion(self.how, get_args(How))}")
        if count < 2:
            raise InputError("combining needs two adapters or more")
        if self.weights and len(self.weights) != count:
            raise InputError(
                f"there are {len(self.weights)} weights for {count} adapters; give one for each"
            )
        for weight in self.weights:
            require("weight", weight, -1e6, 1e6)
        self._check_own_options()

    def _check_own_options(self) -> None:
        """Refuse options that another way of combining has."""
        if self.rank is not None:
            require("rank", self.rank, 1)
            if self.how in ("linear", "cat"):
                raise InputError(f"--rank does not apply to {self.how}; use svd to truncate a sum")
        if self.density is not None:
            if self.how not in _DENSITY:
                raise InputError(f"--density applies to ties and dare, not to {self.how}")
            if not 0 < self.density <= 1:
                raise InputError(f"density={self.density:g} must be above 0 and at most 1")

    def of(self, count: int) -> tuple[float, ...]:
        """Return the weights of all adapters."""
        return self.weights or (1.0,) * count


@dataclass(frozen=True, kw_only=True)
class CombinedUpdate:
    """The combined update of one module.

    Attributes:
        factors: its factors.
        norm: ‖ΔW‖_F of the combination before it was truncated.
        energy: share of its square that the factors keep.
    """

    factors: LoraFactors
    norm: float
    energy: float


@dataclass(frozen=True, kw_only=True)
class AdapterUpdates:
    """Updates of one adapter.

    Attributes:
        run: the adapter.
        modules: its updates by module; a tied head has its table's.
        lost: its changes that a LoRA can't carry.
    """

    run: TrainedModel
    modules: Mapping[str, UpdateSpectrum]
    lost: tuple[Lost, ...]

    @classmethod
    def of(cls, run: TrainedModel, base: BaseModel) -> "AdapterUpdates":
        """Read and decompose the updates of a run.

        Args:
            run: run of a method that can be merged.
            base: its base model in float32.

        Raises:
            InputError: see `changes_of_run`.
        """
        changes = changes_of_run(run, base)
        spectra = decompose(changes.updates)
        modules = {module: one for one in spectra for module in one.update.modules}
        return cls(run=run, modules=modules, lost=changes.lost)


def combine_adapters(adapters: Sequence[AdapterUpdates], recipe: Recipe) -> list[CombinedUpdate]:
    """Combine adapters of one base, module by module; what cancels altogether is left out.

    Raises:
        InputError: `linear` is asked of other than LoRAs of one rank.
    """
    if recipe.how == "linear":
        return combine_factors(adapters, recipe.of(len(adapters)))
    return combine_updates([one.modules for one in adapters], recipe)


def combine_updates(
    adapters: Sequence[Mapping[str, UpdateSpectrum]], recipe: Recipe
) -> list[CombinedUpdate]:
    """Combine the updates of several adapters, in the order of the first modules.

    Args:
        adapters: updates of each adapter; a module that one has not changed has an update of zero.
        recipe: how; not `linear`, which needs the factors as they were trained.
    """
    weights = recipe.of(len(adapters))
    modules = dict.fromkeys(module for one in adapters for module in one)
    combined = []
    with seeded(recipe.seed):
        for module in track(list(modules), "Combining updates"):
            parts = [one.get(module) for one in adapters]
            combined.append(_combined(module, parts, weights, recipe))
    return [one for one in combined if one is not None]


def _combined(
    module: str,
    parts: Sequence[UpdateSpectrum | None],
    weights: Sequence[float],
    recipe: Recipe,
) -> CombinedUpdate | None:
    present = [one for one in parts if one is not None]
    rank = recipe.rank or sum(len(one.svd.s) for one in present)
    if recipe.how in ("cat", "svd"):
        svd = _sum(parts, weights)
    else:
        dense = [_dense(one, present[0].update) for one in parts]
        combination = _sparse(dense, weights, recipe).numpy()
        svd = Svd(*np.linalg.svd(combination, full_matrices=False))
    floor = np.finfo(np.float32).eps * max(one.svd.s[0] for one in present)  # of what cancels
    rank = min(rank, int((svd.s > floor).sum()))
    norm = float(np.linalg.norm(svd.s))
    if not rank:
        return None  # the updates cancel
    update = present[0].update
    is_table = update.is_table[update.modules.index(module)]
    energy = min(1.0, float((svd.s[:rank] ** 2).sum()) / norm**2)
    factors = LoraFactors.of_svd(module, svd, rank, is_table)
    return CombinedUpdate(factors=factors, norm=norm, energy=energy)


def _sum(parts: Sequence[UpdateSpectrum | None], weights: Sequence[float]) -> Svd:
    """Decompose Σ w ΔW by concatenated factors, (d_out, Σ r) and (Σ r, d_in), in float64."""
    pairs = [(one.svd, weight) for one, weight in zip(parts, weights, strict=True) if one]
    b = np.hstack([weight * svd.u.astype(float) * svd.s for svd, weight in pairs])
    return product_svd(b, np.vstack([svd.vt.astype(float) for svd, _ in pairs]))


def _dense(one: UpdateSpectrum | None, like: ModuleUpdate) -> torch.Tensor:
    """Return ΔW in float64, (d_out, d_in), or zeros."""
    if one is None:
        return torch.zeros(like.delta.shape, dtype=torch.float64)
    svd = one.svd
    return torch.from_numpy((svd.u.astype(float) * svd.s) @ svd.vt.astype(float))


def _sparse(dense: list[torch.Tensor], weights: Sequence[float], recipe: Recipe) -> torch.Tensor:
    """Combine updates (d_out, d_in) by TIES or DARE."""
    density = recipe.density or _DENSITY[recipe.how]
    factors = torch.tensor(weights, dtype=torch.float64)
    if density == 1:  # peft warns, and keeps everything
        if recipe.how == "dare":
            return merge_utils.task_arithmetic(dense, factors)
        stacked = torch.stack(dense)
        mask = merge_utils.calculate_majority_sign_mask(stacked)
        return merge_utils.disjoint_merge(stacked * factors[:, None, None], mask)
    function = merge_utils.ties if recipe.how == "ties" else merge_utils.dare_linear
    return function(dense, factors, density)


def combine_factors(
    adapters: Sequence[AdapterUpdates], weights: Sequence[float]
) -> list[CombinedUpdate]:
    """Sum the factors of LoRAs as peft's `linear` does; the sign of a weight goes to A.

    Args:
        adapters: the adapters.
        weights: weight of each.

    Raises:
        InputError: an adapter is no plain LoRA, or the ranks differ.
    """
    configs = [read(one.run.adapter()).config for one in adapters]
    combined = []
    for module in dict.fromkeys(module for one in adapters for module in one.modules):
        sides: list[tuple[Float, Float]] = []
        for one, config, weight in zip(adapters, configs, weights, strict=True):
            if module in one.modules:
                b, a = _factors(one, module)  # b has the scale s already
                s, root = scale(config, module, a.shape[0]), np.sqrt(abs(weight))
                sides.append((root / np.sqrt(s) * b, np.sign(weight) * root * np.sqrt(s) * a))
        update = next(one.modules[module] for one in adapters if module in one.modules).update
        combined.append(_linear(module, sides, update))
    return combined


def _factors(one: AdapterUpdates, module: str) -> tuple[Float, Float]:
    factors = one.modules[module].update.delta.factors
    if factors is None:
        raise InputError(
            f"{one.run.path} is no plain LoRA, so it has no factors to sum; use --how cat"
        )
    return factors


def _linear(
    module: str, sides: Sequence[tuple[Float, Float]], update: ModuleUpdate
) -> CombinedUpdate:
    ranks = [a.shape[0] for _, a in sides]
    if len({*ranks}) > 1:
        raise InputError(
            f"--how linear sums factors of one rank, and {module} has {ranks}; use --how cat"
        )
    is_table = update.is_table[update.modules.index(module)]
    b, a = (np.sum(side, axis=0) for side in zip(*sides, strict=True))
    norm = float(np.linalg.norm(product_svd(b, a).s))
    factors = LoraFactors(module=module, b=b, a=a, is_table=is_table)
    return CombinedUpdate(factors=factors, norm=norm, energy=1.0)
