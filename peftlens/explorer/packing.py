"""Packing of the page's data: JSON and typed arrays in one gzip stream, as base64 text.

The stream holds the length of the JSON, the JSON, and the bytes of all arrays, each aligned to four
bytes; in the JSON an array is its dtype, its place and its number of entries.
"""

import base64
import gzip
import json
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

_TYPES = {"uint8": "u1", "uint16": "u2", "uint32": "u4", "float32": "f4"}


def packed(values: Any) -> str:
    """Encode nested dicts and lists with arrays; base64 can't close its script element.

    Raises:
        KeyError: an array of another dtype.
    """
    blocks: list[bytes] = []
    text = json.dumps(
        _placed(values, blocks), separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()
    text += b" " * (-len(text) % 4)
    stream = b"".join([struct.pack("<I", len(text)), text, *blocks])
    return base64.b64encode(gzip.compress(stream, mtime=0)).decode()


def _placed(values: Any, blocks: list[bytes]) -> Any:
    if isinstance(values, np.ndarray):
        at = sum(map(len, blocks))
        data = np.ascontiguousarray(values.astype(values.dtype.newbyteorder("<"))).tobytes()
        blocks.append(data + b"\0" * (-len(data) % 4))
        return {"dtype": _TYPES[values.dtype.name], "at": at, "length": values.size}
    if isinstance(values, dict):
        return {key: _placed(one, blocks) for key, one in values.items()}
    if isinstance(values, list | tuple):
        return [_placed(one, blocks) for one in values]
    return values


def quantized(values: NDArray[Any]) -> dict[str, Any]:
    """Round numbers to 65,536 levels between their least and largest: the values and both ends."""
    low, high = float(values.min()), float(values.max())
    side = (high - low) or 1.0
    levels = np.round((values.astype(float) - low) / side * 65_535).astype(np.uint16)
    return {"levels": levels, "low": low, "high": low + side}
