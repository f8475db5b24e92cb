"""Table of a study file in which a key belongs that was written into another one."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import fields
from typing import Any

from pydantic import BaseModel

from peftlens import registry
from peftlens.errors import InputError
from peftlens.runs.config import TrainingConfig
from peftlens.studies.decisions import Decisions
from peftlens.studies.toml_lines import Place

TABLES = {"task", "continual", "training", "probe_options", "runs", "decisions", "full_scale"}


def belongs_in(place: Place, document: Mapping[str, Any], study: type[BaseModel]) -> str:
    """Say where a key belongs that is unknown in its place; nothing if no table has it.

    Args:
        place: place of the key.
        document: contents of the study file.
        study: model of the whole file.
    """
    key, in_runs = str(place[-1]), len(place) == 3 and place[0] == "runs"
    entries = document.get("runs")
    entries = entries if isinstance(entries, list) else []
    own = [entries[int(place[1])]] if in_runs else entries
    if key in TrainingConfig.model_fields and place[0] != "training":
        in_entry = f"training, as in training = {{ {key} = ... }}"
        return f"it belongs in {in_entry if in_runs else '[training]'}"
    if any(key in _options(entry) for entry in own):
        return f"it belongs in config of [[runs]], as in config = {{ {key} = ... }}"
    if key in Decisions.model_fields and not in_runs and place[0] != "decisions":
        return "it belongs in [decisions]"
    if key in study.model_fields and len(place) > 1 and key not in document:
        return f"it belongs {f'in its own table [{key}]' if key in TABLES else 'above all tables'}"
    return ""


def _options(entry: Any) -> list[str]:
    """Return the names of the options of an entry's method, if it has one."""
    with suppress(InputError, KeyError, TypeError, AttributeError):
        method = registry.load("methods", entry["method"])
        return [field.name for field in fields(method.Config)]
    return []
