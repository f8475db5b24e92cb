import pytest

from peftlens.cli.options import pairs
from peftlens.errors import InputError


def test_values_are_toml_and_a_bare_word_is_text():
    assert pairs(["rank=8", "modules=['a']", "name=x y"]) == {
        "rank": 8, "modules": ["a"], "name": "x y",
    }  # fmt: skip
    assert pairs(None) == {}
    with pytest.raises(InputError, match=r"must be KEY=VALUE"):
        pairs(["rank"])
