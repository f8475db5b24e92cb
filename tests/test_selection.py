import pytest

from peftlens.errors import BadInput
from peftlens.selection import name, selected


def planned(run, after=None, seed=0):
    return {"id": run, "configuration": f"lora rank={run}", "seed": seed, "after": after}


RUNS = [planned("1"), planned("2"), planned("3", after="2"), planned("4"), planned("5", after="3")]


def ids(shard=None, only=()):
    return "".join(run["id"] for run in selected(RUNS, shard, only))


def test_without_a_word_all():
    assert ids() == "12345"


def test_shards_have_every_run_once_and_sequences_in_one_piece():
    assert [ids((part, 2)) for part in (1, 2)] == ["14", "235"]
    assert [ids((part, 4)) for part in (1, 2, 3, 4)] == ["1", "235", "4", ""]


@pytest.mark.parametrize(
    ("only", "expected"),
    [
        (("4",), "4"),  # an id
        (("lora rank=1",), "1"),
        (("*rank=[14] seed=0",), "14"),
        (("lora rank=5",), "235"),  # with those before it
        (("1", "3"), "123"),
    ],
)
def test_only_some(only, expected):
    assert ids(only=only) == expected


def test_a_shard_that_has_none_of_those_is_no_mistake():
    assert ids((2, 2), ("1",)) == ""
    with pytest.raises(BadInput, match="--only full: no run fits; there are lora rank=1, lora"):
        ids((2, 2), ("full",))


def test_name():
    assert name(planned("8", seed=3)) == "lora rank=8 seed=3"
