"""MAM adapter: a short prefix in attention and a scaled parallel adapter at the feed-forward layer.

Source: He et al. 2021, arXiv:2110.04366, section 4.6. In an encoder-decoder the prefix is in the
decoder, the adapters are in both. Learning rate: the best of five on bbc_topic and word_sentiment
(SmolLM2-135M, 60 steps of 8 examples); the authors use 1e-4 over ten epochs of GLUE
(jxhe/unify-parameter-efficient-tuning).
"""

from dataclasses import dataclass, replace

from torch import nn
from transformers import PreTrainedModel

from peftlens.data.method_context import MethodContext
from peftlens.errors import require, require_positive
from peftlens.layers.bottleneck import Parallel, bottleneck_parameters
from peftlens.layers.prefix import Prefix, prefix_parameters
from peftlens.models.architecture import freeze, sites
from peftlens.models.architecture import shapes as shapes_of
from peftlens.models.target_modules import Shapes

FAMILY = "mix"
FORMULA = "K' = [P_K; K], V' = [P_V; V];  y = f(x) + s (W_up relu(W_down x + b_down) + b_up)"
EXPOSES = frozenset()
UNMERGEABLE = "neither the prefix nor the bottleneck is an update of a weight"
NEEDS_CACHE = True
LEARNING_RATE = 3e-3


@dataclass(frozen=True, kw_only=True)
class Config:
    """Hyperparameters.

    Attributes:
        bottleneck_size: inner size of the adapters.
        num_virtual_tokens: length of the prefix.
        scale: fixed factor on the adapters' output; dimensionless.
        common_ids: ranges of ids of the tokens from which the prefix starts, filled in from the
            tokenizer: the 5,000 most common.
    """

    bottleneck_size: int = 32
    num_virtual_tokens: int = 30
    scale: float = 4.0
    common_ids: tuple[tuple[int, int], ...] = ()


def resolve_config(config: Config, context: MethodContext) -> Config:
    """Fill in the most common tokens."""
    return replace(config, common_ids=context.common_ids())


def attach(model: PreTrainedModel, config: Config) -> nn.Module:
    """Freeze `model` in place; add a prefix and adapters parallel to its feed-forward layers.

    The adapters add nothing at the start; the prefix changes the output from the start.

    Raises:
        InputError: the model has no feed-forward layer of a known name.
    """
    freeze(model)
    for name, width in sites(shapes_of(model), "feed_forward").items():
        adapter = Parallel(width, config.bottleneck_size, config.scale).to(model.device)
        adapter.put_beside(model, name)
    Prefix(model, config.num_virtual_tokens, config.common_ids).put_before(model)
    return model


def trainable_parameters(config: Config, shapes: Shapes) -> int:
    """2 d m + m + d for each adapter; a key and a value per layer for each virtual token.

    Raises:
        InputError: a value is out of range, or a layer has an unknown name.
    """
    require("bottleneck_size", config.bottleneck_size, 1)
    require_positive("scale", config.scale)
    widths = sites(shapes, "feed_forward").values()
    adapters = sum(bottleneck_parameters(width, config.bottleneck_size) for width in widths)
    return adapters + prefix_parameters(shapes, config.num_virtual_tokens)
