import pytest

from peftlens.errors import InputError
from peftlens.studies.run_selection import group_runs, run_name, select_runs


def planned(run, after=None, seed=0, together=None):
    return {"id": run, "configuration": f"lora rank={run}", "seed": seed, "after": after,
            "together": together}  # fmt: skip


RUNS = [planned("1"), planned("2"), planned("3", after="2"), planned("4"), planned("5", after="3")]


def ids(shard=None, only=()):
    return "".join(run["id"] for run in select_runs(RUNS, shard, only))


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
    with pytest.raises(InputError, match="--filter full: no run fits; there are lora rank=1, lora"):
        ids((2, 2), ("full",))


def test_name():
    assert run_name(planned("8", seed=3)) == "lora rank=8 seed=3"


@pytest.mark.parametrize(
    ("most", "devices", "expected"),
    [
        (1, 1, "1 2 3 4 5 6 7"),
        (8, 1, "1 24 357 6"),
        (2, 1, "1 24 35 7 6"),
        (8, 2, "1 2 4 35 7 6"),
        (8, 9, "1 2 4 3 5 7 6"),
    ],
)
def test_groups_of_what_is_alike(most, devices, expected):
    """1 fits no other, 8 is trained on after 6, so that 6 has to be done before; 2 and 4 go
    together, and 3, 5 and 7."""
    keys = [None, "a", "b", "a", "b", "a", "b"]
    runs = [planned(str(n), together=key) for n, key in enumerate(keys, 1)]
    runs.append(planned("8", after="6"))
    groups = ["".join(run["id"] for run in group) for group in group_runs(runs, most, devices)]
    assert groups == [*expected.split(), "8"]
