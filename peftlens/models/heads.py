"""Heads of classification and regression, new on a base model.

A head is the module that transformers puts on a model for such tasks, by
`AutoModelForSequenceClassification` and `AutoModelForTokenClassification`. Its tensors are in no
file of the base: they are drawn by the run's seed and data, alike for all methods, trained along
with every method, and saved with the adapter (peft's `modules_to_save`). Adapters of other programs
may also be of a model with a head for question answering, or of one without any head.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from torch import nn
from transformers import (
    AutoModel,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    PreTrainedModel,
)

from peftlens.errors import InputError
from peftlens.io.files import sha256_text
from peftlens.models.model_kind import kind_of

TaskType = Literal["SEQ_CLS", "TOKEN_CLS", "QUESTION_ANS", "FEATURE_EXTRACTION"]  # peft's names
_AUTO: dict[TaskType, Any] = {
    "SEQ_CLS": AutoModelForSequenceClassification,
    "TOKEN_CLS": AutoModelForTokenClassification,
    "QUESTION_ANS": AutoModelForQuestionAnswering,
    "FEATURE_EXTRACTION": AutoModel,
}
TASK_TYPES = tuple(_AUTO)
ALWAYS_NEW = ("classifier", "score")  # the layers of logits, which peft saves, too
_MODULES = "peftlens_head_modules"  # attribute of a model that has a head


@dataclass(frozen=True, kw_only=True)
class Head:
    """Head of a task.

    Attributes:
        task_type: SEQ_CLS for one output a text, TOKEN_CLS for one output a token, QUESTION_ANS for
            the start and the end of an answer, FEATURE_EXTRACTION for the model without any head.
        labels: names of the classes, in the order of the logits; none for regression.
    """

    task_type: TaskType
    labels: tuple[str, ...] = ()

    @classmethod
    def of_outputs(cls, task_type: TaskType, labels: tuple[str, ...]) -> "Head":
        """Return a head with outputs of these names, one of which alone is a number, no class."""
        is_number = task_type == "SEQ_CLS" and len(labels) == 1
        named = task_type != "FEATURE_EXTRACTION" and not is_number
        return cls(task_type=task_type, labels=labels if named else ())

    @classmethod
    def recorded(cls, depends_on: dict[str, Any]) -> "Head | None":
        """Return the head of a run by what its record says it depends on."""
        values = depends_on.get("head")
        return values and cls(task_type=values["task_type"], labels=tuple(values["labels"]))

    @property
    def is_regression(self) -> bool:
        """Whether the output is a number."""
        return self.task_type in ("SEQ_CLS", "TOKEN_CLS") and not self.labels

    @property
    def is_named(self) -> bool:
        """Whether its classes have other names than those that transformers makes up."""
        return self.labels != unnamed_labels(len(self.labels))

    def auto_class(self, config: Any, what: str) -> Any:
        """Return the class of transformers that puts such a head on a model.

        Args:
            config: configuration of the base model.
            what: name of the base model, for messages.

        Raises:
            InputError: there is no such head for this type of model.
        """
        auto = _AUTO[self.task_type]
        if kind_of(config) == "encoder-decoder":
            raise InputError(
                f"base {what!r} is an encoder-decoder, and heads are for encoders and decoders; "
                "leave out head, so that the labels are written as text"
            )
        if type(config) not in auto._model_mapping and not hasattr(config, "auto_map"):
            raise InputError(
                f"base {what!r} is a {config.model_type}, for which transformers has no "
                f"{auto.__name__}; leave out head, or use another base"
            )
        return auto

    def configured(self, config: Any) -> Any:
        """Return a copy of a model's configuration with the number of outputs and their names."""
        changed = copy(config)
        size = len(self.labels) or 1
        unchanged = not self.is_named and config.num_labels == size  # and the base's own names
        if self.task_type == "FEATURE_EXTRACTION" or unchanged:
            return changed
        changed.num_labels = size
        changed.id2label = dict(enumerate(self.labels or ("value",)))
        changed.label2id = {label: index for index, label in changed.id2label.items()}
        if self.task_type == "SEQ_CLS" and (self.is_named or self.is_regression):
            regression = self.is_regression
            changed.problem_type = "regression" if regression else "single_label_classification"
        return changed


def unnamed_labels(count: int) -> tuple[str, ...]:
    """Return the names that transformers gives to classes without names."""
    return tuple(f"LABEL_{index}" for index in range(count))


def head_of_model(model: Any) -> Head | None:
    """Return the head of a model of transformers; None for a language model.

    Args:
        model: model in memory, such as the one inside of a `PeftModel`.
    """
    for task_type, auto in _AUTO.items():
        if type(model).__name__ in auto._model_mapping._model_mapping.values():
            names = model.config.id2label
            return Head.of_outputs(task_type, tuple(str(names[index]) for index in sorted(names)))
    return None


def outputs(output: Any) -> torch.Tensor:
    """Return the logits, both logits of question answering, or the hidden states of an output.

    Args:
        output: output of a model of transformers that was given no labels.

    Returns:
        The tensor; of question answering shape (batch, seq, 2).
    """
    if hasattr(output, "start_logits"):
        return torch.stack([output.start_logits, output.end_logits], dim=-1)
    return output.logits if hasattr(output, "logits") else output.last_hidden_state


def mark_head(model: PreTrainedModel, missing: set[str]) -> None:
    """Note which modules of a model are its head.

    Args:
        model: model of a class with a head.
        missing: names of its parameters that are in no file.
    """
    new = {_module(name, model) for name in missing}
    new |= {name for name, _ in model.named_children() if name in ALWAYS_NEW}
    # in the model's order
    setattr(model, _MODULES, tuple(name for name, _ in model.named_modules() if name in new))


def _module(name: str, model: PreTrainedModel) -> str:
    """Return the module outside of the trunk, or its pooler, that a parameter belongs to."""
    first, *rest = name.split(".")
    return f"{first}.{rest[0]}" if first == model.base_model_prefix and rest else first


def head_modules(model: Any) -> tuple[str, ...]:
    """Return the dotted names of the modules of a model's new head; none without a head."""
    return getattr(model, _MODULES, ())


def is_in_head(name: str, model: Any) -> bool:
    """Whether a parameter of a base model belongs to its new head."""
    return any(name.startswith(f"{module}.") for module in head_modules(model))


def head_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return the parameters of a model's new head by name, peft's trained copies among them."""
    return {
        f"{module}.{name}": parameter
        for module in head_modules(model)
        for name, parameter in model.get_submodule(module).named_parameters()
    }


def head_state(model: nn.Module) -> dict[str, torch.Tensor]:
    """Return copies of the new head's tensors in use, by the base model's names.

    Args:
        model: a base model, with a method attached or not.
    """
    return {
        name.replace(".modules_to_save.default", ""): parameter.detach().clone()
        for name, parameter in head_parameters(model).items()
        if ".original_module." not in name  # which peft keeps beside the copy that it trains
    }


def put_head(model: PreTrainedModel, tensors: Mapping[str, torch.Tensor]) -> None:
    """Replace the parameters of the new head by copies of `head_state`'s.

    The old parameters are unchanged, so a snapshot restores them.
    """
    for name, tensor in tensors.items():
        module, _, last = name.rpartition(".")
        parameter = nn.Parameter(tensor.clone(), requires_grad=False)
        model.get_submodule(module)._parameters[last] = parameter


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw torch's numbers on the CPU from this seed in the block, and go on as before after it."""
    state = torch.random.get_rng_state()
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        torch.random.set_rng_state(state)


def head_seed(seed: int, data: str) -> int:
    """Return the seed by which the new head of a task is drawn, another one for each task.

    Args:
        seed: seed of the run.
        data: hash of the task's data, which does not depend on where its file is.
    """
    return int(sha256_text(f"{seed} {data}")[:15], 16)


def draw_head(model: PreTrainedModel, seed: int) -> None:
    """Replace the parameters of the new head by newly drawn ones, as transformers draws them.

    The numbers depend on the seed alone, and those that are drawn later are as without a head. The
    old parameters are unchanged, so a snapshot restores them. Without a new head nothing is done.
    """
    if not head_modules(model):
        return
    with seeded(seed):
        for owner, name in _owned(model):
            old = cast("nn.Parameter", owner._parameters[name])
            # on the CPU, whose numbers are the same on every machine
            owner._parameters[name] = nn.Parameter(old.detach().cpu().float().clone())
        for module in head_modules(model):
            for part in model.get_submodule(module).modules():
                model._init_weights(part)
        model._init_weights(model)  # ModernBERT draws its classifier here; loaded weights stay
        for owner, name in _owned(model):
            drawn = cast("nn.Parameter", owner._parameters[name]).detach()
            drawn = drawn.to(model.device, model.dtype)
            owner._parameters[name] = nn.Parameter(drawn, requires_grad=False)


def _owned(model: nn.Module) -> Iterator[tuple[nn.Module, str]]:
    """Yield module and name of each parameter of the new head."""
    for module in head_modules(model):
        for part in model.get_submodule(module).modules():
            for name, parameter in part._parameters.items():
                if parameter is not None:
                    yield part, name
