import pytest

from peftlens.studies.durations import Durations, Work

LORA = Work(("lora rank=8", "lora", "training"), 100.0)
OTHER = Work(("lora rank=64", "lora", "training"), 150.0)
PROMPT = Work(("prompt", "prompt", "training"), 400.0)
PROBE = Work(("forgetting of lora", "forgetting"), 50.0)


def test_before_anything_has_ended_operations_decide():
    times = Durations()
    assert not times.is_known(LORA)
    assert times.expected(PROMPT) == 4 * times.expected(LORA) > 0


def test_the_most_specific_time_counts():
    times = Durations()
    times.record(LORA, 10.0)
    times.record(LORA, 20.0)
    assert times.expected(LORA) == 15
    assert times.expected(OTHER) == 15 / 100 * 150  # by the rate of its method
    times.record(OTHER, 60.0)
    assert (times.expected(LORA), times.expected(OTHER)) == (15, 60)
    # 90 s for 350 operations: all training, as no run of its method has ended
    assert times.expected(PROMPT) == pytest.approx(90 / 350 * 400)


def test_work_of_another_kind_gives_a_scale_and_is_no_knowledge():
    times = Durations()
    times.record(LORA, 10.0)
    assert not times.is_known(PROBE)
    assert times.expected(PROBE) == 5
    times.record(PROBE, 30.0)
    assert (times.expected(PROBE), times.expected(LORA)) == (30, 10)


def test_nothing_to_do_takes_no_time():
    nothing = Work(("soft_prompt_null of lora", "soft_prompt_null"), 0.0)
    times = Durations()
    times.record(nothing, 3.0)  # of a worker that had to start
    assert times.is_known(nothing)
    assert times.expected(nothing) == 0
    assert not times.is_known(Work(nothing.names, 1.0))
