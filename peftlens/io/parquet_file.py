"""Parquet files: rows in batches, whose decoded size is checked before."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from peftlens.io.records import MOST_CHARACTERS, Collector, ReadOptions, Records, require_rows

_BATCH = 1024  # rows that are decoded at a time


def read_parquet(path: Path, options: ReadOptions) -> Records:
    """Read a Parquet file, with the names of classes that `datasets` writes.

    Raises:
        ValueError: it exceeds a limit.
        pyarrow.ArrowException: it is damaged.
    """
    with pq.ParquetFile(path) as file:
        schema = file.schema_arrow
        names = list(schema.names)
        ids = _names_in_schema(schema.metadata)
        require_rows(file.metadata.num_rows, options.max_rows)
    texts = [one.name for one in schema if pa.types.is_string(one.type)]
    used = [name for name in dict.fromkeys(options.used or names) if names.count(name) == 1]
    collector = Collector(options)
    # a dictionary holds a repeated text once, so that its copies take no memory
    with pq.ParquetFile(path, read_dictionary=texts, page_checksum_verification=True) as file:
        _require_decoded_size(file.metadata, used)
        for batch in file.iter_batches(_BATCH, columns=used):
            columns = [_cells(column) for column in batch.columns]
            for cells in zip(*columns, strict=True) if columns else [()] * batch.num_rows:
                collector.add(dict(zip(batch.schema.names, cells, strict=True)))
    return Records(name=str(path), rows=collector.rows, columns=names, class_names=ids)


def _require_decoded_size(metadata: pq.FileMetaData, used: Sequence[str]) -> None:
    """Refuse used columns that are too large after decompression.

    Raises:
        ValueError: they are.
    """
    size = 0
    for group in range(metadata.num_row_groups):
        chunks = metadata.row_group(group)
        for index in range(chunks.num_columns):
            chunk = chunks.column(index)
            if chunk.path_in_schema.partition(".")[0] in used:
                size += chunk.total_uncompressed_size
    if size > 4 * MOST_CHARACTERS:  # bytes of at most four per character
        raise ValueError(
            f"its used columns have {size:,} bytes, and the limit is {4 * MOST_CHARACTERS:,}; "
            "keep fewer rows"
        )


def _cells(column: pa.Array) -> Sequence[Any]:
    """Convert a column to Python's values, each text of a dictionary once."""
    if isinstance(column, pa.DictionaryArray):
        texts = column.dictionary.to_pylist()
        return [None if index is None else texts[index] for index in column.indices.to_pylist()]
    return column.to_pylist()


def _names_in_schema(metadata: Mapping[bytes, bytes] | None) -> dict[str, list[str]]:
    """Return the names of classes by column, as datasets writes them into a Parquet file."""
    try:
        features = json.loads((metadata or {})[b"huggingface"])["info"]["features"]
        return {
            column: feature["names"]
            for column, feature in features.items()
            if feature.get("_type") == "ClassLabel" and isinstance(feature.get("names"), list)
        }
    except (KeyError, ValueError, TypeError, AttributeError):  # no such metadata
        return {}
