import planted
import torch

from peftlens.adapters.run_context import RunContext
from peftlens.probes import soft_prompt_null


def last(run):
    frame = soft_prompt_null.measure(RunContext(), run)
    frame = frame[(frame["step"] == 2) & (frame["metric"] == "cosine")]
    return frame[frame["position"].notna()], frame[frame["position"].isna()].iloc[0]


def test_a_planted_cluster_is_readable_with_its_numbers(planted_run):
    planted.put(planted_run, torch.cat([planted.around(number, 2) for number in (3, 7, 9)]))
    tokens, prompt = last(planted_run)
    assert tokens["verdict"].tolist() == ["readable"] * 6
    assert prompt["verdict"] == "readable"
    assert prompt["readable"] == 1
    assert prompt["nearest_unchanged"] == 0
    assert (tokens["q"] <= 0.05).all()
    assert (tokens["tightness"] > tokens["mean_random_directions"]).all()
    assert (tokens["draws"] == 1000).all()


def test_noise_is_noise_and_the_start_is_the_start(context, planted_run):
    planted.put(planted_run, planted.directions(6, 3))
    tokens, prompt = last(planted_run)
    assert "readable" not in [*tokens["verdict"], prompt["verdict"]]
    frame = soft_prompt_null.measure(context, planted_run)
    assert {*frame[frame["step"] == 0]["verdict"]} == {"start kept"}
    # draws are as tight as the start itself where the step has no length
    assert (frame[frame["step"] == 0]["p_steps"] == 1).all()
