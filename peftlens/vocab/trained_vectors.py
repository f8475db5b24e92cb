"""Trained vectors in the space of the vocabulary: soft prompts, embedding rows, prefix keys.

Soft prompts precede the input's embeddings and share their space, as do retrained rows of the
embedding table. Trained prefixes are keys: they are compared with the keys of the vocabulary's
tokens, and only in the first layer, where a token's key depends on the token alone.
"""

from collections.abc import Callable
from dataclasses import dataclass
from inspect import signature
from typing import Any, Literal

import torch
from accelerate.utils import set_seed
from transformers import DynamicCache, PreTrainedModel

from peftlens import registry
from peftlens.adapters.checkpoint import attach, open_run
from peftlens.layers.prefix import geometry
from peftlens.models.architecture import blocks, embedding_weight, shapes
from peftlens.models.base_model import BaseModel
from peftlens.models.partial_forward import stopped_after
from peftlens.models.snapshot import restored_after
from peftlens.results.table import NotApplicable
from peftlens.runs.trained_model import TrainedModel
from peftlens.vocab.vocabulary import embeddings, vocabulary

_SEEDS = 100  # largest number of other seeds for untrained vectors
MOST_ROWS = 100  # largest number of retrained rows: those with the largest displacement
Kind = Literal["soft prompt", "prefix", "embedding rows"]


@dataclass(frozen=True)
class TrainedVectors:
    """Trained vectors of a run and the vocabulary in their space, in float32.

    Attributes:
        now: vectors at the step, shape (n, d).
        start: vectors before training, shape (n, d); None if unknown.
        positions: index of each vector's virtual token, or of its row in the embedding table.
        table: vectors of the vocabulary in this space, shape (V, d).
        space: name of the space: "embedding" or "keys of layer 0".
        kind: what the vectors are: only a soft prompt precedes the input's embeddings.
    """

    now: torch.Tensor
    start: torch.Tensor | None
    positions: tuple[int, ...]
    table: torch.Tensor
    space: str = "embedding"
    kind: Kind = "soft prompt"


def trained_vectors(run: TrainedModel, base: BaseModel, step: int) -> TrainedVectors:
    """Return a run's vectors at a saved step, and before training, recomputed from the seed.

    Raises:
        NotApplicable: the prefix is in an encoder-decoder, no row of the table has changed, or a
            vector has no direction.
    """
    trained = _vectors(run, base, step)
    for vectors in (trained.now, trained.start):
        if vectors is None:
            continue
        if zero := torch.nonzero(vectors.norm(dim=1) == 0).flatten().tolist():
            raise NotApplicable(f"vector {trained.positions[zero[0]]} is zero: it has no direction")
    return trained


def _vectors(run: TrainedModel, base: BaseModel, step: int) -> TrainedVectors:
    table = vocabulary(base).table
    exposed = registry.exposed(run.config.method, run.config.method_config)
    if "soft_prompt" in exposed:
        now = at_step(run, base, step, soft_prompt)
        start = before_training(run, base, soft_prompt)
        return TrainedVectors(now, start, tuple(range(len(now))), table)
    if "prefix" in exposed:
        if base.model.config.is_encoder_decoder:
            raise NotApplicable("the prefix belongs to the decoder, which reads no input tokens")
        slots = torch.arange(len(now := at_step(run, base, step, _first_keys)))
        start = before_training(run, base, _first_keys)
        if start is not None:
            start = _unrotated(base.model, start, slots)
        now, keys = _unrotated(base.model, now, slots), _keys_of_tokens(base)
        return TrainedVectors(now, start, tuple(slots.tolist()), keys, "keys of layer 0", "prefix")
    return _rows(run, base, step, table)


def at_step(
    run: TrainedModel, base: BaseModel, step: int, extract: Callable[[Any], torch.Tensor]
) -> torch.Tensor:
    """Extract a tensor from a run's model at a saved step, as a float32 copy."""
    with open_run(run, base, step) as model, torch.no_grad():
        return extract(model).float().clone()


def before_training(
    run: TrainedModel, base: BaseModel, extract: Callable[[Any], torch.Tensor]
) -> torch.Tensor | None:
    """Extract the initial tensor: recomputed from the seed, or from a checkpoint at step 0."""
    if run.is_reproducible:
        return _start(run, base, run.config.seed, extract)
    return at_step(run, base, 0, extract) if 0 in run.steps[:-1] else None


def _start(
    run: TrainedModel, base: BaseModel, seed: int, extract: Callable[[Any], torch.Tensor]
) -> torch.Tensor:
    """Extract the initial tensor as a seed determines it."""
    set_seed(seed)
    config = registry.configure("methods", run.config.method, run.config.method_config)
    with restored_after(base.model), torch.no_grad():
        return extract(attach(base.model, run.config.method, config).eval()).float().clone()


def other_starts(run: TrainedModel, base: BaseModel, count: int) -> torch.Tensor | None:
    """Return initial vectors of a soft prompt of this configuration with other seeds: (B, d).

    B is at most `count`; at most a hundred seeds are used, or one if all give equal vectors. None
    for prefixes and for retrained rows.
    """
    exposed = registry.exposed(run.config.method, run.config.method_config)
    if not run.is_reproducible or "soft_prompt" not in exposed:
        return None
    return base.derived(
        "other starts", lambda: _other_starts(run, base, count), key=(run, run.id, count), most=2
    )


def _other_starts(run: TrainedModel, base: BaseModel, count: int) -> torch.Tensor:
    vectors: list[torch.Tensor] = []
    last = None
    for seed in range(run.config.seed + 1, run.config.seed + 1 + _SEEDS):
        prompt = _start(run, base, seed, soft_prompt)
        if len(vectors) >= count or (last is not None and torch.equal(prompt, last)):
            break
        vectors += prompt[prompt.norm(dim=1) > 0]
        last = prompt
    return torch.stack(vectors[:count])


def soft_prompt(model: Any) -> torch.Tensor:
    """Return the vectors before the input's embeddings, shape (n, d), after reparametrization."""
    tasks = torch.zeros(1, dtype=torch.long, device=model.device)
    return model.get_prompt(1, tasks)[0, : model.active_peft_config.num_virtual_tokens]


def _rows(run: TrainedModel, base: BaseModel, step: int, table: torch.Tensor) -> TrainedVectors:
    last = at_step(run, base, run.steps[-1], embeddings)
    # a padding row of zeros has no direction
    displacement = (last - table).norm(dim=1) * (table.norm(dim=1) > 0)  # (V,)
    changed = int((displacement > 0).sum())
    if not changed:
        raise NotApplicable("no row of the embedding table has changed")
    ids = displacement.topk(min(changed, MOST_ROWS)).indices.sort().values
    now = last if step == run.steps[-1] else at_step(run, base, step, embeddings)
    return TrainedVectors(now[ids], table[ids], tuple(ids.tolist()), table, kind="embedding rows")


def _first_keys(model: Any) -> torch.Tensor:
    """Return the keys of layer 0 of a trained prefix, heads concatenated, shape (n, d)."""
    keys = model.get_prompt(1).layers[0].keys[0]  # (heads, n, size)
    return keys.transpose(0, 1).flatten(1)


def _keys_of_tokens(base: BaseModel) -> torch.Tensor:
    """Compute the keys of layer 0 of every token at position 0, shape (V, d)."""
    parts = torch.arange(len(vocabulary(base).tokens)).split(1024)
    return torch.cat([_first_keys_at(base.model, ids, 0) for ids in parts])


@torch.inference_mode()
def _first_keys_at(model: PreTrainedModel, ids: torch.Tensor, position: int) -> torch.Tensor:
    """Compute the keys of layer 0 of tokens (n,), each alone at a position: (n, d), float32."""
    rows = ids[:, None].to(model.device)  # (n, 1)
    inputs: dict[str, Any] = {"input_ids": rows, "attention_mask": torch.ones_like(rows)}
    if "position_ids" in signature(model.forward).parameters:
        inputs["position_ids"] = torch.full_like(rows, _first_position(model) + position)
    cache: Any = DynamicCache()
    with stopped_after(model, blocks(shapes(model))[0]) as run:
        run(**inputs, past_key_values=cache, use_cache=True)
    # from (n, heads, 1, size) to (n, d)
    return cache.layers[0].keys.transpose(1, 2).flatten(1).float()


def _first_position(model: PreTrainedModel) -> int:
    """Return the position id of a row's first token: RoBERTa counts on from that of padding."""
    embeddings: Any = getattr(model.base_model, "embeddings", None)
    counts_on = hasattr(embeddings, "create_position_ids_from_input_ids")
    return embeddings.padding_idx + 1 if counts_on else 0


def _unrotated(model: PreTrainedModel, keys: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """Turn cached keys (n, d) of layer 0 from their positions back to position 0.

    A cached key contains the rotation of its position (Su et al. 2021, arXiv:2104.09864, section
    3.2), which is independent of its meaning. Models rotate different pairs of a key's entries by
    different tables, so the rotation is measured on the keys that the model itself gives the same
    tokens at both positions. Keys that a position changes otherwise, or not at all, are unchanged.
    """
    size = geometry(model.config)[2]
    heads = keys.unflatten(1, (-1, size))  # (n, heads, size)
    # keys of all heads together, eight for each entry of a key
    count = -(-8 * size // heads.shape[1])
    ids = torch.linspace(0, len(embedding_weight(model)) - 1, count).long()
    at_zero = _first_keys_at(model, ids, 0).view(-1, size)
    turned = []
    for key, position in zip(heads, positions.tolist(), strict=True):  # (heads, size)
        rotation = _rotation(at_zero, _first_keys_at(model, ids, position).view(-1, size))
        turned.append(key if rotation is None else key @ rotation.to(key).mT)
    return torch.stack(turned).flatten(1)


def _rotation(before: torch.Tensor, after: torch.Tensor) -> torch.Tensor | None:
    """Return the orthogonal R (size, size) for which after = before R; None if lengths differ.

    The solution of the orthogonal Procrustes problem: Schonemann 1966, Psychometrika 31(1).

    Args:
        before: shape (n, size).
        after: shape (n, size).
    """
    if not torch.allclose(before.norm(dim=1), after.norm(dim=1), rtol=0.02):
        return None
    u, _, vt = torch.linalg.svd(before.double().mT @ after.double())
    return u @ vt
