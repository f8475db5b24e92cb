"""Opening: a run, an adapter of another program, or the folder of a fine-tuned model."""

from pathlib import Path

from peftlens.adapters.adapter_config import CONFIG
from peftlens.adapters.external import ExternalAdapter
from peftlens.errors import InputError
from peftlens.runs.run import Run
from peftlens.runs.trained_model import TrainedModel


def open_trained(folder: Path, base_model: str | None, trust_remote_code: bool) -> TrainedModel:
    """Open a run, or an adapter of another program.

    Args:
        folder: folder of either.
        base_model: base model of an adapter; by default the one that it names.
        trust_remote_code: whether its configuration may name Python code to import.

    Raises:
        InputError: the folder is neither.
    """
    if (folder / CONFIG).is_file() and not (folder / "run.json").is_file():
        return ExternalAdapter(folder, base_model, trust_remote_code)
    return Run(folder)


def is_whole_model(folder: Path) -> bool:
    """Whether a folder holds a model of transformers, and no run or adapter."""
    names = ("run.json", CONFIG, "adapter")
    return (folder / "config.json").is_file() and not any((folder / one).exists() for one in names)


def refuse_existing(out: Path) -> None:
    """Refuse to write over anything.

    Raises:
        InputError: it exists.
    """
    if out.exists():
        raise InputError(f"{out} exists; name a new folder")
