import numpy as np
import pandas as pd
import pytest

from peftlens.io.escaping import from_csv, to_csv, visible


def test_what_would_not_be_seen_is_spelled_out():
    assert visible("a\u202eb\x1b[31m\u00a0") == "a<U+202E>b<U+001B>[31m<U+00A0>"
    assert visible("\ud800") == "<U+D800>"
    assert visible("é ␣ <b>") == "é ␣ <b>"


def test_line_ends_stay_if_they_are_kept():
    assert visible("a\nb\tc") == "a\nb<U+0009>c"
    assert visible("a\nb", keep="") == "a<U+000A>b"


@pytest.mark.parametrize("text", ["=cmd()", "+1", "-1", "@x", "'", "'=a", "\tx", "a\nb", 'q"', ","])
def test_csv_comes_back_and_begins_no_formula(text):
    frame = pd.DataFrame({"name": [text, "plain", None], "value": [-1.5, 2.0, None]})
    written = to_csv(frame)
    cells = [line.partition(",")[0].strip('"') for line in written.splitlines()[1:]]
    assert not any(cell[:1] in ("=", "+", "-", "@", "\t") for cell in cells if cell != "plain")
    pd.testing.assert_frame_equal(
        from_csv(f"# a comment\n# =another\n{written}").astype({"name": object}),
        frame.astype({"name": object}),
    )
    assert "-1.5" in written  # a number is no text


def test_lists_are_joined_with_all_their_digits():
    frame = pd.DataFrame({
        "words": [["=a", "b"], np.array(["c"], object), None],
        "near": [np.array([0.1234567890123, 1.0]), [2.5], None],
        "ids": [np.array([1200, 3]), [4], None],
    })  # fmt: skip
    written = to_csv(frame)
    assert written.splitlines() == [
        "words,near,ids", "'=a b,0.1234567890123 1.0,1200 3", "c,2.5,4", ",,"
    ]  # fmt: skip
    assert from_csv(written)["words"].tolist()[:2] == ["=a b", "c"]


def test_words_that_pandas_takes_for_missing_stay_words():
    frame = pd.DataFrame({"token": ["NA", "null", "nan"]})
    assert from_csv(to_csv(frame))["token"].tolist() == ["NA", "null", "nan"]


def test_numbers_come_back_to_the_last_bit():
    frame = pd.DataFrame({"rate": [3.3333333333333335e-4, 0.1 + 0.2, 1e-4, 7.0 / 3e5]})
    assert from_csv(to_csv(frame))["rate"].tolist() == frame["rate"].tolist()
