"""Bottleneck adapter: down-projection, nonlinearity, up-projection; and its places in a block."""

from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
from torch import nn

from peftlens.models.architecture import sites
from peftlens.models.target_modules import Shapes

Placement = Literal["feed_forward", "attention", "both"]
ROLES: Mapping[str, tuple[Literal["attention", "feed_forward"], ...]] = {
    "feed_forward": ("feed_forward",),
    "attention": ("attention",),
    "both": ("attention", "feed_forward"),
}
# First module of a layer by the end of its last one's name, where no module holds both (OPT, BERT).
_ENTRANCES = {
    ".fc2": ".fc1",
    ".attention.output.dense": ".attention",
    ".output.dense": ".intermediate.dense",
}


class Bottleneck(nn.Module):
    """W_up relu(W_down h + b_down) + b_up, in float32 whatever the base's dtype.

    Source: Houlsby et al. 2019, arXiv:1902.00751, section 2.1.
    """

    def __init__(self, width: int, size: int) -> None:
        super().__init__()
        self.down = nn.Linear(width, size)
        self.up = nn.Linear(size, width)
        nn.init.zeros_(self.up.weight)  # the output is zero at the start
        nn.init.zeros_(self.up.bias)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Shape (..., d) to (..., d); the caller adds `hidden`."""
        return self.up(torch.relu(self.down(hidden.float())))


def bottleneck_parameters(width: int, size: int) -> int:
    """Number of parameters: 2 d m weights and m + d biases."""
    return 2 * width * size + size + width


def places(shapes: Shapes, placement: Placement) -> dict[str, int]:
    """Return names and widths of the modules that get an adapter.

    Raises:
        InputError: the model has none with a recognized name.
    """
    return {name: d for role in ROLES[placement] for name, d in sites(shapes, role).items()}


def change_output(module: nn.Module, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
    """Hook a module so that `change` maps its first output, shape (batch, seq, d)."""

    def hook(_: nn.Module, __: Any, output: Any) -> Any:
        if isinstance(output, tuple):
            return (change(output[0]), *output[1:])
        return change(output)

    module.register_forward_hook(hook)


def watch_input(module: nn.Module, see: Callable[[torch.Tensor], None]) -> None:
    """Hook a module so that `see` gets its input, hidden states (batch, seq, d)."""

    def hook(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        see(args[0] if args else kwargs["hidden_states"])

    module.register_forward_pre_hook(hook, with_kwargs=True)


class Parallel(nn.Module):
    """A bottleneck parallel to a module: reads the module's input and adds to its output.

    Source: He et al. 2021, arXiv:2110.04366, section 4.3 (parallel) and 4.5 (scaled).
    """

    def __init__(self, width: int, size: int, scale: float) -> None:
        super().__init__()
        self.bottleneck = Bottleneck(width, size)
        self.scale = scale
        self._seen = torch.empty(0)

    def put_beside(self, model: nn.Module, name: str) -> None:
        """Attach to a module, or to the last of several, whose first one's input is read."""
        site: Any = model.get_submodule(name)
        site.parallel = self
        last = next((end for end in _ENTRANCES if name.endswith(end)), "")
        entrance = name.removesuffix(last) + _ENTRANCES.get(last, "")
        watch_input(model.get_submodule(entrance), self._see)
        change_output(site, self.forward)

    def _see(self, hidden: torch.Tensor) -> None:
        self._seen = hidden

    def forward(self, output: torch.Tensor) -> torch.Tensor:
        """Add the bottleneck's output to the module's, shape (batch, seq, d)."""
        added = self.scale * self.bottleneck(self._seen)
        self._seen = torch.empty(0)  # lets the hidden states be freed
        return output + added.to(output.dtype)
