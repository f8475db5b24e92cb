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


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["split.max_train=5", "split.seed=1"], {"split": {"max_train": 5, "seed": 1}}),
        (["labels.'1 star'=bad"], {"labels": {"1 star": "bad"}}),
        (["target_modules=q_proj,attn.c_proj"], {"target_modules": ["q_proj", "attn.c_proj"]}),
        (["template={a}, please"], {"template": "{a}, please"}),
        (["stop=','"], {"stop": ","}),
        (["separator=,"], {"separator": ","}),
        (["rate=1e-3", "rate=1e-2"], {"rate": 0.01}),
    ],
)
def test_keys_may_be_nested_and_names_a_list(options, expected):
    assert pairs(options) == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["=3"], "must be KEY=VALUE"),
        (["x y=1"], "must be KEY=VALUE"),
        (["a.=1"], "must be KEY=VALUE"),
        (["a\nb=1"], "must be KEY=VALUE"),
        (["a=1", "a.b=2"], "a has a value already"),
    ],
)
def test_keys_that_are_none(options, message):
    with pytest.raises(InputError, match=message):
        pairs(options)
