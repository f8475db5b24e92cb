import numpy as np
import pytest
import torch
from scipy.stats import ttest_1samp

from peftlens.models.dummy_inputs import random_inputs
from peftlens.models.snapshot import fingerprint
from peftlens.probes import latency
from peftlens.probes.latency import Config, _merged, measure

QUICK = Config(tokens=8, rounds=4)


@pytest.fixture
def clock(monkeypatch):
    """A clock that is moved by hand, and models that move it."""
    now = [0.0]
    monkeypatch.setattr(latency.time, "perf_counter", lambda: now[0])

    def model(seconds):
        def run(**_):
            now[0] += seconds

        return run

    return model


def test_every_state_is_timed_once_a_round(clock, llama):
    states = {"base": lambda: clock(1.0), "attached": lambda: clock(1.5)}
    found = latency._times(states, {}, llama, 3)
    np.testing.assert_allclose(found["base"], [1, 1, 1])
    np.testing.assert_allclose(found["attached"], [1.5, 1.5, 1.5])


def test_the_interval_is_students_t_of_the_logarithms(context, lora, monkeypatch):
    times = {"base": [1.0, 1.0, 1.0, 1.0], "control": [1.0, 1.1, 1.0, 1.1],
             "attached": [1.2] * 4, "merged": [1.0, 1.2, 1.1, 1.0]}  # fmt: skip
    arrays = {state: np.array(own) for state, own in times.items()}
    monkeypatch.setattr(latency, "_times", lambda *_: arrays)
    monkeypatch.setattr(latency.np, "median", lambda _: 0.1)  # nothing was swapped
    row = measure(context, lora, QUICK).set_index("state").loc["merged"]
    expected = ttest_1samp(np.log(times["merged"]), 0).confidence_interval(0.95)
    assert (row["ci_low"], row["ci_high"]) == pytest.approx(tuple(np.exp(expected)))


def test_an_adapter_that_can_be_merged_has_three_states_and_a_control(context, lora):
    rows = measure(context, lora, QUICK).set_index("state")
    assert list(rows.index) == ["base", "control", "attached", "merged"]
    assert rows.loc["base", ["ratio", "ci_low", "ci_high"]].tolist() == [1, 1, 1]
    assert rows["seconds"].gt(0).all()
    assert rows["swap_seconds"].notna().tolist() == [False, False, True, False]
    assert set(rows["n_rounds"]) == {4}


def test_both_models_are_passed_through_in_turn(context, lora, monkeypatch):
    """Else less of the merged one stays in the processor's caches."""
    real, seen = latency._times, []

    def times(states, *rest):
        models = [state() for state in states.values()]
        seen.extend(model.get_input_embeddings().weight.data_ptr() for model in models)
        return real(states, *rest)

    monkeypatch.setattr(latency, "_times", times)
    measure(context, lora, QUICK)
    assert seen == [seen[0], seen[1]] * 3  # weights of the base, and the merged ones
    assert seen[0] != seen[1]


def test_a_prompt_has_two_and_a_control(context, trained):
    states = measure(context, trained("prompt_tuning"), QUICK)["state"]
    assert list(states) == ["base", "control", "attached"]


def test_the_merged_model_is_the_attached_one(context, lora):
    merged = _merged(lora, context.base_model(lora))
    with torch.inference_mode(), context.open_run(lora) as model:
        inputs = random_inputs(model, 2, 8)
        torch.testing.assert_close(merged(**inputs).logits, model(**inputs).logits)


def test_the_base_is_as_it_was(context, lora):
    base = context.base_model(lora)
    before = fingerprint(base.model)
    measure(context, lora, QUICK)
    assert fingerprint(base.model) == before
