import pytest

from peftlens.errors import InputError
from peftlens.runs.config import RunConfig
from peftlens.studies.plan import PlannedRun
from peftlens.studies.run_selection import group_runs, select_runs


def planned(run, continue_from=None, batch_key=None):
    config = RunConfig(method="lora", task="wiki", continue_from=continue_from)
    return PlannedRun(id=run, configuration=f"lora rank={run}", batch_key=batch_key, config=config)


RUNS = [planned("1"), planned("2"), planned("3", "2"), planned("4"), planned("5", "3")]


def ids(shard=None, patterns=()):
    return "".join(run.id for run in select_runs(RUNS, shard, patterns))


def test_without_a_word_all():
    assert ids() == "12345"


def test_shards_have_every_run_once_and_sequences_in_one_piece():
    assert [ids((part, 2)) for part in (1, 2)] == ["14", "235"]
    assert [ids((part, 4)) for part in (1, 2, 3, 4)] == ["1", "235", "4", ""]


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        (("4",), "4"),  # an id
        (("lora rank=1",), "1"),
        (("*rank=[14] seed=0",), "14"),
        (("lora rank=5",), "235"),  # with those before it
        (("1", "3"), "123"),
    ],
)
def test_only_some(patterns, expected):
    assert ids(patterns=patterns) == expected


def test_a_shard_that_has_none_of_those_is_no_mistake():
    assert ids((2, 2), ("1",)) == ""
    with pytest.raises(InputError, match="--filter full: no run fits; there are lora rank=1, lora"):
        ids((2, 2), ("full",))


@pytest.mark.parametrize(
    ("runs_per_pass", "devices", "expected"),
    [
        (1, 1, "1 2 3 4 5 6 7"),
        (8, 1, "1 24 357 6"),
        (2, 1, "1 24 35 7 6"),
        (8, 2, "1 2 4 35 7 6"),
        (8, 9, "1 2 4 3 5 7 6"),
    ],
)
def test_groups_of_what_is_alike(runs_per_pass, devices, expected):
    """1 fits no other, 8 is trained on after 6, so that 6 has to be done before; 2 and 4 go
    together, and 3, 5 and 7."""
    keys = [None, "a", "b", "a", "b", "a", "b"]
    runs = [planned(str(n), batch_key=key) for n, key in enumerate(keys, 1)]
    runs.append(planned("8", continue_from="6"))
    groups = group_runs(runs, runs_per_pass, devices)
    assert ["".join(run.id for run in group) for group in groups] == [*expected.split(), "8"]
