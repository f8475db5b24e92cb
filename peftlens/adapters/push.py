"""Push: upload a run's adapter to the Hugging Face hub, with its model card and results."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from peftlens.adapters.adapter_config import BASE, CONFIG
from peftlens.adapters.adapter_file import AdapterFile, read
from peftlens.adapters.other_formats import WEIGHTS
from peftlens.errors import InputError
from peftlens.export import model_card
from peftlens.io import hub
from peftlens.models.built_in import BUILT_IN
from peftlens.results.invocations import redacted
from peftlens.runs.run import Run

_LOGS = ("metrics.jsonl", "timing.jsonl")


def write_repository(
    run: Run, folder: Path, repository: str, base_model: str | None = None
) -> list[str]:
    """Write the files of a repository that plain peft loads.

    Args:
        run: finished run of a method of peft.
        folder: folder to write them to.
        repository: name of the repository, `org/name`.
        base_model: name of the base model on the hub; by default the run's.

    Returns:
        Paths of the files in the folder.

    Raises:
        InputError: plain peft can't load the adapter, it is damaged or diverged, or its base model
            is a folder on this machine.
    """
    file = _adapter_of_peft(run)
    base = _public_name(run, base_model)
    shutil.copyfile(file.folder / WEIGHTS, folder / WEIGHTS)
    _write_json(folder / CONFIG, _adapter_config(file, base))
    name = base.partition("@")[0]
    card = model_card.card(run, repository, name, file.config.get("task_type"))
    (folder / "README.md").write_text(card, encoding="utf-8")
    (folder / "peftlens").mkdir()
    _write_json(folder / "peftlens" / "run.json", _redacted(run.record.model_dump(mode="json")))
    for log in _LOGS:
        shutil.copyfile(run.path / log, folder / "peftlens" / log)
    return sorted(str(one.relative_to(folder)) for one in folder.rglob("*") if one.is_file())


def push(  # noqa: PLR0913  # one argument per property of the repository
    run: Run,
    repository: str,
    *,
    base_model: str | None = None,
    private: bool = False,
    revision: str | None = None,
    message: str | None = None,
    dry_run: bool = False,
) -> tuple[list[str], str | None]:
    """Upload a run's adapter, model card and results.

    Args:
        run: finished run of a method of peft.
        repository: `org/name`, created when missing.
        base_model: name of the base model on the hub; by default the run's.
        private: whether a new repository is private.
        revision: branch; the main one by default.
        message: message of the commit; by default it names the configuration.
        dry_run: whether to write the files to a temporary folder only, and to send nothing.

    Returns:
        Paths of the files in the repository, and the address of the commit.

    Raises:
        InputError: see `write_repository` and `hub.upload`.
    """
    hub.require_repository(repository)
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        files = write_repository(run, folder, repository, base_model)
        if dry_run:
            return files, None
        address = hub.upload(
            folder,
            repository,
            message=message or f"Upload {redacted(run.record.configuration)}",
            private=private,
            revision=revision,
        )
    return files, address


def _adapter_of_peft(run: Run) -> AdapterFile:
    if run.record.status == "diverged":
        raise InputError(f"run {run.id} diverged, so its adapter is of no use; push another run")
    file = read(run.adapter())
    if not file.is_peft_type:
        raise InputError(
            f"{run.path} is a run of {run.config.method}, which plain peft can't load; merge it "
            "where the method allows that (`peftlens merge`), and upload the model's folder by "
            "`hf upload`"
        )
    file.require_sound()
    return file


def _public_name(run: Run, base_model: str | None) -> str:
    """Return a name of the base model that is not a path of this machine."""
    name = base_model or run.config.base_model
    local = Path(name).expanduser().exists() or name.endswith(".gguf")
    if name in BUILT_IN:
        return name
    if local or name == "unnamed":
        raise InputError(
            f"the base model of {run.path} is {redacted(name)!r}, which others can't load; name it "
            "on the hub by --base org/model"
        )
    hub.require_repository(name.partition("@")[0])
    return name


def _adapter_config(file: AdapterFile, base: str) -> dict[str, Any]:
    """Replace the name of the base in the adapter's configuration, also as a tokenizer's."""
    name, _, revision = base.partition("@")
    old = file.config.get(BASE)
    config = {
        key: name if value is not None and value == old else value
        for key, value in file.config.items()
    }
    config |= {BASE: name}
    return config | ({"revision": revision} if revision else {})


def _redacted(value: Any) -> Any:
    """Replace home folders and likely secrets in all texts of a JSON value."""
    if isinstance(value, str):
        return redacted(value)
    if isinstance(value, Mapping):
        return {key: _redacted(one) for key, one in value.items()}
    return [_redacted(one) for one in value] if isinstance(value, (list, tuple)) else value


def _write_json(file: Path, value: Any) -> None:
    file.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", encoding="utf-8")
