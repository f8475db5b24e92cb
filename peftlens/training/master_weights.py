"""Master weights: float32 copies of weights that are trained in lower precision.

AdamW's steps are often smaller than the spacing of bfloat16 and would round away (Micikevicius
et al. 2018, arXiv:1710.03740, section 3.1).
"""

from collections.abc import Callable, Iterable

import torch
from torch import nn


class MasterWeights:
    """float32 copies of trained low-precision weights, for the optimizer.

    Args:
        parameters: parameters of a model; frozen ones are ignored.

    Attributes:
        trained: parameters for the optimizer: copies, and the weights already in float32.
    """

    def __init__(self, parameters: Iterable[nn.Parameter]) -> None:
        self._pairs: list[tuple[nn.Parameter, nn.Parameter]] = []
        self.trained: list[nn.Parameter] = []
        for parameter in parameters:
            if not parameter.requires_grad:
                continue
            master = parameter
            if parameter.dtype != torch.float32:
                master = nn.Parameter(parameter.detach().float())
                parameter.register_post_accumulate_grad_hook(_accumulate_in_float32(master))
                self._pairs.append((parameter, master))
            self.trained.append(master)

    @property
    def bytes(self) -> int:
        """Size of the copies."""
        return sum(master.nbytes for _, master in self._pairs)

    def write_back(self) -> None:
        """Round the copies into the model."""
        with torch.no_grad():
            for parameter, master in self._pairs:
                parameter.copy_(master)


def _accumulate_in_float32(master: nn.Parameter) -> Callable[[torch.Tensor], None]:
    """Make a hook that sums gradients in float32 and frees the low-precision gradient."""

    def accumulate(parameter: torch.Tensor) -> None:
        if parameter.grad is not None:
            gradient = parameter.grad.float()
            master.grad = gradient if master.grad is None else master.grad + gradient
            parameter.grad = None

    return accumulate
