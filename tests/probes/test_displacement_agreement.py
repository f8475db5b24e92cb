import pytest
import torch
from safetensors.torch import load_file

from peftlens.probes.displacement_agreement import compare


def displacement(run):
    """The prompt's last vectors minus its first, from the files alone."""
    last, first = (
        next(iter(load_file(run.adapter(step) / "adapter_model.safetensors").values()))
        for step in (run.steps[-1], 0)
    )
    return (last - first).double()


def test_seeds_of_one_start_are_compared_position_by_position(context, trained):
    text = {"num_virtual_tokens": 3, "init": "text", "init_text": "good bad"}
    one, other = (trained("prompt_tuning", seed=seed, **text) for seed in (0, 1))
    found = compare(context, {one: "a", other: "b"})
    assert found["starts"].tolist() == ["equal"]
    (row,) = found.to_dict("records")
    expected = torch.cosine_similarity(displacement(one), displacement(other)).mean().item()
    assert row["cosine"] == pytest.approx(expected, abs=1e-5)
    assert row["deviations"] == pytest.approx(row["cosine"] / row["random_sd"])
    assert (row["same_task"], row["same_seed"], row["n_vectors"]) == (True, False, 3)


def test_other_starts_are_told_apart_and_other_shapes_are_no_pair(context, trained):
    one, other = (trained("prompt_tuning", seed=seed, num_virtual_tokens=3) for seed in (0, 1))
    longer = trained("prompt_tuning", num_virtual_tokens=4)
    found = compare(context, {one: "a", other: "b", longer: "c"})
    assert set(found["starts"]) <= {"equal", "different"}
    assert found["n_vectors"].sum() == 3
    assert set(found["other_configuration"]) == {"b"}
