"""Table of a study file in which a key belongs that was written into another one."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import fields
from typing import Any

from pydantic import BaseModel

from peftlens import registry
from peftlens.errors import InputError
from peftlens.runs.config import TrainingConfig
from peftlens.studies.decisions import Decisions
from peftlens.studies.toml_lines import Place


def belongs_in(place: Place, document: dict[str, Any], study: type[BaseModel]) -> str:
    """Say where a key belongs that is unknown in its place; nothing if no table has it.

    Args:
        place: place of the key.
        document: contents of the study file.
        study: model of the whole file.
    """
    key = str(place[-1])
    if len(place) == 3 and place[0] == "runs":
        tables = [("training", TrainingConfig.model_fields), ("config", _options(place, document))]
        for name, keys in tables:
            if key in keys:
                return f"it belongs in {name}, as in {name} = {{ {key} = ... }}"
    for name, keys in _tables(study):
        if key in keys and place[:-1] != (name,):
            return f"it belongs in [{name}]" if name else "it belongs above the first [table]"
    return ""


def _tables(study: type[BaseModel]) -> Iterator[tuple[str, Iterable[str]]]:
    """Yield the name of each table that holds settings, and its keys; "" is the file's top."""
    yield "training", TrainingConfig.model_fields
    yield "decisions", Decisions.model_fields
    yield "", study.model_fields


def _options(place: Place, document: dict[str, Any]) -> list[str]:
    """Return the options of the method of the entry in which a place lies."""
    with suppress(InputError, KeyError, TypeError, IndexError):
        method = registry.load("methods", document["runs"][place[1]]["method"])
        return [field.name for field in fields(method.Config)]
    return []
