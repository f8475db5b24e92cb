"""Train every family of parameter-efficient fine-tuning, then look inside what was trained."""

import logging
from importlib import import_module
from typing import Any

__version__ = "0.1.0"

# peft imports bitsandbytes where there is one, which then remarks on a package that it could use.
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)

# Imported on first use: torch and transformers take seconds, and `peftlens --help` needs neither.
_EXPORTS = {
    "AdapterSet": "peftlens.adapters.switching",
    "BadInput": "peftlens.errors",
    "PeftLensCallback": "peftlens.training.tracker",
    "Run": "peftlens.runs.run",
    "RunConfig": "peftlens.runs.run",
    "TrainingConfig": "peftlens.runs.run",
    "inspect": "peftlens.inspection.inspect",
    "load": "peftlens.adapters.checkpoint",
    "merge": "peftlens.adapters.merging",
    "open_base": "peftlens.models.base_model",
    "train": "peftlens.training.trainer",
    "watch": "peftlens.training.tracker",
}

__all__ = ["__version__", *_EXPORTS]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module 'peftlens' has no attribute {name!r}")
    return getattr(import_module(_EXPORTS[name]), name)
