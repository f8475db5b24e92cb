"""Random updates of equal norm: what a run's adapter would be if its training had learned nothing.

Any update of a certain size changes what a model says. The null of a reading is therefore the run
itself with its change replaced by a random one:

- LoRA and its variants: the singular values of each update ΔW stay, and its singular vectors are
  random orthonormal ones, for the factors and therefore without a matrix of W's size;
- any other trained tensor θ: its start θ₀ and a Gaussian as long as θ − θ₀. Rows as wide as the
  embeddings (virtual tokens, rows of the token table) keep each its own length, so that tokens of
  which the training text has none stay as they were.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from peft.tuners.lora import LoraLayer
from torch import nn

from peftlens.adapters.checkpoint import assign, attach_run, state
from peftlens.adapters.initial_state import initial_state
from peftlens.models.architecture import embedding_weight
from peftlens.models.base_model import BaseModel
from peftlens.models.snapshot import restored_after
from peftlens.numerics.linalg import product_svd
from peftlens.results.table import NotApplicable
from peftlens.runs.trained_model import TrainedModel


@contextmanager
def open_random_update(
    run: TrainedModel, base: BaseModel, seed: int, step: int | None = None
) -> Iterator[nn.Module]:
    """Attach a run with a random update of equal norm for the duration of the block.

    Args:
        run: a run, or an adapter of another program.
        base: its base model.
        seed: random seed of the update.
        step: step of a checkpoint; by default the end of training.

    Raises:
        NotApplicable: nothing was trained, or the start of a tensor is unknown.
    """
    start = base.derived("initial state", lambda: initial_state(run, base), key=(run, run.id))
    width = embedding_weight(base.model).shape[1]
    with restored_after(base.model):
        model = attach_run(run, base, step)
        _randomize(model, start, width, torch.Generator().manual_seed(seed))
        yield model


@torch.no_grad()
def _randomize(
    model: nn.Module, start: Mapping[str, torch.Tensor], width: int, rng: torch.Generator
) -> None:
    tensors = state(model)
    if not tensors:
        raise NotApplicable("nothing was trained, so there is no update of equal norm")
    names = {tensor.data_ptr(): name for name, tensor in tensors.items()}
    pairs = list(_pairs(model, start, names))
    held = {part.data_ptr() for pair in pairs for part in pair.parts}
    others = {
        name: _displaced(tensor, start, name, width, rng)
        for name, tensor in tensors.items()
        if tensor.is_floating_point() and tensor.data_ptr() not in held
    }
    if others:
        assign(model, tensors | others)
    for pair in pairs:
        pair.randomize(rng)


def _displaced(
    tensor: torch.Tensor,
    start: Mapping[str, torch.Tensor],
    name: str,
    width: int,
    rng: torch.Generator,
) -> torch.Tensor:
    """Draw θ₀ and a displacement as long as θ − θ₀, of each row if rows are `width` wide."""
    before = start.get(name)
    if before is None or before.shape != tensor.shape:
        raise NotApplicable(
            f"the start of {name} is unknown, and therefore what a random update would change"
        )
    moved = tensor.float() - before.to(tensor.device).float()
    noise = torch.randn(tensor.shape, generator=rng).to(tensor.device)
    axes = (-1,) if moved.ndim == 2 and moved.shape[1] == width else None
    length, own = (torch.linalg.vector_norm(x, dim=axes, keepdim=True) for x in (moved, noise))
    return (before.to(tensor.device).float() + noise * (length / own)).to(tensor.dtype)


@dataclass(frozen=True)
class _Pair:
    """Factors of one layer's update, scale · B A, in peft's layout, experts side by side.

    Attributes:
        layer: LoRA layer of peft.
        b: shape (d_out, r · experts).
        a: shape (experts · r, d_in).
        e: AdaLoRA's values between both, shape (r, 1): Zhang et al. 2023, arXiv:2303.10512.
        scale: factor of the product in the update.
        start: B and A before training, if their product isn't zero; else None.
    """

    layer: Any
    b: torch.Tensor
    a: torch.Tensor
    e: torch.Tensor | None
    scale: float
    start: tuple[torch.Tensor, torch.Tensor] | None

    @property
    def parts(self) -> list[torch.Tensor]:
        """Trained tensors."""
        return [part for part in (self.b, self.a, self.e) if part is not None]

    def randomize(self, rng: torch.Generator) -> None:
        """Replace the singular vectors of each expert's update by random orthonormal ones."""
        if self.start:
            self._randomize_weight(rng)
            return
        count = getattr(self.layer, "num_experts", 1)
        b = self.b.view(self.b.shape[0], -1, count)  # (d_out, r, experts)
        a = self.a.view(count, -1, self.a.shape[1])  # (experts, r, d_in)
        for expert in range(count):
            values = a[expert] if self.e is None else self.e * a[expert]
            s = _singular_values(b[:, :, expert], values)
            k = len(s)
            u, v = _orthonormal(len(b), k, rng), _orthonormal(a.shape[2], k, rng)
            b[:, :, expert] = 0
            a[expert] = 0
            b[:, :k, expert] = (u if self.e is not None else u * s).to(b)
            a[expert, :k] = v.mT.to(a)
            if self.e is not None:
                self.e.zero_()
                self.e[:k, 0] = s.to(self.e)

    def _randomize_weight(self, rng: torch.Generator) -> None:
        """Put back the factors' start, which is part of W₀, and add the random update to W.

        ΔW = scale · (B A − B₀ A₀) has twice the rank, too much for the factors.
        """
        assert self.start is not None
        b0, a0 = self.start
        weight = self.layer.get_base_layer().weight
        if not weight.is_floating_point() or self.b.shape[1] != self.a.shape[0]:
            raise NotApplicable("factors that hold a part of quantized or stacked weights")
        left = torch.cat([self.b, -b0.to(self.b)], dim=1)  # (d_out, 2 r)
        right = torch.cat([self.a, a0.to(self.a)])  # (2 r, d_in)
        s = self.scale * _singular_values(left, right)
        u, v = (_orthonormal(rows, len(s), rng) for rows in (len(left), right.shape[1]))
        update = (u * s) @ v.mT  # (d_out, d_in), as large as the weight to which it is added
        turned = update.T if getattr(self.layer, "fan_in_fan_out", False) else update
        weight.data = weight.data + turned.to(weight)  # a new tensor: the old one may be the base's
        self.b.copy_(b0)
        self.a.copy_(a0)


def _singular_values(b: torch.Tensor, a: torch.Tensor) -> torch.Tensor:
    """Compute those of B A, largest first, float64."""
    return torch.from_numpy(product_svd(b.double().cpu().numpy(), a.double().cpu().numpy()).s)


def _orthonormal(rows: int, columns: int, rng: torch.Generator) -> torch.Tensor:
    """Draw orthonormal columns, shape (rows, columns), float64."""
    noise = torch.randn(rows, columns, generator=rng, dtype=torch.float64)
    axes, triangle = torch.linalg.qr(noise)
    # uniform only with these signs: Mezzadri 2007, arXiv:math-ph/0609050, section 5
    return axes * triangle.diagonal().sign()


def _pairs(
    model: nn.Module, start: Mapping[str, torch.Tensor], names: Mapping[int, str]
) -> Iterator[_Pair]:
    """Yield the factors of every LoRA layer of peft."""
    for layer in model.modules():
        if not isinstance(layer, LoraLayer):
            continue
        embedding = "default" in layer.lora_embedding_A
        sides: Any = (
            (layer.lora_embedding_B, layer.lora_embedding_A)
            if embedding
            else (layer.lora_B, layer.lora_A)
        )
        b, a = (getattr(side["default"], "weight", side["default"]).data for side in sides)
        values: Any = getattr(layer, "lora_E", None)  # AdaLoRA's
        e = None if values is None else values["default"].data
        before = [start.get(names.get(part.data_ptr(), "")) for part in (b, a)]
        yield _Pair(layer, b, a, e, layer.scaling["default"], _not_zero(e, *before))


def _not_zero(
    e: torch.Tensor | None, b0: torch.Tensor | None, a0: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Return the factors' start if their product isn't zero; AdaLoRA's values start at zero."""
    if e is not None or b0 is None or a0 is None or not b0.any() or not a0.any():
        return None
    return b0, a0
