"""Digest of a table's rows: equal values give equal digests, however they are stored."""

import hashlib
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc


def rows_sha256(data: pa.Table) -> str:
    """Hash the names and values of all columns by SHA-256.

    Missing values count by their places, and bytes below them do not.
    """
    digest = hashlib.sha256()
    for name, column in zip(data.column_names, data.columns, strict=True):
        digest.update(f"{name}\0{len(column)}\0".encode())
        _add(digest, pa.concat_arrays(column.chunks) if column.num_chunks else pa.nulls(0))
    return digest.hexdigest()


def _add(digest: Any, values: pa.Array) -> None:
    """Add the places of missing values, and the bytes of all others."""
    digest.update(values.is_null().to_numpy(zero_copy_only=False).tobytes())
    present = values.drop_null()
    if pa.types.is_dictionary(present.type):
        present = present.dictionary_decode()
    kind = present.type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        digest.update(_lengths("list_value_length", present))
        _add(digest, present.flatten())
    elif pa.types.is_string(kind) or pa.types.is_large_string(kind):
        data = present.cast(pa.large_binary())
        digest.update(_lengths("binary_length", data))
        digest.update(b"".join(data.to_pylist()))
    elif not pa.types.is_null(kind):
        array = present.to_numpy(zero_copy_only=False)
        digest.update(f"{array.dtype}\0".encode())
        digest.update(array.tobytes() if array.dtype != object else repr([*array]).encode())


def _lengths(function: str, values: pa.Array) -> bytes:
    return pc.call_function(function, [values]).cast("int64").to_numpy().tobytes()
