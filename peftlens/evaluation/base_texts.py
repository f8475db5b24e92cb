"""Texts that a base writes without any adapter, cached on disk for all runs that start from it."""

import json
from collections.abc import Sequence

import safetensors.torch
import torch

from peftlens.data.collate import Collator
from peftlens.evaluation.generation import ROWS, end_tokens, generate
from peftlens.io.files import cache_dir, canonical_json, sha256_text
from peftlens.io.tensor_cache import cached_tensors
from peftlens.models.base_model import BaseModel
from peftlens.models.snapshot import restored_after
from peftlens.runs.run import versions

_VERSION = 1  # version of the cached files; rises when the same base would write other texts


def base_texts(
    base: BaseModel,
    encoder: Collator,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    stop: Sequence[str] = (),
) -> list[str]:
    """Let the base continue prompts greedily, or load what it wrote before.

    Args:
        base: base model, with nothing attached to it.
        encoder: collator of the base.
        prompts: token ids of each prompt.
        max_new_tokens: largest number of generated tokens.
        stop: strings that end a text, and are cut from it.
    """
    rows = [[*map(int, prompt)] for prompt in prompts]
    key = _key(base, encoder, rows, max_new_tokens, stop)

    def make() -> bytes:
        with restored_after(base.model) as model:
            written = generate(
                model.eval(), encoder, rows,
                max_new_tokens=max_new_tokens, stop=stop, description="The base writes",
            )  # fmt: skip
        texts = bytearray(json.dumps([one.text for one in written]).encode())
        return safetensors.torch.save({"json": torch.frombuffer(texts, dtype=torch.uint8)})

    return cached_tensors(cache_dir("base_texts") / f"{key}.safetensors", make, _texts)


def _texts(data: bytes) -> list[str]:
    return json.loads(bytes(safetensors.torch.load(data)["json"].tolist()))


def _key(
    base: BaseModel,
    encoder: Collator,
    prompts: list[list[int]],
    max_new_tokens: int,
    stop: Sequence[str],
) -> str:
    inputs = {
        "base": base.sha256,
        "device": base.device,
        "dtype": base.dtype,
        "threads": torch.get_num_threads(),  # their number affects rounding
        "ends": sorted(end_tokens(base.model, base.tokenizer)),  # not in the base's hash
        "decoder_start": encoder.decoder_start,
        "prompts": prompts,
        "max_new_tokens": max_new_tokens,
        "stop": list(stop),
        "together": ROWS,  # rows of a batch affect rounding, too
        "versions": versions(),
        "version": _VERSION,
    }
    return sha256_text(canonical_json(inputs))[:32]
