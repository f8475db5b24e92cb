"""Sweeps of a study file: its configurations, each with the learning rates that it is tried at.

Configurations that are equal in all but `training.learning_rate` are one sweep, however many
entries of the file they are written in. No method is imported here.
"""

import ast
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from pydantic import ValidationError

from peftlens import registry
from peftlens.errors import InputError, validation_summary
from peftlens.io.files import canonical_json
from peftlens.io.toml_text import to_toml
from peftlens.runs.config import RunConfig, TrainingConfig
from peftlens.runs.configuration_names import text
from peftlens.studies.config import RunsEntry, StudyConfig

RATE = "learning_rate"


@dataclass(frozen=True)
class SweepGrid:
    """A configuration and its learning rates.

    Attributes:
        name: method and hyperparameters that the study sets, without the learning rate.
        method: name of the method.
        config: values of the method's Config.
        training: overrides of the study's training, without the learning rate.
        rates: learning rates in ascending order; 0.0 alone for a method that trains nothing.
        key: what equal configurations have in common, defaults filled in.
    """

    name: str
    method: str
    config: dict[str, Any]
    training: dict[str, Any]
    rates: tuple[float, ...]
    key: str

    @property
    def has_rate(self) -> bool:
        """Whether the method trains anything."""
        return self.rates != (0.0,)

    def has(self, config: RunConfig) -> bool:
        """Whether a run is of this configuration, at any rate.

        A planned run has the number of tokens that `max_length` comes to with its data.
        """
        lengths = (config.training.max_length, None, "auto")
        trainings = [config.training.model_copy(update={"max_length": one}) for one in lengths]
        return self.key in [sweep_key(config.method, config.method_config, t) for t in trainings]

    def at(self, rates: Iterable[float]) -> "SweepGrid":
        """Return the same configuration at other rates."""
        return replace(self, rates=tuple(sorted({*rates})))

    def entry(self) -> dict[str, Any]:
        """Return the configuration as a table [[runs]] of a study file."""
        rates = {RATE: list(self.rates)} if self.has_rate else {}
        return {
            "method": self.method,
            "config": self.config,
            "training": self.training,
            "grid": rates,
        }


def sweep_key(method: str, config: Mapping[str, Any], training: TrainingConfig) -> str:
    """Return a key that is the same for configurations that differ in the rate alone."""
    values = training.model_dump(mode="json") | {RATE: None}
    return canonical_json([method, _defaults(method) | dict(config), values])


@cache
def _defaults(method: str) -> dict[str, Any]:
    options = registry.describe("methods", method.partition(":")[0]).options
    literals = [(one.name, one.default) for one in options if "." not in one.name]
    return {name: _literal(default) for name, default in literals}


def _literal(text_of_default: str) -> Any:
    try:
        value = ast.literal_eval(text_of_default)
    except (ValueError, SyntaxError):
        return text_of_default
    return list(value) if isinstance(value, tuple) else value


def sweep_grids(study: StudyConfig) -> list[SweepGrid]:
    """List the sweeps of a study, in the order of its file.

    Raises:
        InputError: a method is unknown, or a value of the training is wrong.
    """
    found: dict[str, SweepGrid] = {}
    for entry in study.runs:
        registry.check("methods", entry.method)
        for one in _sweeps_of(study, entry):
            known = found.get(one.key)
            found[one.key] = known.at((*known.rates, *one.rates)) if known else one
    return list(found.values())


def _sweeps_of(study: StudyConfig, entry: RunsEntry) -> Iterator[SweepGrid]:
    default = registry.describe("methods", entry.method.partition(":")[0]).constants[RATE.upper()]
    for values in itertools.product(*entry.grid.values()):
        given = dict(zip(entry.grid, values, strict=True))
        training = entry.training | {
            key: given.pop(key) for key in entry.grid if key in TrainingConfig.model_fields
        }
        config, whole = entry.config | given, _training(study, entry.method, training)
        rate = default if whole.learning_rate is None else whole.learning_rate
        training.pop(RATE, None)
        yield SweepGrid(
            name=_name(entry.method, config | training),
            method=entry.method,
            config=config,
            training=training,
            rates=(rate if default else 0.0,),
            key=sweep_key(entry.method, config, whole),
        )


def _training(study: StudyConfig, method: str, values: dict[str, Any]) -> TrainingConfig:
    try:
        return TrainingConfig.model_validate(study.training.model_dump() | values)
    except ValidationError as error:
        raise InputError(f"{method}: {validation_summary(error, TrainingConfig)}") from error


def _name(method: str, values: Mapping[str, Any]) -> str:
    return " ".join([method, *(f"{key}={_shown(value)}" for key, value in values.items())])


def _shown(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else text(value)


def study_text(
    study: StudyConfig,
    sweeps: Sequence[SweepGrid],
    seeds: Sequence[int],
    probes: Sequence[str] | None,
) -> str:
    """Write the file of a study of these configurations, with all else as in another study.

    Args:
        study: the other study.
        sweeps: configurations at their rates.
        seeds: seeds of each of them.
        probes: names of the measured probes; None for all that are not optional.
    """
    document = study.model_dump(mode="json", exclude={"decisions", "full_scale", "runs"})
    if study.training.learning_rate is not None:
        del document["training"][RATE]  # a method that trains nothing has none
    changes = {"seeds": list(seeds), "probes": None if probes is None else list(probes)}
    return to_toml(document | changes | {"runs": [one.entry() for one in sweeps]})
