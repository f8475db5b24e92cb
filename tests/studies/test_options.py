from pathlib import Path

from peftlens.studies.options import StudyOptions, StudyOutcome


def test_by_default_everything_is_run_on_this_machine_and_failures_are_left():
    options = StudyOptions()
    assert (options.engine, options.workers, options.shard, options.filter) == (
        "local", None, None, ()
    )  # fmt: skip
    assert not options.retry_failed
    assert not options.full_scale


def test_an_outcome_counts_what_is_left():
    assert StudyOutcome(Path("out"), (), ("lora: failed: killed",), 3).left == 3
