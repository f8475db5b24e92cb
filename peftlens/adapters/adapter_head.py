"""Head of an adapter's model: by peft's task type, the tensors in the file, and the base.

peft saves the heads that it knows (`classifier`, `score`, `qa_outputs`) along with an adapter, and
writes the number of classes nowhere; it is the number of rows of the head's last layer.
"""

import re
from typing import Any

from transformers import AutoModel

from peftlens.adapters.adapter_config import CONFIG, PREFIX, TASK
from peftlens.adapters.adapter_file import WEIGHTS, AdapterFile
from peftlens.adapters.tensor_names import misplaced
from peftlens.errors import InputError
from peftlens.models.base_model import base_config
from peftlens.models.heads import TASK_TYPES, Head, unnamed_labels
from peftlens.models.model_folder import read_json
from peftlens.models.model_kind import kind_of

# last layers of the heads of transformers, by the ends of their names
_LAST = re.compile(
    r"(^|\.)(classifier|score|qa_outputs|logits_proj|linear_out|"
    r"(classifier|classification_head)\.out_proj)\.weight$"
)
_MODEL = "config.json"  # of the model, which some trainers save along
_OF_A_BARE_DECODER = {"layers", "h", "decoder", "blocks"}  # where the names of its parts begin


def head_of_file(file: AdapterFile) -> Head | None:
    """Return the head that an adapter was trained with; None for a language model's.

    The classes have the names of a model's config.json beside the adapter, where there is one for
    as many classes; otherwise LABEL_0 and so on.

    Raises:
        InputError: the adapter of a classifier holds no head.
    """
    task = file.config.get(TASK)
    if task not in TASK_TYPES:
        return None
    sizes = [entry.shape[0] for name, entry in file.header.items() if _LAST.search(name)]
    if not sizes and task in ("SEQ_CLS", "TOKEN_CLS"):
        raise InputError(
            f"{file.folder / WEIGHTS} holds no head (classifier or score), though "
            f"{file.folder / CONFIG} has task_type={task!r}: its training did not save it; name "
            "the head in modules_to_save, and train again"
        )
    size = sizes[0] if sizes else 2
    return Head.of_outputs(task, _class_names(file, size) or unnamed_labels(size))


def _class_names(file: AdapterFile, size: int) -> tuple[str, ...]:
    """Return the names of the classes in config.json beside an adapter; none for another number."""
    try:
        names = read_json(file.folder / _MODEL).get("id2label")
    except InputError:  # no file, or a damaged one, which is no part of an adapter
        return ()
    indices = [str(index) for index in range(size)]
    if not isinstance(names, dict) or names.keys() != {*indices}:
        return ()
    return tuple(str(names[index]) for index in indices)


def head_on_base(file: AdapterFile, base: str, trust_remote_code: bool = False) -> Head | None:
    """Return the head to open a base model with, so that an adapter's names have a place.

    An adapter that names no task may be of a model without a head, as those of sentence encoders.

    Args:
        file: the adapter.
        base: name of the base model.
        trust_remote_code: see `load_base_model`.

    Raises:
        InputError: the adapter holds no head; see also `load_base_model`.
    """
    head = head_of_file(file)
    if head or file.config.get(TASK) or not file.is_peft_type:
        return head
    config = base_config(base, trust_remote_code)
    return Head(task_type="FEATURE_EXTRACTION") if _is_bare(file, config) else None


def _is_bare(file: AdapterFile, config: Any) -> bool:
    """Whether no tensor's name begins with the model's name, as it does below any head."""
    kind = AutoModel._model_mapping.get(type(config), None)  # pyright: ignore[reportAttributeAccessIssue]
    trunk = getattr(kind, "base_model_prefix", "")
    first = {n.removeprefix(PREFIX).split(".")[0] for n in file.header if n.startswith(PREFIX)}
    if not first or not trunk or trunk in first or misplaced(file):
        return False
    return kind_of(config) == "encoder" or bool(first & _OF_A_BARE_DECODER)
