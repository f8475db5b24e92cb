"""Train every family of parameter-efficient fine-tuning, then look inside what was trained."""

import logging
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from peftlens.adapters.switching import AdapterSet
    from peftlens.api.adapter import (
        combine,
        compare_adapters,
        convert,
        inspect_adapter,
        load_adapter,
        merge,
        truncate_adapter,
    )
    from peftlens.api.explorer import explore
    from peftlens.api.lens import Lens, lens
    from peftlens.api.listing import list_claims, list_methods, list_probes, list_tasks
    from peftlens.api.probe import probe
    from peftlens.api.report import report
    from peftlens.api.run import Run
    from peftlens.api.study import Study, load_study, run_study
    from peftlens.api.table import Table
    from peftlens.api.train import train
    from peftlens.errors import InputError
    from peftlens.models.base_model import load_base_model
    from peftlens.runs.config import RunConfig, TrainingConfig
    from peftlens.training.callback import PeftLensCallback
    from peftlens.training.tracker import track

__version__ = "0.1.0"

__all__ = [
    "AdapterSet",
    "InputError",
    "Lens",
    "PeftLensCallback",
    "Run",
    "RunConfig",
    "Study",
    "Table",
    "TrainingConfig",
    "__version__",
    "combine",
    "compare_adapters",
    "convert",
    "explore",
    "inspect_adapter",
    "lens",
    "list_claims",
    "list_methods",
    "list_probes",
    "list_tasks",
    "load_adapter",
    "load_base_model",
    "load_study",
    "merge",
    "probe",
    "report",
    "run_study",
    "track",
    "train",
    "truncate_adapter",
]

# Imported on first use: torch and transformers take seconds, and `peftlens --help` needs neither.
_MODULES = {
    "AdapterSet": "adapters.switching",
    "InputError": "errors",
    "Lens": "api.lens",
    "PeftLensCallback": "training.callback",
    "Run": "api.run",
    "RunConfig": "runs.config",
    "Study": "api.study",
    "Table": "api.table",
    "TrainingConfig": "runs.config",
    "combine": "api.adapter",
    "compare_adapters": "api.adapter",
    "convert": "api.adapter",
    "explore": "api.explorer",
    "inspect_adapter": "api.adapter",
    "lens": "api.lens",
    "list_claims": "api.listing",
    "list_methods": "api.listing",
    "list_probes": "api.listing",
    "list_tasks": "api.listing",
    "load_adapter": "api.adapter",
    "load_base_model": "models.base_model",
    "load_study": "api.study",
    "merge": "api.adapter",
    "probe": "api.probe",
    "report": "api.report",
    "run_study": "api.study",
    "track": "training.tracker",
    "train": "api.train",
    "truncate_adapter": "api.adapter",
}

# peft imports bitsandbytes where there is one, which then remarks on a package that it could use.
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)


if not TYPE_CHECKING:  # or a type checker would take every name for one of these

    def __getattr__(name: str) -> Any:
        if name not in _MODULES:
            raise AttributeError(f"module 'peftlens' has no attribute {name!r}")
        return getattr(import_module(f"peftlens.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
