"""Weight precision: what a weight's values become in bfloat16, float16, int8 or 4-bit NormalFloat.

Values are computed, nothing is packed: the result has the dtype and shape of the weight. NF4 is
that of bitsandbytes without double quantization: 16 levels, which are quantiles of a normal
distribution, scaled by the largest absolute value in each block of 64 (Dettmers et al. 2023,
arXiv:2305.14314, section 3 and appendix E). int8 is that of LLM.int8() without its outlier columns:
256 even levels, scaled by the largest absolute value in each row (Dettmers et al. 2022,
arXiv:2208.07339, section 3). Both round to the nearest level.
"""

from typing import Literal, get_args

import torch

from peftlens.models.quantized import BLOCK

Precision = Literal["float32", "bfloat16", "float16", "int8", "nf4"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
QUANTIZED: tuple[Precision, ...] = ("int8", "nf4")  # of which serving keeps linear layers only

_SMALLEST = 1e-30  # divisor of zeros
NF4 = (
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635,
    -0.18477343022823334, -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725,
    0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941,
    0.7229568362236023, 1.0,
)  # fmt: skip


def rounded(weight: torch.Tensor, precision: Precision) -> torch.Tensor:
    """Return a weight's values after rounding to a precision, in the weight's own dtype.

    Args:
        weight: any float dtype, shape (..., d_out, d_in) for int8 and nf4, where a row has the
            inputs of one output.
        precision: one of `PRECISIONS`.
    """
    if precision == "nf4":
        return _nf4(weight.float()).to(weight.dtype)
    if precision == "int8":
        return _int8(weight.float()).to(weight.dtype)
    return weight.to(getattr(torch, precision)).to(weight.dtype)


def _nf4(weight: torch.Tensor) -> torch.Tensor:
    """Round to the nearest level in each block of 64 consecutive values, the last maybe shorter."""
    levels = torch.tensor(NF4, device=weight.device)  # (16,)
    flat = weight.flatten()
    padding = -len(flat) % BLOCK
    blocks = torch.nn.functional.pad(flat, (0, padding)).view(-1, BLOCK)  # (blocks, 64)
    scales = blocks.abs().amax(dim=1, keepdim=True)  # (blocks, 1)
    between = (levels[1:] + levels[:-1]) / 2  # (15,)
    nearest = torch.bucketize(blocks / scales.clamp_min(_SMALLEST), between)
    return (levels[nearest] * scales).flatten()[: len(flat)].view_as(weight)


def _int8(weight: torch.Tensor) -> torch.Tensor:
    """Round to the nearest multiple of 1/127 of each row's largest absolute value."""
    largest = weight.abs().amax(dim=-1, keepdim=True)  # (..., d_out, 1)
    steps = (weight * (127 / largest.clamp_min(_SMALLEST))).round()
    return steps * (largest / 127)
