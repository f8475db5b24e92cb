"""Token tables: whether an adapter's tokens are those of a base, and how many rows it needs.

Training programs add tokens to the tokenizer, save it beside the adapter, and resize the base's
tables. An adapter fits wherever the tokens that both know have the same ids; its own tables may
have more rows than the base's, or fewer where these were only padding.
"""

import copy
from collections.abc import Iterator
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import nn

from peftlens.adapters.adapter_config import PREFIX
from peftlens.adapters.adapter_file import CONFIG, WEIGHTS, AdapterFile
from peftlens.errors import InputError
from peftlens.models.base_model import BaseModel
from peftlens.models.origin import Origin, vocabulary_sha256

_TOKENIZER = "tokenizer.json"
# Parts that peft puts before the weight of a layer that it wraps, and saves with it.
COPIES = ("", "base_layer.", "token_adapter.base_layer.", "modules_to_save.", "original_module.")


def require_vocabulary(file: AdapterFile, base: BaseModel) -> None:
    """Refuse a base model with another vocabulary, where trained vectors have no meaning.

    Added special tokens are not compared: a program may have renamed a reserved one.

    Raises:
        InputError: the vocabularies differ; the message names a token, or both hashes.
    """
    beside = _tokenizer(file)
    if beside is not None:
        if conflict := _conflict(beside, base.tokenizer):
            raise InputError(
                f"{file.folder} was trained with another vocabulary than that of "
                f"{base.reference!r}: {conflict}; give its base model by --base"
            )
    else:
        _require_hash(file, base.origin)


def _require_hash(file: AdapterFile, origin: Origin) -> None:
    trained, present = file.vocabulary, origin.vocabulary
    if trained and present and trained != present:
        raise InputError(
            f"{file.folder} was trained with another vocabulary than that of {origin.base!r} "
            f"({trained[:12]}, not {present[:12]}); give its base model by --base"
        )


def _tokenizer(file: AdapterFile) -> Tokenizer | None:
    path = file.folder / _TOKENIZER
    if not path.is_file():
        return None
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises no narrower one
        raise InputError(f"{path} can't be read: {error}; delete it") from error


def _conflict(trained: Tokenizer, base: Any) -> str | None:
    """Describe a token with two ids, or an id with two tokens, if there is one."""
    ours, theirs = trained.get_vocab(), base.get_vocab()
    if vocabulary_sha256(ours) == vocabulary_sha256(theirs):
        return None
    special = {t.content for t in trained.get_added_tokens_decoder().values() if t.special}
    special |= {t.content for t in getattr(base, "added_tokens_decoder", {}).values() if t.special}
    plain = {token: number for token, number in theirs.items() if token not in special}
    by_id = {number: token for token, number in plain.items()}
    for token, number in ours.items():
        if token in special:
            continue
        if plain.get(token, number) != number:
            return f"the token {token!r} has the id {number} there, and {plain[token]} here"
        if by_id.get(number, token) != token:
            return f"the id {number} is {token!r} there, and {by_id[number]!r} here"
    return None


def fit_token_tables(file: AdapterFile, base: BaseModel) -> int | None:
    """Resize the tables of the base model to the rows in the file, without drawing numbers.

    Rows that the file does not hold are zero.

    Returns:
        The new number of rows; None if the tables were left alone.

    Raises:
        InputError: the file has fewer rows than the base model has tokens.
    """
    model: Any = base.model
    needed, present = table_rows(file, model), embedding_rows(model)
    if needed is None or needed == present:
        return None
    tokens = len(base.tokenizer)
    if needed < tokens:
        raise InputError(
            f"{file.folder / WEIGHTS} does not fit {base.reference!r}: it holds a table of "
            f"{needed} rows, and the base model has {tokens} tokens in {present} rows; "
            "give the adapter's base model by --base"
        )
    model.config = copy.deepcopy(model.config)  # the base's own is kept for other runs
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        model.resize_token_embeddings(needed, mean_resizing=False)
        for table in (model.get_input_embeddings(), model.get_output_embeddings()):
            for tensor in () if table is None else table.parameters(recurse=False):
                tensor.data[present:] = 0
    return needed


def embedding_rows(model: Any) -> int:
    """Return the number of rows of a model's embedding table."""
    return model.get_input_embeddings().weight.shape[0]


def table_rows(file: AdapterFile, model: Any) -> int | None:
    """Return the number of rows that the file's tables need; None if it holds no table.

    Raises:
        InputError: two tables in the file have different numbers of rows.
    """
    rows = dict(_rows(file, model))
    if len(set(rows.values())) > 1:
        listed = ", ".join(f"{name} {count}" for name, count in rows.items())
        raise InputError(f"{file.folder / WEIGHTS} holds tables of different rows: {listed}")
    present = embedding_rows(model)
    at_least = 1 + max(trained_tokens(file), default=-1)
    return next(iter(rows.values()), at_least if at_least > present else None)


def _rows(file: AdapterFile, model: Any) -> Iterator[tuple[str, int]]:
    """Yield the names of the tables' tensors in the file, each with its number of rows."""
    for table in (model.get_input_embeddings(), model.get_output_embeddings()):
        module = next((name for name, one in model.named_modules() if one is table), None)
        if module is None:
            continue
        axes = {f"{part}weight": 0 for part in COPIES} | {"lora_embedding_A": 1}
        if not isinstance(table, nn.Embedding):
            axes["lora_B.weight"] = 0
        for end, axis in axes.items():
            if entry := file.header.get(f"{PREFIX}{module}.{end}"):
                yield f"{module}.{end}", entry.shape[axis]


def trained_tokens(file: AdapterFile) -> list[int]:
    """Return the ids of the tokens that are trained one by one.

    Raises:
        InputError: an id is negative.
    """
    config = file.config
    given = config.get("trainable_token_indices") or config.get("token_indices") or ()
    lists = given.values() if isinstance(given, dict) else (given,)
    ids = [number for one in lists for number in one]
    if any(number < 0 for number in ids):
        raise InputError(f"{file.folder / CONFIG} has a negative id among its trained tokens")
    return ids
