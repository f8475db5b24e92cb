"""Convert: any change of weights as a plain LoRA, and what the conversion costs in behavior.

The least budget for a divergence is found by bisection on the share of energy that is given up, on
a logarithmic scale; each candidate is written, loaded by peft, and compared with the original.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd

from peftlens.adapters.conversion import Budget, UpdateSpectrum, decompose, lora_factors
from peftlens.adapters.external import ExternalAdapter
from peftlens.adapters.opening import is_whole_model, open_trained, refuse_existing
from peftlens.adapters.plain_lora import write_plain_lora
from peftlens.adapters.run_context import RunContext
from peftlens.adapters.weight_changes import (
    Lost,
    WeightChanges,
    changes_of_model,
    changes_of_run,
)
from peftlens.errors import InputError
from peftlens.inspection.behavior import Behavior, Measured
from peftlens.inspection.inspect import located
from peftlens.io.files import new_folder
from peftlens.models.base_model import BaseModel, load_base_model
from peftlens.results.table import html_of
from peftlens.runs.trained_model import TrainedModel

_MOST_DIGITS = 8.0  # of the energy: 1 − 1e-8 of it is all of it, in float32
_CLOSE = 0.01  # relative difference of two numbers of parameters at which bisection ends
_MOST_STEPS = 12


@dataclass(frozen=True, kw_only=True)
class Conversion:
    """Result of a conversion.

    Attributes:
        folder: folder of the new adapter.
        parameters: number of its parameters, without a head.
        energy: share of the squared norm of all changes that it keeps, the lost ones included.
        models: behavior of base, original and converted model; see `Behavior.table`.
        weights: norm, rank before and after, energy and parameters of each weight.
        lost: changes that a LoRA can't carry, with their share of the squared norm.
    """

    folder: Path
    parameters: int
    energy: float
    models: pd.DataFrame
    weights: pd.DataFrame
    lost: pd.DataFrame

    def _repr_html_(self) -> str:
        return html_of(self.models) + html_of(self.weights) + html_of(self.lost)


@dataclass(frozen=True)
class _Source:
    """What is converted: its base, its changes, and how its model is activated."""

    base: BaseModel
    changes: WeightChanges
    run: TrainedModel | None
    whole: BaseModel | None = None

    @classmethod
    def open(cls, target: Path, base_model: str | None, trust_remote_code: bool) -> "_Source":
        context = RunContext(trust_remote_code=trust_remote_code)
        target = target if target.exists() else located(str(target))
        if is_whole_model(target):
            if not base_model:
                raise InputError(
                    f"{target} is a whole model; give the model that it was trained from by --base"
                )
            trust = trust_remote_code
            base, whole = (
                load_base_model(name, dtype="float32", trust_remote_code=trust)
                for name in (base_model, str(target))
            )
            return cls(base, changes_of_model(whole, base), None, whole)
        run = open_trained(target, base_model, trust_remote_code)
        exact = run.config.model_copy(update={"device": "auto", "dtype": "float32"})
        base = context.configured_base_model(exact, context.head(run))
        return cls(base, changes_of_run(run, base), run)


def convert(  # noqa: PLR0913  # one argument per choice
    target: str | Path,
    out: str | Path,
    budget: Budget,
    measured: Measured | None = None,
    *,
    base_model: str | None = None,
    trust_remote_code: bool = False,
) -> Conversion:
    """Write the update of a run, an adapter or a fine-tuned model as a plain LoRA of peft.

    Args:
        target: folder of a run, of an adapter, or of a fine-tuned model; or a hub id.
        out: folder of the new adapter, which must not exist.
        budget: rank, energy or divergence.
        measured: texts and task by which original and converted model are compared.
        base_model: base model of an adapter, by default the one that it names; needed for a model.
        trust_remote_code: see `load_base_model`.

    Raises:
        InputError: the budget is none, or too small for a divergence; the method has no update of
            weights, or nothing that a LoRA can carry; or `out` exists.
    """
    budget.check()
    refuse_existing(Path(out))
    source = _Source.open(Path(target).expanduser(), base_model, trust_remote_code)
    spectra = decompose(source.changes.updates)
    if not spectra:
        raise InputError(f"{target} has no update that a LoRA can carry{_named(source.changes)}")
    behavior = Behavior.of(source.base, source.run, measured or Measured(), whole=source.whole)
    ranks = _ranks(budget, spectra, source, behavior)
    if not any(ranks):
        raise InputError(f"rank={budget.rank} leaves nothing of {target}; give a higher --rank")
    with new_folder(Path(out)) as folder:
        converted = _written(source, spectra, ranks, folder)
        models = behavior.table({"converted": converted})
    weights = _weights(spectra, ranks)
    lost = _lost(source.changes.lost, spectra)
    kept = float((weights["energy"] * weights["norm"] ** 2).sum())
    total = float((weights["norm"] ** 2).sum() + (lost["norm"] ** 2).sum())
    return Conversion(
        folder=Path(out),
        parameters=int(weights["parameters"].sum()),
        energy=kept / total,
        models=models,
        weights=weights,
        lost=lost,
    )


def _named(changes: WeightChanges) -> str:
    if not changes.lost:
        return ": it is equal to its base"
    first = changes.lost[0]
    return f": it changes only weights such as {first.weight}; {first.why}"


def _written(
    source: _Source, spectra: Sequence[UpdateSpectrum], ranks: Sequence[int], folder: Path
) -> ExternalAdapter:
    write_plain_lora(lora_factors(spectra, ranks), source.base, folder, source.changes.head)
    return ExternalAdapter(folder, source.base.reference)


def _ranks(
    budget: Budget, spectra: Sequence[UpdateSpectrum], source: _Source, behavior: Behavior
) -> list[int]:
    if budget.kl is None:
        return budget.ranks(spectra)
    behavior.require_divergence()

    def divergence(ranks: Sequence[int]) -> float:
        with TemporaryDirectory() as folder:
            return behavior.divergence(_written(source, spectra, ranks, Path(folder)))

    return least_ranks(budget.kl, spectra, divergence)


def least_ranks(
    kl: float, spectra: Sequence[UpdateSpectrum], divergence: Callable[[Sequence[int]], float]
) -> list[int]:
    """Find the least budget of energy whose divergence is at most `kl`, by bisection.

    Args:
        kl: largest divergence, nats per token.
        spectra: updates.
        divergence: divergence of the original model from the one with these ranks.

    Returns:
        Rank of each update, which were measured; within 1 % of the least number of parameters if
        the divergence falls with the energy.

    Raises:
        InputError: even full ranks diverge more.
    """
    kept = [len(one.svd.s) for one in spectra]
    low, high = 0.0, _MOST_DIGITS  # digits of the energy: −log10 of the share that is given up
    if (found := divergence(kept)) > kl:
        raise InputError(
            f"kl={kl:g} can't be reached: a LoRA of full rank diverges by {found:.2g} nats per "
            "token, because it can't carry all changes; give a larger --kl"
        )
    least = _at(spectra, low)
    if divergence(least) <= kl:
        return least
    for _ in range(_MOST_STEPS):
        middle = (low + high) / 2
        ranks = _at(spectra, middle)
        if _parameters(spectra, kept) <= (1 + _CLOSE) * _parameters(spectra, _at(spectra, low)):
            break
        if ranks == kept or divergence(ranks) <= kl:
            kept, high = ranks, middle
        else:
            low = middle
    return kept


def _at(spectra: Sequence[UpdateSpectrum], digits: float) -> list[int]:
    share = 1 - 10**-digits
    return [min(one.energy_rank(share), len(one.svd.s)) for one in spectra]


def _parameters(spectra: Sequence[UpdateSpectrum], ranks: Sequence[int]) -> int:
    return sum(one.cost * rank for one, rank in zip(spectra, ranks, strict=True))


def _weights(spectra: Sequence[UpdateSpectrum], ranks: Sequence[int]) -> pd.DataFrame:
    rows = [
        {
            "weight": one.update.delta.name,
            "norm": one.norm,
            "rank_before": len(one.svd.s),
            "rank": rank,
            "energy": one.energy(rank),
            "parameters": one.cost * rank,
        }
        for one, rank in zip(spectra, ranks, strict=True)
    ]
    return pd.DataFrame(rows)


def _lost(lost: Sequence[Lost], spectra: Sequence[UpdateSpectrum]) -> pd.DataFrame:
    total = sum(one.norm**2 for one in (*lost, *spectra))
    rows = [
        {"weight": one.weight, "norm": one.norm, "share": one.norm**2 / total, "why": one.why}
        for one in lost
    ]
    return pd.DataFrame(rows, columns=["weight", "norm", "share", "why"])
