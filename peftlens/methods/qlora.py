"""QLoRA: LoRA on a frozen base whose weights are kept in 4-bit NormalFloat (NF4).

Source: Dettmers et al. 2023, arXiv:2305.14314, section 3. Layers: bitsandbytes.nn.Linear4bit and
peft.LoraConfig. All linear layers of the blocks are quantized, whether adapted or not; embeddings,
head, normalizations, experts, routers, and layers whose number of inputs is not a multiple of 64,
keep the base's dtype. Needs the extra [quant]. Learning rate: as LoRA's; the authors' script has
one default for both, 2e-4 up to 13 billion parameters (artidoro/qlora).
"""

import importlib
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from peftlens.errors import InputError
from peftlens.io.extras import install_command
from peftlens.layers.low_rank import LowRank, attach_lora, low_rank_parameters
from peftlens.models.architecture import shapes as shapes_of
from peftlens.models.quantized import BLOCK, require_plain
from peftlens.models.target_modules import Shapes, block_layers

FAMILY = "reparametrization"
FORMULA = "W' = dequantize(NF4(W)) + (alpha / rank) B A"
EXPOSES = frozenset({"delta_weight"})
PACKAGES = ("bitsandbytes",)
LEARNING_RATE = 3e-3


@dataclass(frozen=True, kw_only=True)
class Config(LowRank):
    """Hyperparameters of LoRA and of the quantization.

    Attributes:
        double_quant: whether the scales are quantized too: 4.127 instead of 4.5 bits per weight.
    """

    double_quant: bool = True


def attach(model: PreTrainedModel, config: Config) -> nn.Module:
    """Quantize the blocks' linear layers and add a trainable A and B, in float32, to each target.

    B starts at zero, so the wrapped model's logits equal the quantized base's, not the base's.

    Raises:
        InputError: bitsandbytes is not installed, or the base is quantized already.
    """
    library = _bitsandbytes()
    require_plain(model.named_parameters(), "qlora can't quantize it again")
    # T5 casts the input of `wo` to the dtype of its weight, which in 4 bits is uint8
    kept = getattr(model, "_keep_in_fp32_modules", None) or ()
    for name, (_, d_in) in block_layers(shapes_of(model)).items():
        if name.split(".")[-1] not in kept and d_in % BLOCK == 0:
            layer: Any = model.get_submodule(name)
            model.set_submodule(name, _quantized(layer, config.double_quant, library))
    # peft picks its 4-bit layer by this flag, which transformers sets when it quantizes
    model.is_loaded_in_4bit = True  # pyright: ignore[reportArgumentType]
    return attach_lora(model, config)


def _bitsandbytes() -> ModuleType:
    try:
        return importlib.import_module("bitsandbytes")
    except ImportError as error:
        raise InputError(
            f"qlora needs bitsandbytes, which is not installed: {install_command('quant')}"
        ) from error


def _quantized(layer: nn.Linear | Conv1D, double_quant: bool, library: Any) -> nn.Module:
    """Make an NF4 copy of a layer that computes in the layer's dtype; the layer is unchanged."""
    weight = layer.weight.detach()
    if isinstance(layer, Conv1D):
        weight = weight.T
    rows, columns = weight.shape
    new = library.nn.Linear4bit(columns, rows, layer.bias is not None, weight.dtype, device="meta")
    new.weight = library.nn.Params4bit(
        weight, quant_type="nf4", compress_statistics=double_quant, module=new
    ).to(weight.device)  # the transfer quantizes
    if layer.bias is not None:
        # a separate parameter: bitsandbytes may assign to its data
        new.bias = nn.Parameter(layer.bias.detach(), requires_grad=False)
    # With AVX512-BF16, bitsandbytes repacks weights in evaluation: it rounds the scales, has no
    # gradient, breaks peft's merge, and fails unless rows divide by 32 and columns by 64.
    new.support_avx512bf16_for_cpu = False
    return new.train(layer.training)


def merge(model: Any) -> PreTrainedModel:
    """Unpack each 4-bit weight of the base and add its update, both in float32.

    peft would quantize the sum again, which loses about as much as training gained.
    """
    plain = model.base_model.model
    for name, module in list(plain.named_modules()):
        adapted = hasattr(module, "base_layer")
        layer = _unpacked(module.base_layer if adapted else module)
        if adapted:
            whole = layer.weight + module.get_delta_weight("default")
            layer.weight = nn.Parameter(whole, requires_grad=False)
        if layer is not module and not name.endswith(".base_layer"):
            plain.set_submodule(name, layer)
    return plain


def _unpacked(layer: Any) -> Any:
    """Convert a 4-bit layer to a plain one in float32; return any other layer unchanged."""
    library = _bitsandbytes()
    if not isinstance(layer, library.nn.Linear4bit):
        return layer
    packed = layer.weight
    weight = library.functional.dequantize_4bit(packed.data, packed.quant_state).float()
    plain = nn.Linear(1, 1, device="meta")
    plain.weight = nn.Parameter(weight, requires_grad=False)
    plain.bias = layer.bias
    return plain


def trainable_parameters(config: Config, shapes: Shapes) -> int:
    """r (d_in + d_out) for each adapted matrix, as in LoRA.

    Raises:
        InputError: the rank or alpha is out of range, a target matches nothing, or bitsandbytes is
            not installed.
    """
    _bitsandbytes()
    return low_rank_parameters(config, shapes, experts=True)
