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
    "InputError": "peftlens.errors",
    "PeftLensCallback": "peftlens.training.callback",
    "Run": "peftlens.runs.run",
    "RunConfig": "peftlens.runs.config",
    "TrainingConfig": "peftlens.runs.config",
    "inspect": "peftlens.inspection.inspect",
    "load": "peftlens.adapters.checkpoint",
    "merge": "peftlens.adapters.merging",
    "load_base_model": "peftlens.models.base_model",
    "train": "peftlens.training.trainer",
    "track": "peftlens.training.tracker",
}

__all__ = ["__version__", *_EXPORTS]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module 'peftlens' has no attribute {name!r}")
    return getattr(import_module(_EXPORTS[name]), name)
