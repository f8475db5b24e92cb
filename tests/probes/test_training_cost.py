from subprocess import CompletedProcess

import pandas as pd
import pytest

from peftlens.probes import training_cost
from peftlens.probes.training_cost import Config, compare
from peftlens.results.cost_ratio import points
from peftlens.training import peak_memory
from peftlens.training.step_cost import StepRequest

SMALL = Config(rows=(2,), lengths=(8, 16), rounds=2, steps=1)


@pytest.fixture
def requests(monkeypatch):
    """The requests that would start processes, each answered with its number of tokens."""
    seen = []

    def answer(request):
        seen.append(StepRequest.model_validate(request))
        if request["config"]["method"] == "prompt_tuning":
            return {"reason": "too long"}
        return {"flops": request["rows"] * request["length"], "step_seconds": 1.0}

    monkeypatch.setattr(training_cost, "_in_new_process", answer)
    return seen


def test_a_round_is_every_configuration_and_a_second_copy_of_the_first(
    context, lora, full, requests
):
    frame = compare(context, {full: "full", lora: "lora"}, SMALL)
    first = frame[(frame["round"] == 1) & (frame["length"] == 8)]
    assert first["method"].tolist() == ["full", "lora", "full"]
    assert first["control"].tolist() == [False, False, True]
    assert len(frame) == len(requests) == 2 * 2 * 3
    assert frame["flops"].tolist() == frame["tokens"].tolist()
    assert {request.config.base_model for request in requests} == {full.config.base_model}


def test_runs_that_differ_in_their_seed_are_measured_once(context, trained, lora, requests):
    other = trained("lora", seed=1, rank=2)
    frame = compare(context, {lora: "lora", other: "lora"}, SMALL)
    assert frame["configuration"].nunique() == 1
    assert {request.config.seed for request in requests} == {0}


def test_what_trains_nothing_is_left_out(context, trained, requests):
    frame = compare(context, {trained("frozen"): "frozen"}, SMALL)
    assert frame.empty
    assert [*frame] == [column.name for column in training_cost.COLUMNS]
    assert not requests


def test_what_failed_is_not_tried_again(context, trained, lora, requests):
    frame = compare(context, {lora: "lora", trained("prompt_tuning"): "prompt_tuning"}, SMALL)
    failed = frame[frame["method"] == "prompt_tuning"]
    assert failed["reason"].tolist() == ["too long", "too long"]  # once at each length
    assert failed["flops"].isna().all()
    assert {name for point in points(frame) for name in point.exact["method"]} == {"lora"}
    assert len(requests) == 2 * (2 * 2 + 1)


def test_a_new_process_measures_the_step(lora):
    found = training_cost._in_new_process(
        {"config": lora.config.model_dump(mode="json"), "rows": 2, "length": 8,
         "scored_tokens": 1, "steps": 1, "trust_remote_code": False}
    )  # fmt: skip
    assert "reason" not in found
    assert found["trainable_parameters"] == lora.record.results["trainable_parameters"]
    assert {column.name for column in training_cost.COLUMNS} > set(found)
    if peak_memory._RESET.exists():
        assert found["weight_bytes"] < found["peak_memory_bytes"] < 2e8


def test_a_process_that_failed_leaves_its_last_line(monkeypatch):
    monkeypatch.setattr(training_cost, "_PROGRAM", "json.tool")  # it reads JSON and writes it
    assert training_cost._in_new_process({"flops": 1}) == {"flops": 1}
    monkeypatch.setattr(training_cost, "_PROGRAM", "no_such_module")
    assert "No module named no_such_module" in training_cost._in_new_process({})["reason"]


def test_a_process_that_was_killed(monkeypatch):
    killed = CompletedProcess([], -9, "", "")
    monkeypatch.setattr(training_cost.subprocess, "run", lambda *_, **__: killed)
    assert "ended by signal 9" in training_cost._in_new_process({})["reason"]


@pytest.mark.usefixtures("requests")
def test_missing_values_are_missing(context, lora):
    frame = compare(context, {lora: "lora"}, SMALL)
    assert frame["peak_memory_bytes"].isna().all()
    assert frame["peak_memory_bytes"].dtype == pd.Int64Dtype()
    assert frame["reason"].isna().all()
