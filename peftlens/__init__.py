"""Train every family of parameter-efficient fine-tuning, then look inside what was trained."""

import logging
from importlib import import_module
from typing import Any

__version__ = "0.1.0"

# peft imports bitsandbytes where there is one, which then remarks on a package that it could use.
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)

# Imported on first use: torch and transformers take seconds, and `peftlens --help` needs neither.
_EXPORTS = {
    "AdapterSet": "peftlens.models.swapping",
    "BadInput": "peftlens.errors",
    "PeftLensCallback": "peftlens.watching",
    "Run": "peftlens.run",
    "RunConfig": "peftlens.run",
    "TrainingConfig": "peftlens.run",
    "inspect": "peftlens.inspecting",
    "load": "peftlens.models.adapters",
    "merge": "peftlens.models.merging",
    "open_base": "peftlens.models.base",
    "train": "peftlens.training",
    "watch": "peftlens.watching",
}

__all__ = ["__version__", *_EXPORTS]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module 'peftlens' has no attribute {name!r}")
    return getattr(import_module(_EXPORTS[name]), name)
