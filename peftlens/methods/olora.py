"""OLoRA: LoRA that starts from an orthonormal basis, the QR decomposition of each weight.

B and A start as the first r columns of Q and rows of R; their scaled product is subtracted from the
frozen weight. Source: Büyükakyüz 2024, arXiv:2406.01775. Layers:
peft.LoraConfig(init_lora_weights="olora").
"""

from dataclasses import dataclass

from torch import nn
from transformers import PreTrainedModel

from peftlens.layers.low_rank import LowRank, attach_lora, low_rank_parameters
from peftlens.models.architecture import copy_weights
from peftlens.models.architecture import shapes as shapes_of
from peftlens.models.target_modules import Shapes, linear_layers

FAMILY = "reparametrization"
FORMULA = "W' = (W − s B₀ A₀) + s B A,  B₀ A₀ from the QR decomposition of W, s = alpha / rank"
EXPOSES = frozenset({"delta_weight"})
LEARNING_RATE = 5e-4


@dataclass(frozen=True, kw_only=True)
class Config(LowRank):
    """Hyperparameters of LoRA."""


def attach(model: PreTrainedModel, config: Config) -> nn.Module:
    """Split each target weight: the first r directions of its QR into B and A, the rest frozen.

    The logits at the start equal the base model's up to rounding.
    """
    # peft subtracts in place, which must not reach the base model's tensors
    targets = linear_layers(shapes_of(model), config.target_modules)
    copy_weights(model, {f"{name}.weight" for name in targets})
    return attach_lora(model, config, straight=True, init_lora_weights="olora")


def trainable_parameters(config: Config, shapes: Shapes) -> int:
    """r (d_out + d_in) for each adapted matrix.

    Raises:
        InputError: the rank or alpha is out of range, or a target matches nothing.
    """
    return low_rank_parameters(config, shapes)
