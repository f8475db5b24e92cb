import math

import pytest
from pydantic import TypeAdapter, ValidationError

from peftlens.results.outcomes import (
    Corrupted,
    Died,
    DiskError,
    Done,
    Failed,
    Locked,
    Outcome,
    Problem,
)

OUTCOMES = TypeAdapter(Outcome)
EACH = {
    "done": Done(result={"a": [1, None]}),
    "failed": Failed(error_summary="e", error="E: e", traceback="t", is_input_error=True),
    "died": Died(error_summary="killed", log="l", activity="latency", is_retryable=True),
    "locked": Locked(error_summary="taken"),
    "corrupted": Corrupted(error_summary="flipped"),
    "disk_error": DiskError(error_summary="full: out", errno=28),
}


@pytest.mark.parametrize("kind", EACH)
def test_json_and_back(kind):
    outcome = EACH[kind]
    text = outcome.model_dump_json()
    assert f'"kind":"{kind}"' in text
    assert OUTCOMES.validate_json(text) == outcome
    assert isinstance(outcome, Problem) is (kind != "done")


def test_every_kind_is_here():
    mapping = OUTCOMES.json_schema()["discriminator"]["mapping"]
    assert mapping.keys() == EACH.keys()


@pytest.mark.parametrize(
    "text",
    ['{"kind": "finished"}', '{"result": 1}', '{"kind": "locked"}',
     '{"kind": "done", "result": 1, "at": "x"}'],
)  # fmt: skip
def test_other_words_are_refused(text):
    with pytest.raises(ValidationError):
        OUTCOMES.validate_json(text)


def test_numbers_that_json_has_not():
    outcome = Done(result={"threshold": math.inf})
    assert OUTCOMES.validate_json(outcome.model_dump_json()) == outcome


def test_an_outcome_does_not_change():
    with pytest.raises(ValidationError):
        EACH["locked"].error_summary = "free"


def test_the_error_of_a_full_disk_has_its_number():
    error = EACH["disk_error"].to_error()
    assert (error.errno, error.strerror) == (28, "full: out; finished runs are kept")
