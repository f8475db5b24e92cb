"""Model in the training of another program: what of it is trained, and what it was built from."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import peft
import torch
from peft import PeftType
from torch import nn
from transformers import AutoConfig, AutoTokenizer

from peftlens.adapters import checkpoint
from peftlens.errors import InputError
from peftlens.models.base_model import folder_sha256, locate
from peftlens.models.built_in import BUILT_IN
from peftlens.models.heads import head_of_model
from peftlens.models.origin import vocabulary_sha256

# what transformers raises where files are missing, foreign, or would run code
_NO_FILES = (OSError, ValueError, TypeError, AttributeError, KeyError, ImportError, RuntimeError)
_WRAPPERS = (nn.DataParallel, nn.parallel.DistributedDataParallel)


@dataclass(frozen=True)
class TrainedPart:
    """Part of a model that is trained and saved.

    Attributes:
        method: name of the method, such as peft:LORA or full.
        adapter: name of the trained adapter in the model; empty for full fine-tuning.
    """

    method: str
    adapter: str


def unwrapped(model: Any) -> Any:
    """Return the model inside torch.compile's and data-parallel wrappers."""
    while True:
        inner = model.module if isinstance(model, _WRAPPERS) else model
        inner = getattr(inner, "_orig_mod", inner)
        if inner is model:
            return model
        model = inner


def trained_part(model: Any) -> TrainedPart:
    """Return the part of the model that is trained.

    Raises:
        InputError: no run could hold it: two adapters are trained, weights outside of the adapter
            are, a part of a model without an adapter is, or the weights are on several processes.
    """
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if sharded := [
        name for name, p in trained.items() if not p.numel() or hasattr(p, "placements")
    ]:
        raise InputError(
            f"the weights are distributed over several processes (ZeRO-3, FSDP), such as "
            f"{sharded[0]}; save the adapter at the end, and inspect it"
        )
    if not checkpoint.has_peft_adapter(model):
        if len(trained) == len([*model.parameters()]):
            return TrainedPart("full", "")
        raise InputError("the model is not a peft.PeftModel, and some of its weights are frozen")
    adapter = _trained_adapter(model, [*trained])
    _require_saved(model, adapter, trained)
    kind = PeftType(model.peft_config[adapter].peft_type)
    return TrainedPart(f"peft:{kind.value}", adapter)


def _trained_adapter(model: Any, trained: list[str]) -> str:
    """Return the name of the adapter that is trained; TRL adds a frozen one, `ref`."""
    adapters = [*model.peft_config]
    parts = {part for name in trained for part in name.split(".")}
    found = [name for name in adapters if name in parts] if len(adapters) > 1 else adapters
    if len(found) == 1:
        return found[0]
    raise InputError(
        f"the model has the adapters {', '.join(map(repr, adapters))}, of which {len(found)} are "
        "trained; a run holds one: freeze the others by requires_grad_(False)"
    )


def _require_saved(model: Any, adapter: str, trained: dict[str, nn.Parameter]) -> None:
    """Refuse trained weights that the adapter's file does not hold.

    Raises:
        InputError: there are such weights; the message names one.
    """
    saved = {tensor.data_ptr() for tensor in checkpoint.state(model, adapter).values()}
    lost = [
        name
        for name, parameter in trained.items()
        if adapter not in name.split(".") and parameter.data_ptr() not in saved
    ]
    if lost:
        raise InputError(
            f"{len(lost)} weights outside of the adapter are trained, such as {lost[0]}, and its "
            "file does not hold them; name their modules in modules_to_save"
        )


def vocabulary_of(model: Any, tokenizer: Any) -> str | None:
    """Hash the vocabulary of a tokenizer, or of the tokenizer in a multimodal processor.

    Args:
        model: model in training.
        tokenizer: tokenizer, processor, or anything else in its place.

    Returns:
        The hash; that of the base's own tokenizer where this one only has more tokens, since the
        adapter belongs to the base then; None without a tokenizer: for a feature extractor.
    """
    for one in (tokenizer, getattr(tokenizer, "tokenizer", None)):
        if vocabulary := getattr(one, "get_vocab", None):
            tokens, own = vocabulary(), _base_vocabulary(model)
            return vocabulary_sha256(own if own and own.items() <= tokens.items() else tokens)
    return None


def _base_vocabulary(model: Any) -> dict[str, int] | None:
    """Return the vocabulary of the base's own tokenizer, if it is on this machine."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(_base_source(model), local_files_only=True)
        return tokenizer.get_vocab()
    except _NO_FILES:
        return None


def base_name(model: Any) -> str:
    """Return the name or path of the base model; `unnamed` without one."""
    return str(getattr(model.config, "name_or_path", "") or "unnamed")


def _base_source(model: Any) -> str | Path:
    base = base_name(model)
    return locate(base) if base in BUILT_IN else base


def has_resized_tables(model: Any) -> bool:
    """Return whether the table of embeddings has another number of rows than the base's files.

    False where the base's configuration is not on this machine.
    """
    try:
        config = AutoConfig.from_pretrained(_base_source(model), local_files_only=True)
        rows = config.get_text_config().vocab_size
    except _NO_FILES:
        return False
    weight = getattr(model.get_input_embeddings(), "weight", None)
    return isinstance(weight, torch.Tensor) and weight.shape[0] != rows


def base_hash(base: str) -> dict[str, str]:
    """Hash the base model if its files are local; return nothing for a name on the hub."""
    if base in BUILT_IN or Path(base).is_dir():
        return {"base": folder_sha256(locate(base))}
    return {}


def recorded_head(model: Any) -> dict[str, Any]:
    """Return the entry of a run's record on the model's head; nothing for a language model."""
    inner = model.get_base_model() if isinstance(model, peft.PeftModel) else model
    head = head_of_model(inner)
    return {"head": asdict(head)} if head else {}


def device_and_dtype(model: Any) -> dict[str, Any]:
    """Return device and dtype of the model, `auto` for values that RunConfig lacks."""
    first = next(model.parameters())
    dtype = str(getattr(model, "dtype", first.dtype)).removeprefix("torch.")
    device = first.device.type
    return {
        "device": device if device in ("cpu", "cuda", "mps") else "auto",
        "dtype": dtype if dtype in ("float32", "bfloat16") else "auto",
    }


def parameter_counts(model: Any, adapter: str) -> dict[str, int]:
    """Count the trainable parameters, and those of the base model without any adapter."""
    others = {*getattr(model, "peft_config", ())} - {adapter} if adapter else set()
    sizes = [
        (p.numel(), p.requires_grad)
        for name, p in model.named_parameters()
        if others.isdisjoint(name.split("."))
    ]
    trained = sum(size for size, is_trained in sizes if is_trained)
    base = sum(size for size, is_trained in sizes if not (adapter and is_trained))
    return {"trainable_parameters": trained, "base_parameters": base}
