"""An adapter that was trained elsewhere, in the place of a run: peft's folder, and its base."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import peft
import safetensors.torch
from safetensors import SafetensorError
from torch import nn

from peftlens.errors import BadInput
from peftlens.files import sha256_file
from peftlens.models.base import Base
from peftlens.run import SCHEMA, Record, Run, RunConfig

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


@dataclass(frozen=True)
class Adapter(Run):
    """A folder with adapter_config.json and adapter_model.safetensors.

    Attributes:
        path: the folder; nothing is written there.
        base: the base model's name; the one that the adapter names by default.
    """

    base: str | None = None
    foreign: ClassVar[bool] = True

    @cached_property
    def about(self) -> dict[str, Any]:
        """What adapter_config.json says.

        Raises:
            BadInput: it is damaged, or no configuration of peft's.
        """
        file = self.path / CONFIG
        try:
            about = json.loads(file.read_text())
            peft.PeftType(about["peft_type"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BadInput(f"{file} is no configuration of a peft adapter: {error}") from error
        return about

    @cached_property
    def record(self) -> Record:
        """As much of a run's record as is known: the method and the base."""
        base = self.base or self.about.get("base_model_name_or_path")
        if not base:
            raise BadInput(f"{self.path / CONFIG} names no base model; give it by --base")
        weights = self.path / WEIGHTS
        if not weights.is_file():
            raise BadInput(
                f"{self.path} has no {WEIGHTS}; other formats can run code when opened: load it "
                "with peft and save it again"
            )
        method = f"peft:{self.about['peft_type']}"
        return Record(
            schema_version=SCHEMA,
            id=sha256_file(weights)[:12],
            configuration=f"{method} {self.path.name}",
            config=RunConfig(method=method, task="unknown", base=base),
            depends_on={},
            environment={},
            status="finished",
            results={"steps": 0},
        )

    @property
    def steps(self) -> tuple[int, ...]:
        """One, and nobody knows after how many steps."""
        return (0,)

    def adapter(self, step: int | None = None) -> Path:  # noqa: ARG002  # there is one state only
        """The folder itself."""
        return self.path

    def attach_to(self, base: Base) -> nn.Module:
        """The adapter on a base that is the caller's to change, as plain peft loads it.

        Raises:
            BadInput: it does not fit the base, or holds NaN.
        """
        try:
            tensors = safetensors.torch.load_file(self.path / WEIGHTS)
        except (OSError, SafetensorError) as error:
            raise BadInput(f"{self.path / WEIGHTS} can't be read: {error}") from error
        if bad := [name for name, tensor in tensors.items() if not tensor.isfinite().all()]:
            raise BadInput(f"{self.path / WEIGHTS} holds NaN or infinite values in {bad[0]}")
        try:
            model = peft.PeftModel.from_pretrained(base.model, str(self.path))
        except (RuntimeError, ValueError, KeyError, TypeError) as error:
            line = " ".join(str(error).split())
            raise BadInput(f"{self.path} does not fit {base.reference!r}: {line}") from error
        return model.eval()
