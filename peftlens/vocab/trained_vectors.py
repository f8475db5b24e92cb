"""Trained vectors that live among the vocabulary's, whatever method trained them.

Soft prompts stand before the input's embeddings and share their space. Retrained rows of the
embedding table are such vectors too. Trained prefixes are keys: they compare with the keys that the
vocabulary's tokens would have, and only in the first layer, where a token's key depends on nothing
but the token.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from accelerate.utils import set_seed
from transformers import DynamicCache, PreTrainedModel

from peftlens import registry
from peftlens.adapters.checkpoint import attach, open_run
from peftlens.layers.prefix import geometry
from peftlens.models.architecture import blocks
from peftlens.models.base_model import BaseModel
from peftlens.models.partial_forward import stopped_after
from peftlens.models.snapshot import restored_after
from peftlens.results.table import NotApplicable
from peftlens.runs.trained_model import TrainedModel
from peftlens.vocab.vocabulary import embeddings, vocabulary

_SEEDS = 100  # starts that are made to see what untrained vectors look like
MOST_ROWS = 100  # of a retrained table: those that moved most


@dataclass(frozen=True)
class TrainedVectors:
    """What a run trained, with the space that it lives in, in float32.

    Attributes:
        now: the vectors, shape (n, d).
        start: the same before training, shape (n, d); None where nobody knows.
        positions: which virtual token each one is, or which row of the embedding table.
        table: the vocabulary in this space, shape (V, d).
        space: "embedding", or "keys of layer 0".
    """

    now: torch.Tensor
    start: torch.Tensor | None
    positions: tuple[int, ...]
    table: torch.Tensor
    space: str = "embedding"


def trained_vectors(run: TrainedModel, base: BaseModel, step: int) -> TrainedVectors:
    """A run's vectors at one of its steps, and before the first, which the seed makes again.

    Raises:
        NotApplicable: a prefix of an encoder-decoder, a table of which no row has changed, or a
            vector without a direction.
    """
    found = _vectors(run, base, step)
    for which in (found.now, found.start):
        if which is not None and (bad := torch.nonzero(which.norm(dim=1) == 0).flatten().tolist()):
            raise NotApplicable(f"vector {found.positions[bad[0]]} is zero: it has no direction")
    return found


def _vectors(run: TrainedModel, base: BaseModel, step: int) -> TrainedVectors:
    table = vocabulary(base).table
    offered = registry.exposed(run.config.method, run.config.method_config)
    if "soft_prompt" in offered:
        now = _read(run, base, step, soft_prompt)
        start = _before(run, base, soft_prompt)
        return TrainedVectors(now, start, tuple(range(len(now))), table)
    if "prefix" in offered:
        if base.model.config.is_encoder_decoder:
            raise NotApplicable("the prefix stands in the decoder, which reads no input tokens")
        slots = torch.arange(len(now := _read(run, base, step, _first_keys)))
        start = _before(run, base, _first_keys)
        if start is not None:
            start = _unrotated(base.model, start, slots)
        keys = _unrotated(base.model, _keys_of_tokens(base), torch.zeros(len(table)).long())
        now = _unrotated(base.model, now, slots)
        return TrainedVectors(now, start, tuple(slots.tolist()), keys, "keys of layer 0")
    return _rows(run, base, step, table)


def _read(
    run: TrainedModel, base: BaseModel, step: int, what: Callable[[Any], torch.Tensor]
) -> torch.Tensor:
    """Something of a run's model at a step, as a float32 copy."""
    with open_run(run, base, step) as model, torch.no_grad():
        return what(model).float().clone()


def _before(
    run: TrainedModel, base: BaseModel, what: Callable[[Any], torch.Tensor]
) -> torch.Tensor | None:
    """The same before the first step: as the seed makes it, or as another program kept it."""
    if run.is_reproducible:
        return _start(run, base, run.config.seed, what)
    return _read(run, base, 0, what) if 0 in run.steps[:-1] else None


def _start(
    run: TrainedModel, base: BaseModel, seed: int, what: Callable[[Any], torch.Tensor]
) -> torch.Tensor:
    """The same before the first step, as a seed makes it."""
    set_seed(seed)
    config = registry.configure("methods", run.config.method, run.config.method_config)
    with restored_after(base.model), torch.no_grad():
        return what(attach(base.model, run.config.method, config).eval()).float().clone()


def other_starts(run: TrainedModel, base: BaseModel, count: int) -> torch.Tensor | None:
    """Vectors that a soft prompt of the same configuration starts from, with other seeds: (B, d).

    At most so many, of at most a hundred seeds, or of one if they all start alike. None for
    prefixes, whose start is noise, and for retrained rows, which start as tokens.
    """
    offered = registry.exposed(run.config.method, run.config.method_config)
    if not run.is_reproducible or "soft_prompt" not in offered:
        return None
    return base.derived(
        "other starts", lambda: _other_starts(run, base, count), key=(run, count), most=2
    )


def _other_starts(run: TrainedModel, base: BaseModel, count: int) -> torch.Tensor:
    found: list[torch.Tensor] = []
    last = None
    for seed in range(run.config.seed + 1, run.config.seed + 1 + _SEEDS):
        prompt = _start(run, base, seed, soft_prompt)
        if len(found) >= count or (last is not None and torch.equal(prompt, last)):
            break
        found += prompt[prompt.norm(dim=1) > 0]
        last = prompt
    return torch.stack(found[:count])


def soft_prompt(model: Any) -> torch.Tensor:
    """What stands before the input's embeddings, shape (n, d): after any network or product."""
    tasks = torch.zeros(1, dtype=torch.long, device=model.device)
    return model.get_prompt(1, tasks)[0, : model.active_peft_config.num_virtual_tokens]


def _rows(run: TrainedModel, base: BaseModel, step: int, table: torch.Tensor) -> TrainedVectors:
    last = _read(run, base, run.steps[-1], embeddings)
    moved = (last - table).norm(dim=1) * (table.norm(dim=1) > 0)  # a padding row has no direction
    changed = int((moved > 0).sum())
    if not changed:
        raise NotApplicable("no row of the embedding table has changed")
    ids = moved.topk(min(changed, MOST_ROWS)).indices.sort().values
    now = last if step == run.steps[-1] else _read(run, base, step, embeddings)
    return TrainedVectors(now[ids], table[ids], tuple(ids.tolist()), table)


def _first_keys(model: Any) -> torch.Tensor:
    """Keys of layer 0 of a trained prefix, all heads side by side, shape (n, d)."""
    keys = model.get_prompt(1).layers[0].keys[0]  # (heads, n, size)
    return keys.transpose(0, 1).flatten(1)


@torch.inference_mode()
def _keys_of_tokens(base: BaseModel) -> torch.Tensor:
    """Keys of layer 0 of every token, as the model would cache them at position 0: (V, d)."""
    found = []
    with stopped_after(base.model, blocks(base.shapes)[0]) as run:
        for ids in torch.arange(len(vocabulary(base).tokens)).split(1024):
            cache: Any = DynamicCache()
            inputs = {"input_ids": ids[:, None].to(base.device), "past_key_values": cache}
            run(**inputs, attention_mask=torch.ones_like(inputs["input_ids"]), use_cache=True)
            found.append(cache.layers[0].keys.transpose(1, 2).flatten(1).float())
    return torch.cat(found)


def _unrotated(model: PreTrainedModel, keys: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """Keys (n, d) as they were before rotary position embeddings turned them.

    A cached key carries its slot's rotation (Su et al. 2021, arXiv:2104.09864, section 3.2), which
    has nothing to do with what it means. Models without rotation give their keys back.
    """
    rotary = next((m for n, m in model.named_modules() if n.endswith("rotary_emb")), None)
    if rotary is None:
        return keys
    cos, sin = (part[0].float() for part in rotary(keys, positions[None].to(keys.device)))
    heads = keys.unflatten(1, (-1, geometry(model.config)[2]))  # (n, heads, size)
    width = cos.shape[-1]
    turned, rest = heads[..., :width], heads[..., width:]
    low, high = turned.chunk(2, dim=-1)
    cos, sin = cos[:, None], sin[:, None]
    # turned back by the opposite angle; long-context models scale cosine and sine alike
    back = (turned * cos - torch.cat([-high, low], dim=-1) * sin) / (cos**2 + sin**2)
    return torch.cat([back, rest], dim=-1).flatten(1)
