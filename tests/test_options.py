from dataclasses import dataclass, field
from typing import Any

import pytest

from peftlens.errors import InputError
from peftlens.options import option_values, takes_any_key


@dataclass(frozen=True, kw_only=True)
class Split:
    seed: int = 0
    max_train: int | None = None


@dataclass(frozen=True, kw_only=True)
class Config:
    rank: int = 8
    target_modules: tuple[str, ...] = ()
    split: Split = Split()


@dataclass(frozen=True, kw_only=True)
class Open:
    kind: str = ""
    options: dict[str, Any] = field(default_factory=dict)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"target_modules": "attention"}, {"target_modules": ("attention",)}),
        ({"target_modules": "all-linear"}, {"target_modules": ("all_linear",)}),
        (
            {"target_modules": ["q", "all-linear"]},
            {"target_modules": ("q", "all_linear")},
        ),
        ({"target_modules": 3, "rank": "x"}, {"target_modules": 3, "rank": "x"}),
        ({"split": {"max_train": 5}}, {"split": {"max_train": 5}}),
        ({"split": Split(seed=1)}, {"split": Split(seed=1)}),
    ],
)
def test_a_text_is_a_list_of_one_and_the_rest_stays(values, expected):
    assert option_values("lora", Config, values) == expected


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"rnk": 4}, r"lora has no option 'rnk'; did you mean rank\?"),
        ({"Rank": 4}, r"lora has no option 'Rank'; did you mean rank\?"),
        ({"r": 4}, r"lora has no option 'r'; did you mean rank\?"),
        ({"zzz": 4}, "lora has no option 'zzz'; it has rank, target_modules, split"),
        ({"split": {"max_tran": 5}}, r"has no option 'split.max_tran'; did you mean max_train\?"),
    ],
)
def test_an_unknown_key_has_the_nearest_name(values, message):
    with pytest.raises(InputError, match=message):
        option_values("lora", Config, values)


def test_a_field_that_is_only_called_options_takes_no_other_keys():
    @dataclass(frozen=True, kw_only=True)
    class Columns:
        template: str = ""
        options: tuple[str, ...] = ()

    assert option_values("file", Columns, {"options": "a"}) == {"options": ("a",)}
    with pytest.raises(InputError, match=r"file has no option 'templat'; did you mean template\?"):
        option_values("file", Columns, {"templat": "x"})
    assert takes_any_key(Open)
    assert not takes_any_key(Columns)
    assert not takes_any_key(Config)


def test_keys_for_another_program_go_to_its_options():
    values = {"kind": "a", "alpha": 1, "options": {"beta": 2}}
    expected = {"kind": "a", "options": {"beta": 2, "alpha": 1}}
    assert option_values("peft", Open, values) == expected
