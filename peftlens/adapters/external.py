"""External adapter: folder written by another program, its record, and its attachment."""

import warnings
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import peft
import torch
from peft import MODEL_TYPE_TO_PEFT_MODEL_MAPPING, PeftType
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
from peft.utils.other import AuxiliaryTrainingWrapper
from torch import nn

from peftlens.adapters.adapter_config import BASE, PREFIX, TASK, expressions
from peftlens.adapters.adapter_file import CONFIG, HOLDING, WEIGHTS, AdapterFile, read
from peftlens.adapters.expressions import slow_expression
from peftlens.adapters.token_tables import COPIES, fit_token_tables, require_vocabulary
from peftlens.errors import InputError
from peftlens.io.files import sha256_file
from peftlens.layers.prefix import geometry
from peftlens.models.architecture import copy_weights
from peftlens.models.base_model import BaseModel
from peftlens.models.heads import head_modules
from peftlens.runs.config import UNKNOWN_TASK, RunConfig
from peftlens.runs.run import SCHEMA, Record
from peftlens.runs.trained_model import TrainedModel


@dataclass(frozen=True)
class ExternalAdapter(TrainedModel):
    """Adapter in a folder with adapter_config.json and adapter_model.safetensors.

    Attributes:
        path: folder of the adapter; nothing is written there.
        base_model: name of the base model; by default the one that the adapter names.
        trust_remote_code: whether the adapter's configuration may name Python code to import.
    """

    path: Path
    base_model: str | None = None
    trust_remote_code: bool = False

    @cached_property
    def file(self) -> AdapterFile:
        """Configuration and header of the adapter.

        Raises:
            InputError: see `adapter_file.read`.
        """
        return read(self.path, trust_remote_code=self.trust_remote_code)

    @cached_property
    def record(self) -> Record:
        """Record of a run, limited to the adapter's method and base model."""
        file = self.file
        base = self.base_model or file.config.get(BASE)
        if not base:
            raise InputError(f"{self.path / CONFIG} names no base model; give it by --base")
        return Record(
            schema_version=SCHEMA,
            id=sha256_file(self.path / WEIGHTS)[:12],
            configuration=f"{file.method} {self.path.resolve().name}",
            config=RunConfig(
                method=file.method,
                method_config=file.options,
                task=UNKNOWN_TASK,
                base_model=base,
            ),
            depends_on={},
            environment={},
            status="finished",
            results={"steps": 0},
        )

    @property
    def steps(self) -> tuple[int, ...]:
        """Saved steps: only 0, because the number of training steps is unknown."""
        return (0,)

    def adapter(self, step: int | None = None) -> Path:  # noqa: ARG002  # only one state exists
        """Return the folder itself."""
        return self.path

    @property
    def table_folder(self) -> None:
        """Folder of probe tables: None, because the adapter belongs to another program."""

    @cached_property
    def digests(self) -> dict[str, str]:
        """Hashes of the files: none are recorded."""
        return {}

    def metrics(self) -> list[dict[str, Any]]:
        """Return the training metrics: none are recorded."""
        return []

    def timing(self) -> list[dict[str, Any]]:
        """Return the training times: none are recorded."""
        return []


def attach_adapter(file: AdapterFile, base: BaseModel) -> nn.Module:
    """Attach an adapter of peft to a base model, which is changed, only if it fits completely.

    Peft loads the tensors that fit and warns about the rest. Here each tensor of the file must find
    a place, under the name in the file or the one to which peft converts it, and each tensor that
    the configuration requires must be in the file. Tables of the base are resized to the file's
    rows, as its training did.

    Raises:
        InputError: the adapter does not fit the base model, or holds NaN.
    """
    file.require_sound()
    _require_language_model(file, base)
    require_vocabulary(file, base)
    _check_sizes(file, base)
    _check_expressions(file, base)
    fit_token_tables(file, base)
    if _writes_into_base(file, base):
        copy_weights(base.model, [name for name, _ in base.model.named_parameters()])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # warnings about missing tensors, which are errors here
            model, loaded = _load(file, base)
    # peft's exceptions where tensors or options do not fit; any other exception is a defect
    except (
        RuntimeError, ValueError, KeyError, TypeError, AttributeError, ImportError, IndexError,
        NotImplementedError, AssertionError,
    ) as error:  # fmt: skip
        line = " ".join(str(error).split())
        raise InputError(f"{file.folder} does not fit {base.reference!r}: {line}") from error
    _check_complete(file, base, model, loaded)
    _check_head(file, base)
    return model.eval()


# Tensors that peft does not assign by name: the prompt encoder reads them itself.
_PROMPTS = ("prompt_embeddings", "prefix_task_cols", "prefix_task_rows")


def _require_language_model(file: AdapterFile, base: BaseModel) -> None:
    """Refuse an adapter of a language model on an encoder.

    Raises:
        InputError: the adapter is of a model that writes text.
    """
    task = file.config.get(TASK)
    if base.kind == "encoder" and task in ("CAUSAL_LM", "SEQ_2_SEQ_LM"):
        raise InputError(
            f"{file.folder / CONFIG} has task_type={task!r}, and {base.reference!r} is an encoder, "
            "which writes no text; give the adapter's own base model by --base"
        )


@dataclass(frozen=True)
class _Loaded:
    """Names of the model's tensors that peft has assigned, and names without a place."""

    assigned: frozenset[str]
    unexpected: tuple[str, ...]


def _load(file: AdapterFile, base: BaseModel) -> tuple[peft.PeftModel, _Loaded]:
    """Load an adapter as `PeftModel.from_pretrained` does, which drops the result of loading."""
    folder = str(file.folder)
    config = PEFT_TYPE_TO_CONFIG_MAPPING[PeftType(file.adapter_type)].from_pretrained(folder)
    config.inference_mode = True
    kind = MODEL_TYPE_TO_PEFT_MODEL_MAPPING.get(str(config.task_type or ""), peft.PeftModel)
    model = kind(base.model, config, "default")
    mapping = getattr(base.model, "_checkpoint_conversion_mapping", {})
    assigned: set[str] = set()

    def note(module: nn.Module, state: dict[str, torch.Tensor], *_: Any) -> None:
        if module is model:
            assigned.update(state)

    hook = model.register_load_state_dict_pre_hook(note)
    try:
        result = model.load_adapter(
            folder, "default", key_mapping=None if config.is_prompt_learning else mapping
        )
    finally:
        hook.remove()
    return model, _Loaded(frozenset(assigned), tuple(result.unexpected_keys))


def _check_expressions(file: AdapterFile, base: BaseModel) -> None:
    texts = [text for _, text in expressions(file.config)]
    if slow := slow_expression(texts, [name for name, _ in base.model.named_modules()]):
        raise InputError(
            f"{file.folder / CONFIG} has the regular expression {slow[:100]!r}, which takes too "
            f"long to match the modules of {base.reference!r}"
        )


def _writes_into_base(file: AdapterFile, base: BaseModel) -> bool:
    """Whether loading writes into the base model's tensors, which other runs share."""
    in_base = {name for name, _ in base.model.named_parameters()}
    fills = any(
        ".base_layer." in name or name.removeprefix(PREFIX) in in_base for name in file.header
    )
    biases = file.config.get("bias", "none") not in (None, "none")
    return file.initialization in HOLDING or biases or fills


def _check_sizes(file: AdapterFile, base: BaseModel) -> None:
    """Check the sizes in a prompt's configuration against those of the base model.

    Virtual tokens have the width of the embeddings, trained key-value caches that of all key heads.
    """
    config = base.model.config.get_text_config()
    _, heads, size = geometry(config)
    cached = file.adapter_type in ("PREFIX_TUNING", "CARTRIDGE")
    width = heads * size if cached else config.hidden_size
    for name, actual in (("token_dim", width), ("num_layers", config.num_hidden_layers)):
        value = file.config.get(name)
        if value is not None and value != actual:
            raise InputError(
                f"{file.folder / CONFIG} has {name}={value}, but {base.reference!r} has {actual}; "
                "give the adapter's base model by --base"
            )


def _check_complete(
    file: AdapterFile, base: BaseModel, model: peft.PeftModel, loaded: _Loaded
) -> None:
    required = peft.get_peft_model_state_dict(model, save_embedding_layers=False)
    state = model.state_dict()
    places = {_place(required[name]) for name in file.header if name in required}
    places |= {_place(state[name]) for name in loaded.assigned if name in state}
    missing = [
        name
        for name, value in required.items()
        if name not in file.header and _place(value) not in places
    ]
    unknown = [
        name
        for name in loaded.unexpected
        if name not in required and name not in _PROMPTS and not _is_copy(file, name)
    ]
    for names, problem in ((missing, "lacks"), (unknown, "has, in addition to those that fit,")):
        if names:
            listed = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
            raise InputError(
                f"{file.folder / WEIGHTS} does not fit {base.reference!r}: it {problem} "
                f"{len(names)} tensors: {listed}; it is incomplete, or of another base model"
            )


def _check_head(file: AdapterFile, base: BaseModel) -> None:
    """Refuse an adapter without a part of its head, which no file of the base holds either.

    peft saves the layers of logits; DistilBERT's and DeBERTa's layers before them were drawn at
    random for the training and are lost, unless `modules_to_save` names them.
    """
    if base.head is None or base.head.task_type == "FEATURE_EXTRACTION":
        return  # hidden states don't depend on the pooler
    lost = [
        f"{name}.{part}"
        for name in head_modules(base.model)
        if not isinstance(module := base.model.get_submodule(name), AuxiliaryTrainingWrapper)
        for part, _ in module.named_parameters()
    ]
    if lost:
        raise InputError(
            f"{file.folder / WEIGHTS} lacks {len(lost)} tensors of its head that "
            f"{base.reference!r} lacks, too, such as {lost[0]}: its training drew them at "
            "random and did not save them; name their module in modules_to_save, and train again"
        )


def _is_copy(file: AdapterFile, name: str) -> bool:
    """Whether a tensor is a second copy of one in the file, as peft saves resized tables."""
    return any(
        f".{part}" in name and name.replace(f".{part}", ".") in file.header
        for part in COPIES
        if part
    )


def _place(value: torch.Tensor) -> tuple[Any, ...]:
    """Identify a tensor by its memory: some methods save a tensor of several layers once."""
    return value.data_ptr(), value.shape
