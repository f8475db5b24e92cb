"""Tasks, one file per data set or source; the file name is the task's name.

A task file has Config and `load(config)`, which gives examples in fixed splits.
"""

import json
from functools import lru_cache
from typing import Any

from peftlens import registry
from peftlens.dataset import Task
from peftlens.files import canonical_json


def load_task(name: str, options: dict[str, Any]) -> Task:
    """A task by the name that users write: a file here, file:PATH or hub:org/name.

    Kept for as long as the process lives: every run and probe of a study asks for the same one.

    Raises:
        BadInput: no such task, or its data can't be used.
    """
    return _load(name, canonical_json(options))


@lru_cache(maxsize=8)
def _load(name: str, options: str) -> Task:
    kind, colon, source = name.partition(":")
    values = json.loads(options) | ({"source": source} if colon else {})
    return registry.load("tasks", kind).load(registry.configure("tasks", kind, values))
