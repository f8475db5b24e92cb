"""What a user says about a run: method, task, base, and how it is trained."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

UNKNOWN_TASK = "unknown"  # of what another program trained

Device = Literal["auto", "cpu", "cuda", "mps"]
Dtype = Literal["auto", "float32", "bfloat16"]


class StrictModel(BaseModel):
    """A configuration: unchangeable, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class TrainingConfig(StrictModel):
    """How a run is trained.

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

    Attributes:
        method: name of a file in methods/.
        task: name of a file in tasks/, or file:PATH, or hub:org/name.
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
