"""Loading of a transformers model, with proof that every weight came from the file.

transformers draws weights at random that a file lacks, drops tensors that it has no place for, and
says so in a log only. Its loading report is read here, and any difference is an error.
"""

import re
import warnings
from collections import defaultdict
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from transformers import PreTrainedModel
from transformers.utils import logging

from peftlens.errors import InputError
from peftlens.models.heads import mark_head
from peftlens.models.quantized import prepare_4bit, unpack_torchao
from peftlens.models.target_modules import BLOCK

_SHOWN = 3  # tensors named in a message
_LONGEST = 300  # characters of another program's message
# Parts of multimodal checkpoints that a text model leaves out, blocks that predict further tokens
# (MTP), and tensors of old versions of transformers that were computed and not trained: without
# them the text model is the same.
_LEFT_OUT = re.compile(
    r"(^|\.)(vision|visual|audio|image|speech|multi_?modal|mm_|mtp)\w*\.|vision_tower|projector\.|"
    r"(masked_bias|inv_freq|position_ids|attn\.bias|attention\.bias)$"
)
_MISNAMED = {
    "_orig_mod.": "saved from a compiled model",
    "base_layer.": "saved with an adapter attached",
    "base_model.model.": "saved with an adapter attached",
    "module.": "saved from a parallel wrapper",
    "_fsdp_wrapped_module.": "saved from a parallel wrapper",
}


@contextmanager
def reported_as(what: str, remedy: str = "") -> Iterator[None]:
    """Report any failure of another library with somebody's files in one line.

    Args:
        what: beginning of the message, which names the file.
        remedy: end of the message, what to do about it.

    Raises:
        InputError: anything failed.
    """
    try:
        yield
    except InputError:
        raise
    # transformers, its quantizers and tokenizers raise exceptions of all classes for files that
    # they can't use, `Exception` itself among them
    except Exception as error:
        end = f"; {remedy}" if remedy else ""
        raise InputError(f"{what}: {summary(error)}{end}") from error


@contextmanager
def quiet() -> Iterator[None]:
    """Hide transformers' loading bars, and its warnings on formats, which name no remedy."""
    bars_enabled, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(level)
        if bars_enabled:
            logging.enable_progress_bar()


def summary(error: Exception) -> str:
    """Summarize an exception of another library in one line of limited length."""
    text = " ".join(str(error).split())[:_LONGEST]
    if isinstance(error, (OSError, ValueError, ImportError, RuntimeError)) and text:
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def load_proven(
    kind: Any, source: Any, what: str, *, other_head: bool = False, **options: Any
) -> PreTrainedModel:
    """Load a model whose every weight comes from its file.

    Args:
        kind: auto class of transformers.
        source: folder of the model.
        what: name of the model, for messages.
        other_head: whether the model may have another head than the file: tensors of the file's
            are left out, and those of the model's are new; see `heads.mark_head`.
        options: further arguments of `from_pretrained`.

    Raises:
        InputError: it can't be loaded; tensors are missing, have no place or another shape; or a
            weight is not finite.
    """
    with reported_as(f"base {what!r} can't be loaded"):
        model, report = kind.from_pretrained(
            source, output_loading_info=True, ignore_mismatched_sizes=True, **options
        )
    if other_head:
        mark_head(model, _without_heads(report, model))
    _require_complete(report, what, type(model).__name__)
    unpack_torchao(model, what)
    prepare_4bit(model, what)
    _require_finite(model, what)
    return model


def _without_heads(report: dict[str, Any], model: PreTrainedModel) -> set[str]:
    """Take tensors of heads and poolers out of a report; return the names of the model's new ones.

    Args:
        report: report of loading, which is changed.
        model: the loaded model; without a head, only its pooler can be new.
    """
    trunk, bare = model.base_model_prefix, model.base_model is model

    def is_of_head(name: str) -> bool:
        in_trunk = name.startswith(f"{trunk}.") or BLOCK.match(name) or "embeddings." in name
        return not in_trunk or "pooler." in name

    def is_new(name: str) -> bool:
        return "pooler." in name if bare else is_of_head(name)

    mismatched = [one for one in report["mismatched_keys"] if is_new(one[0])]
    new = {name for name in report["missing_keys"] if is_new(name)} | {n for n, *_ in mismatched}
    report["mismatched_keys"] = [one for one in report["mismatched_keys"] if one not in mismatched]
    report["missing_keys"] = [name for name in report["missing_keys"] if name not in new]
    report["unexpected_keys"] = [n for n in report["unexpected_keys"] if not is_of_head(n)]
    return new


def _require_complete(report: dict[str, Any], what: str, architecture: str) -> None:
    """Refuse a model whose file and architecture differ."""
    if mismatched := sorted(report["mismatched_keys"], key=str):
        name, of_file, of_model = mismatched[0]
        raise InputError(
            f"base {what!r}: config.json does not fit the weights: {name} has the shape "
            f"{list(of_file)} in the file and {list(of_model)} by config.json"
            f"{_more(len(mismatched) - 1)}; correct config.json"
        )
    missing = sorted(report["missing_keys"])
    unexpected = sorted(name for name in report["unexpected_keys"] if not _LEFT_OUT.search(name))
    if missing and (other := _renamed(missing, unexpected)):
        raise InputError(
            f"base {what!r}: {other[0]}.* in the file is {other[1]}.* in {architecture}, so the "
            "file's weights would be left out, and random ones used; give a base that was saved "
            f"as {architecture}"
        )
    if missing:
        raise InputError(
            f"base {what!r}: the weights lack {len(missing)} tensors of this architecture, missing "
            f"are {_listed(missing)}{_reason(unexpected)}; save the model again with all weights"
        )
    if unexpected:
        raise InputError(
            f"base {what!r}: the weights hold {len(unexpected)} tensors that this architecture has "
            f"no place for: {_listed(unexpected)}; correct config.json, or save the model again"
        )


def _renamed(missing: list[str], unexpected: list[str]) -> tuple[str, str] | None:
    """Return the trunk's names in file and model if all tensors of the file differ in these."""
    by_trunk: dict[str, set[str]] = defaultdict(set)
    for name in missing:
        by_trunk[name.partition(".")[0]].add(name.partition(".")[2])
    of_file = {name.partition(".")[0] for name in unexpected}
    ends = {name.partition(".")[2] for name in unexpected}
    of_model = [trunk for trunk, own in by_trunk.items() if ends and ends <= own]
    return (of_file.pop(), of_model[0]) if len(of_file) == 1 and of_model else None


def _reason(unexpected: list[str]) -> str:
    """Describe the tensors that are there instead of the missing ones."""
    if not unexpected:
        return ""
    told = f", while {_listed(unexpected)} have no place"
    marks = [why for mark, why in _MISNAMED.items() if mark in unexpected[0]]
    return f"{told} ({marks[0]})" if marks else told


def _listed(names: Collection[str]) -> str:
    names = sorted(names)
    return ", ".join(names[:_SHOWN]) + _more(len(names) - _SHOWN)


def _more(count: int) -> str:
    return f" and {count} more" if count > 0 else ""


def _require_finite(model: PreTrainedModel, what: str) -> None:
    """Refuse weights that are NaN or infinite."""
    bad = [name for name, tensor in model.state_dict().items() if not _is_finite(tensor)]
    if bad:
        raise InputError(
            f"base {what!r}: NaN or infinite values in {_listed(bad)}; the file is damaged or its "
            "training diverged: use another copy"
        )


def _is_finite(tensor: Any) -> bool:
    """Whether all values are finite; packed integers and 8-bit floats are not looked into."""
    if not isinstance(tensor, torch.Tensor) or not tensor.is_floating_point():
        return True
    return tensor.element_size() < 2 or bool(torch.isfinite(tensor).all())
