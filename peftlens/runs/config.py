"""Configuration of a run: method, task, base model and training."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    field_validator,
    model_validator,
)

from peftlens.io.files import canonical_json
from peftlens.io.rows import save_rows

if TYPE_CHECKING:
    from peftlens.io.rows import Rows

UNKNOWN_TASK = "unknown"  # task of adapters from other programs

DEFAULT_LENGTH = 256  # tokens of a row, where the data do not decide
DPO_BETA = 0.1  # Rafailov et al. 2023, arXiv:2305.18290, appendix B
KEEP_DATA = "passages"  # text on which a run is kept near its base, where none is named
# Default weights of `Keep`. KL, cross-entropy and the quadratic of ewc are nats per token, as the
# loss is; l2sp has one of the weights among which Li et al. 2018, arXiv:1802.01483, choose.
KEEP_WEIGHTS = {"kl": 1.0, "masked_kl": 1.0, "replay": 1.0, "ewc": 1.0, "l2sp": 0.1}
TEXT_KINDS = ("kl", "replay", "ewc")  # kinds of `Keep` that read general text
Device = Literal["auto", "cpu", "cuda", "mps"]
Dtype = Literal["auto", "float32", "bfloat16"]


class StrictModel(BaseModel):
    """Immutable configuration; unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Keep(StrictModel):
    """How a run is kept from forgetting what its base could do.

    Attributes:
        kind: kl: KL(base || trained) of the next token on general text; masked_kl: the same on the
            training rows, on all their tokens but the targets; replay: loss on general text; ewc:
            quadratic penalty with the base's Fisher information; l2sp: squared distance from the
            base's weights; orthogonal: steps orthogonal to the gradients of earlier tasks.
        weight: factor of the penalty beside the loss; orthogonal has none.
        data: general text of kl, replay and ewc: a task of running text, or file:PATH or
            hub:org/name with a column `text`. Its training split is used.
    """

    kind: Literal["kl", "masked_kl", "replay", "ewc", "l2sp", "orthogonal"]
    weight: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    data: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, values: Any) -> Any:
        """Write the defaults out, so that equal runs have equal configurations."""
        if not isinstance(values, Mapping):
            return values
        kind, given = str(values.get("kind")), {k: v for k, v in values.items() if v is not None}
        texts = {"data": KEEP_DATA} if kind in TEXT_KINDS else {}
        weight = {"weight": KEEP_WEIGHTS[kind]} if kind in KEEP_WEIGHTS else {}
        return {**weight, **texts, **given}

    @model_validator(mode="after")
    def _check_fields(self) -> "Keep":
        if self.weight is not None and self.kind not in KEEP_WEIGHTS:
            raise ValueError(f"{self.kind} projects the steps, so leave out weight")
        if self.data is not None and self.kind not in TEXT_KINDS:
            raise ValueError(f"{self.kind} reads no general text, so leave out data")
        return self


class TrainingConfig(StrictModel):
    """Configuration of a training loop.

    Example:
        ```python
        training = pl.TrainingConfig(max_steps=60, learning_rate=1e-3, checkpoint_steps=(0, 20))
        ```

    Attributes:
        max_steps: number of optimizer steps; 0 for no training.
        batch_size: number of examples per forward pass.
        gradient_accumulation_steps: number of forward passes per optimizer step.
        learning_rate: peak learning rate; None for the method's default.
        lr_scheduler_type: shape of the decay after the warm-up.
        warmup_ratio: fraction of the steps in which the rate increases.
        weight_decay: weight decay of AdamW, decoupled from the gradient.
        max_grad_norm: upper limit of the gradient's norm, which is clipped.
        max_length: highest number of tokens of prompt and answer together; longer prompts are cut
            at the beginning. auto for the 99th percentile of the training rows; None for auto with
            conversations, written answers and preferences, and for 256 with other tasks.
        checkpoint_steps: steps after which the adapter is saved; 0 for its initial state.
        logging_steps: number of steps between two lines of metrics.
        shuffle_labels: whether to shuffle the training examples' answers, for a control that can
            learn nothing about the task but its format; validation and test keep theirs.
        canaries: numbers of copies of random secrets to plant among the training examples, one
            secret for each number, whose memorization the probe canary_exposure measures.
        loss: sft for the right answer's likelihood, dpo for its preference over a rejected one
            (direct preference optimization), with the base as the reference.
        dpo_beta: β of dpo, how strongly the model is kept near the base.
        keep: how the run is kept from forgetting; None for nothing of the kind.
    """

    max_steps: Annotated[int, Field(ge=0)] = 100
    batch_size: Annotated[int, Field(ge=1)] = 16
    gradient_accumulation_steps: Annotated[int, Field(ge=1)] = 1
    learning_rate: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    lr_scheduler_type: Literal["linear", "cosine", "constant"] = "linear"
    warmup_ratio: Annotated[float, Field(ge=0, le=1)] = 0.1
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    max_grad_norm: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    max_length: Annotated[int, Field(ge=8)] | Literal["auto"] | None = None
    checkpoint_steps: tuple[Annotated[int, Field(ge=0)], ...] = ()
    logging_steps: Annotated[int, Field(ge=1)] = 10
    # left out unless set: ids of runs without it stay the same
    shuffle_labels: Annotated[bool, Field(exclude_if=lambda value: not value)] = False
    canaries: Annotated[
        tuple[Annotated[int, Field(ge=1, le=10_000)], ...],
        Field(max_length=20, exclude_if=lambda value: not value),
    ] = ()
    loss: Annotated[Literal["sft", "dpo"], Field(exclude_if=lambda value: value == "sft")] = "sft"
    dpo_beta: Annotated[float, Field(gt=0, exclude_if=lambda value: value == DPO_BETA)] = DPO_BETA
    keep: Annotated[Keep | None, Field(exclude_if=lambda value: value is None)] = None

    @field_validator("max_length", mode="wrap")
    @classmethod
    def _check_length(cls, value: Any, check: ValidatorFunctionWrapHandler) -> Any:
        try:
            return check(value)
        except ValidationError:  # of two types, with a message for each
            raise ValueError(f"{value!r} is neither 'auto' nor 8 tokens or more") from None

    @property
    def sequence_length(self) -> int:
        """Highest number of tokens of a row; the default's where a record has no number."""
        return self.max_length if isinstance(self.max_length, int) else DEFAULT_LENGTH


class RunConfig(StrictModel):
    """Complete configuration of one run.

    Example:
        ```python
        config = pl.RunConfig(method="lora", task="bbc_topic", method_config={"rank": 8})
        config = pl.RunConfig(
            method="prompt_tuning",
            task=frame,  # a pandas.DataFrame, a datasets.Dataset or a list of dicts
            task_config={"template": "{review} Rating:", "label": "stars"},
            training={"max_steps": 60},
        )
        ```

    Attributes:
        method: name of the method, a file in methods/.
        task: name of a task in tasks/, file:PATH or hub:org/name; rows are saved to a file in the
            cache, which becomes the task.
        base_model: smollm2-135m, a hub id with @revision, a model folder, or a .gguf file.
        method_config: values of the method's Config.
        task_config: values of the task's Config.
        training: configuration of the training loop.
        seed: random seed of initialization, order of examples and dropout.
        continue_from: id of a run in the same folder whose adapter is trained further, with a new
            head for a task of another name; None for a new adapter.
        device: device of the run; auto for a GPU if there is one.
        dtype: dtype of the base model's weights; auto for bfloat16 on devices that are fast at it.
    """

    method: str
    task: str
    base_model: str = "smollm2-135m"
    method_config: dict[str, Any] = {}
    task_config: dict[str, Any] = {}
    training: TrainingConfig = TrainingConfig()
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    continue_from: str | None = None
    device: Device = "auto"
    dtype: Dtype = "auto"

    @field_validator("task", mode="before")
    @classmethod
    def _saved(cls, task: Any) -> str:
        return task if isinstance(task, str) else f"file:{save_rows(task)}"

    @field_validator("method_config", "task_config")
    @classmethod
    def _is_json(cls, values: dict[str, Any]) -> dict[str, Any]:
        for key, value in values.items():
            try:
                canonical_json(value)
            except (TypeError, ValueError, RecursionError) as error:
                raise ValueError(
                    f"{key} is no JSON value ({error}); write dates as text, and numbers finite"
                ) from error
        return values

    if TYPE_CHECKING:  # values that validation converts

        def __init__(  # noqa: PLR0913  # a field each
            self,
            *,
            method: str,
            task: str | Rows,
            base_model: str = "smollm2-135m",
            method_config: Mapping[str, Any] = {},
            task_config: Mapping[str, Any] = {},
            training: TrainingConfig | Mapping[str, Any] = TrainingConfig(),
            seed: int = 0,
            continue_from: str | None = None,
            device: Device = "auto",
            dtype: Dtype = "auto",
        ) -> None: ...
