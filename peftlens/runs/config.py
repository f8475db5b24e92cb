"""What a user says about a run: method, task, base, and how it is trained."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from peftlens.io.rows import save_rows

if TYPE_CHECKING:
    from peftlens.io.rows import Rows

UNKNOWN_TASK = "unknown"  # of what another program trained

Device = Literal["auto", "cpu", "cuda", "mps"]
Dtype = Literal["auto", "float32", "bfloat16"]


class StrictModel(BaseModel):
    """A configuration: unchangeable, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class TrainingConfig(StrictModel):
    """How a run is trained.

    Example:
        ```python
        training = pl.TrainingConfig(max_steps=60, learning_rate=1e-3, checkpoint_steps=(0, 20))
        ```

    Attributes:
        max_steps: optimizer steps; 0 trains nothing.
        batch_size: examples a forward pass.
        gradient_accumulation_steps: forward passes an optimizer step.
        learning_rate: highest rate; None takes the method's own default.
        lr_scheduler_type: shape of the decay after the warm-up.
        warmup_ratio: share of the steps with a rising rate.
        weight_decay: AdamW's decay, decoupled from the gradient.
        max_grad_norm: the gradient's norm is clipped here.
        max_length: tokens of prompt and answer together; longer prompts lose their beginning.
        checkpoint_steps: steps after which what is trained is saved; 0 is before the first.
        logging_steps: steps between two lines of metrics.
    """

    max_steps: Annotated[int, Field(ge=0)] = 100
    batch_size: Annotated[int, Field(ge=1)] = 16
    gradient_accumulation_steps: Annotated[int, Field(ge=1)] = 1
    learning_rate: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    lr_scheduler_type: Literal["linear", "cosine", "constant"] = "linear"
    warmup_ratio: Annotated[float, Field(ge=0, le=1)] = 0.1
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    max_grad_norm: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    max_length: Annotated[int, Field(ge=8)] = 256
    checkpoint_steps: tuple[Annotated[int, Field(ge=0)], ...] = ()
    logging_steps: Annotated[int, Field(ge=1)] = 10


class RunConfig(StrictModel):
    """Everything a user says about one run.

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
        method: name of a file in methods/.
        task: name of a file in tasks/, or file:PATH, or hub:org/name; or rows, which are saved in
            the cache, and whose file is then the task.
        base_model: smollm2-135m, a hub id with @revision, a model folder, or a .gguf file.
        method_config: values for the method's Config.
        task_config: values for the task's Config.
        training: how it is trained.
        seed: reaches every draw: initialization, order of the examples, dropout.
        continue_from: id of a run in the same folder whose adapter is trained on, instead of a new one.
        device: where it runs; auto takes a GPU if there is one.
        dtype: of the base's weights; auto takes bfloat16 where the device is fast at it.
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
