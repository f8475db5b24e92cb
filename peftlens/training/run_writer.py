"""Writer of a run folder: metrics, timing, adapters, and the record that completes it.

See runs/run.py for the layout of the folder.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from peftlens.adapters import checkpoint
from peftlens.models.origin import Origin
from peftlens.runs.config import RunConfig
from peftlens.runs.digests import digests_of
from peftlens.runs.run import SCHEMA, TIMING, Record, environment, run_id
from peftlens.runs.store import seal


@dataclass(frozen=True, kw_only=True)
class RunWriter:
    """Writer of one run folder.

    Attributes:
        path: folder of the run, empty at first.
        method: name of the method.
        method_config: Config of the method.
        origin: base model and vocabulary that the adapters belong to.
        adapter: name of the adapter in a model of peft.
        with_tables: whether to save the embeddings and the head too; see `checkpoint.state`.
    """

    path: Path
    method: str
    method_config: Any
    origin: Origin
    adapter: str = "default"
    with_tables: bool = False

    def __post_init__(self) -> None:
        for name in ("metrics.jsonl", "timing.jsonl"):
            (self.path / name).touch()

    def log_metrics(self, line: dict[str, Any]) -> None:
        """Append a line of values that the seed determines, such as losses."""
        self._append("metrics.jsonl", line)

    def log_timing(self, line: dict[str, Any]) -> None:
        """Append a line of values that depend on the machine, such as seconds."""
        self._append("timing.jsonl", line)

    def _append(self, name: str, line: dict[str, Any]) -> None:
        with (self.path / name).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, allow_nan=False) + "\n")

    def save_checkpoint(self, model: nn.Module, step: int) -> None:
        """Save the trained weights after this step."""
        self._save(model, f"checkpoints/{step}")

    def save_adapter(self, model: nn.Module) -> Path:
        """Save the trained weights after the last step and return their folder."""
        return self._save(model, "adapter")

    def _save(self, model: nn.Module, name: str) -> Path:
        folder = self.path / name
        parts = (self.method, self.method_config, self.origin, folder)
        checkpoint.save(model, *parts, self.adapter, self.with_tables)
        return folder

    def write_record(  # one argument per part of run.json
        self,
        *,
        config: RunConfig,
        configuration: str,
        depends_on: dict[str, Any],
        results: dict[str, Any],
        diverged: bool,
        **environment_extras: Any,
    ) -> str:
        """Complete the folder with run.json and digests.json and return the run's id.

        Args:
            config: configuration with every default filled in.
            configuration: method and hyperparameters without the seed, in a few words.
            depends_on: hashes of base and data, and versions that can change the results.
            results: counts and final scores.
            diverged: whether training ended early, at a value that is not finite.
            environment_extras: entries of `environment` in addition to machine and versions.
        """
        files = digests_of(self.path)
        is_gpu = config.device == "cuda"
        compute = {
            "device": torch.cuda.get_device_name() if is_gpu else config.device,
            "threads": torch.get_num_threads(),
        }
        record = Record(
            schema_version=SCHEMA,
            id=run_id(config, depends_on),
            configuration=configuration,
            config=config,
            depends_on=depends_on,
            environment=environment() | compute | environment_extras,
            status="diverged" if diverged else "finished",
            results=results,
            files={path: digest for path, digest in files.items() if path != TIMING},
        )
        record.write(self.path)
        seal(self.path, record.id, files)
        return record.id
