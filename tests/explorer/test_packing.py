import base64
import gzip
import json
import struct

import numpy as np
import pytest

from peftlens.explorer.packing import packed, quantized


def opened(text):
    """The JSON, and a function that reads an array of it, as the page's script does."""
    stream = gzip.decompress(base64.b64decode(text))
    (length,) = struct.unpack_from("<I", stream)
    values = json.loads(stream[4 : 4 + length])

    def read(array):
        return np.frombuffer(stream, array["dtype"], array["length"], 4 + length + array["at"])

    assert length % 4 == 0
    return values, read


def test_arrays_come_back_in_their_places():
    first, second = np.arange(3, dtype=np.uint8), np.array([7, 70_000], np.uint32)
    values, read = opened(packed({"a": first, "b": [{"c": second}, None], "d": "␣é"}))
    assert read(values["a"]).tolist() == [0, 1, 2]
    assert read(values["b"][0]["c"]).tolist() == [7, 70_000]
    assert values["b"][0]["c"]["at"] == 4  # aligned to four bytes
    assert (values["b"][1], values["d"]) == (None, "␣é")


def test_the_same_values_give_the_same_text_which_closes_no_element():
    values = {"token": "</script>", "x": np.arange(5, dtype=np.uint16)}
    assert packed(values) == packed(values)
    assert "<" not in packed(values)


def test_what_is_no_number_of_the_page_is_refused():
    with pytest.raises(KeyError):
        packed({"x": np.arange(3)})  # int64
    with pytest.raises(ValueError, match="JSON"):
        packed({"x": float("nan")})


def test_numbers_are_rounded_to_levels_between_their_ends():
    made = quantized(np.array([-1.0, 0.0, 3.0]))
    assert (made["low"], made["high"]) == (-1.0, 3.0)
    assert made["levels"].tolist() == [0, 16_384, 65_535]
    assert quantized(np.full(3, 2.0))["levels"].tolist() == [0, 0, 0]
