import pytest

from peftlens.studies.stopwatch import Stopwatch


def test_times_of_all_calls_add_up_by_stage(tmp_path):
    times = iter([0.0, 2.5, 10.0, 11.0, 20.0, 24.0])
    for stage in ("selection", "confirmation", "confirmation"):
        with Stopwatch(tmp_path, times.__next__).timing(stage):
            pass
    assert Stopwatch(tmp_path).seconds() == 7.5
    assert Stopwatch(tmp_path).seconds("confirmation") == 5


def test_the_time_of_an_interrupted_stage_counts(tmp_path):
    times = iter([0.0, 3.0])
    with pytest.raises(KeyboardInterrupt), Stopwatch(tmp_path, times.__next__).timing("selection"):
        raise KeyboardInterrupt
    assert Stopwatch(tmp_path).seconds("selection") == 3


@pytest.mark.parametrize("text", ["", "[1]", '{"selection": "x"}', '{"selection": null}'])
def test_a_damaged_record_counts_as_none(tmp_path, text):
    (tmp_path / "time.json").write_text(text)
    assert Stopwatch(tmp_path).seconds() == 0
