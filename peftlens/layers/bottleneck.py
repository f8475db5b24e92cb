"""The bottleneck of adapters: down, a nonlinearity, up; and where in a block it is put."""

from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
from torch import nn

from peftlens.models.architecture import Shapes, sites

Placement = Literal["feed_forward", "attention", "both"]
ROLES: Mapping[str, tuple[Literal["attention", "feed_forward"], ...]] = {
    "feed_forward": ("feed_forward",),
    "attention": ("attention",),
    "both": ("attention", "feed_forward"),
}


class Bottleneck(nn.Module):
    """W_up relu(W_down h + b_down) + b_up, in float32 whatever the base's dtype.

    Source: Houlsby et al. 2019, arXiv:1902.00751, section 2.1.
    """

    def __init__(self, width: int, size: int) -> None:
        super().__init__()
        self.down = nn.Linear(width, size)
        self.up = nn.Linear(size, width)
        nn.init.zeros_(self.up.weight)  # nothing is added at the start
        nn.init.zeros_(self.up.bias)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Shape (..., d) to (..., d); the sum with `hidden` is the caller's."""
        return self.up(torch.relu(self.down(hidden.float())))


def bottleneck_parameters(width: int, size: int) -> int:
    """2 d m weights, m and d biases."""
    return 2 * width * size + size + width


def places(shapes: Shapes, placement: Placement) -> dict[str, int]:
    """Names and widths of the modules that an adapter is put at.

    Raises:
        InputError: the model has none of a known name.
    """
    return {name: d for role in ROLES[placement] for name, d in sites(shapes, role).items()}


def change_output(module: nn.Module, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
    """Let `change` replace the module's first output, which has shape (B, T, d)."""

    def hook(_: nn.Module, __: Any, output: Any) -> Any:
        if isinstance(output, tuple):
            return (change(output[0]), *output[1:])
        return change(output)

    module.register_forward_hook(hook)


def watch_input(module: nn.Module, see: Callable[[torch.Tensor], None]) -> None:
    """Show `see` the hidden states (B, T, d) that the module reads."""

    def hook(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        see(args[0] if args else kwargs["hidden_states"])

    module.register_forward_pre_hook(hook, with_kwargs=True)


class Parallel(nn.Module):
    """A bottleneck beside a module: reads what the module reads, adds to what it gives.

    Source: He et al. 2021, arXiv:2110.04366, section 4.3 (parallel) and 4.5 (scaled).
    """

    def __init__(self, width: int, size: int, scale: float) -> None:
        super().__init__()
        self.bottleneck = Bottleneck(width, size)
        self.scale = scale
        self._seen = torch.empty(0)

    def put_beside(self, model: nn.Module, name: str) -> None:
        """Read at the module's input; OPT's feed-forward has two modules, read at the first's."""
        site: Any = model.get_submodule(name)
        site.parallel = self
        entrance = f"{name.removesuffix('fc2')}fc1" if name.endswith(".fc2") else name
        watch_input(model.get_submodule(entrance), self._see)
        change_output(site, self.forward)

    def _see(self, hidden: torch.Tensor) -> None:
        self._seen = hidden

    def forward(self, output: torch.Tensor) -> torch.Tensor:
        """Shape (B, T, d): the module's output and what the bottleneck adds to it."""
        added = self.scale * self.bottleneck(self._seen)
        self._seen = torch.empty(0)  # what is not held can be freed
        return output + added.to(output.dtype)
