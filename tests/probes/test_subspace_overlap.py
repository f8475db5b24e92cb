import numpy as np
import pytest

import peftlens
from peftlens.adapters.run_context import RunContext
from peftlens.evaluation import probe_runner
from peftlens.models.base_model import load_base_model
from peftlens.probes.subspace_overlap import Config, _overlap, compare


def table(runs, *directions):
    return compare(
        RunContext(), {run: run.record.configuration for run in runs}, Config(directions=directions)
    )


def test_equal_directions_overlap_wholly_and_opposite_ones_too():
    basis = np.linalg.qr(np.random.default_rng(0).normal(size=(20, 3)))[0]
    found = _overlap([(basis, -basis[:, ::-1])])
    assert found["similarity"] == pytest.approx(1)
    assert found["largest_angle"] == pytest.approx(0, abs=1e-5)
    assert found["random"] == 3 / 20


def test_a_known_angle():
    flat = np.eye(4)[:, :2]
    turned = flat.copy()
    turned[:, 1] = [0, np.cos(0.5), np.sin(0.5), 0]
    found = _overlap([(flat, turned)])
    assert found["similarity"] == pytest.approx((1 + np.cos(0.5) ** 2) / 2)
    assert (found["smallest_angle"], found["largest_angle"]) == pytest.approx(
        (0, np.degrees(0.5)), abs=1e-5
    )


def test_pairs_differ_in_one_thing(trained):
    runs = [trained("lora", rank=rank, seed=seed) for rank in (2, 4) for seed in (0, 1)]
    found = table(runs, 1, 2, 4)
    pairs = found.drop_duplicates(["between", "run", "other_run"])
    assert pairs["between"].value_counts().to_dict() == {"seeds": 2, "ranks": 2}
    assert set(found["role"]) == {"q_proj", "v_proj"}
    assert set(found["n_weights"]) == {3}
    # of 2 directions no 4 are compared
    wide = found[found["directions"] == 4]
    assert set(wide["configuration"]) == {"lora rank=4"}
    assert set(found[found["between"] == "ranks"]["directions"]) == {1, 2}
    assert found["similarity"].between(0, 1 + 1e-9).all()


def test_a_run_is_compared_with_its_own_past(bases, words, tmp_path):
    run = peftlens.train(
        peftlens.RunConfig(
            method="lora", task=f"file:{words}", base_model=str(bases["llama"]), device="cpu",
            dtype="float32", method_config={"rank": 2},
            training={"max_steps": 6, "batch_size": 4, "checkpoint_steps": [0, 5]},
        ),
        tmp_path,
    )  # fmt: skip
    found = table([run], 1)
    assert set(found["step"]) == {5}  # at step 0 nothing has changed
    assert found["similarity"].min() > 0.8
    read = found[found["side"] == "inputs"]
    assert set(read["random"]) == {
        1 / load_base_model(str(bases["llama"])).model.config.hidden_size
    }


def test_runs_of_other_methods_are_left_out(context, trained):
    runs = [trained("prompt_tuning"), *(trained("lora", rank=2, seed=seed) for seed in (0, 1))]
    found = probe_runner.collect(context, runs, "subspace_overlap").frame
    assert set(found["between"]) == {"seeds"}


def test_nothing_pairs(trained):
    assert table([trained("lora", rank=2), trained("full")], 1).empty
