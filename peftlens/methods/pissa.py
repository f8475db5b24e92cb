"""PiSSA: LoRA that starts from the largest singular directions of each weight.

B A starts as the best rank-r approximation of W and is trained; the rest of W is frozen. Source:
Meng, Wang & Zhang 2024, arXiv:2404.02948, section 3. Layers:
peft.LoraConfig(init_lora_weights="pissa"). Loading the adapter needs this start: plain peft
recomputes it from the base model.
"""

from dataclasses import dataclass

from torch import nn
from transformers import PreTrainedModel

from peftlens.layers.low_rank import LowRank, attach_lora, low_rank_parameters
from peftlens.models.target_modules import Shapes

FAMILY = "reparametrization"
FORMULA = "W' = (W − B₀ A₀) + B A,  B₀ A₀ the best approximation of W of rank r"
EXPOSES = frozenset({"delta_weight"})
LEARNING_RATE = 5e-4


@dataclass(frozen=True, kw_only=True)
class Config(LowRank):
    """Hyperparameters of LoRA.

    Attributes:
        alpha: numerator of the scale; the paper's is 1, so alpha = rank.
    """

    alpha: float = 8.0


def attach(model: PreTrainedModel, config: Config) -> nn.Module:
    """Split each target weight: its top directions into A and B, the rest frozen.

    The logits at the start equal the base model's up to rounding.
    """
    return attach_lora(model, config, init_lora_weights="pissa")


def trainable_parameters(config: Config, shapes: Shapes) -> int:
    """r (d_out + d_in) for each adapted matrix.

    Raises:
        InputError: the rank or alpha is out of range, or a target matches nothing.
    """
    return low_rank_parameters(config, shapes)
