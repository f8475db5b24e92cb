"""R² against numpy's own polynomial, and permutations counted by hand."""

import numpy as np
import pandas as pd
import pytest

from peftlens.probes.razor import combine, r_squared
from peftlens.results.table import NotApplicable


def tables(kl, forgetting, seeds=1, rank=(1, 2, 4, 8)):
    """Tables of configurations with the same steps: values of shape (configurations, steps)."""
    rows = [
        {"run": f"{c}-{s}", "configuration": f"c{c}", "seed": s, "step": 10 * t,
         "suite": "passages", "forgetting": forgetting[c][t], "task_kl": kl[c][t],
         "rank": rank[c], "trainable_parameters": 10 ** (c + 1), "norm": 3.0 * (c + 1)}
        for c in range(len(kl)) for s in range(seeds) for t in range(len(kl[0]))
    ]  # fmt: skip
    frame = pd.DataFrame(rows).assign(status="measured")
    weights = pd.concat([frame, frame.assign(norm=4 * frame["norm"] / 3)])  # 3 and 4: 5 in all
    return {
        "forgetting": frame.drop(columns=["task_kl", "rank", "trainable_parameters", "norm"]),
        "task_divergence": frame[["run", "step", "task_kl", "status"]],
        "delta_spectrum": weights[["run", "step", "norm", "status"]],
        "parameter_count": frame.drop_duplicates("run")[
            ["run", "rank", "trainable_parameters", "status"]
        ],
    }


def by_predictor(found):
    return found.set_index("predictor").to_dict("index")


KL = np.array([[0.0, 0.1, 0.2], [0.0, 0.3, 0.5], [0.0, 0.7, 0.9], [0.0, 1.1, 1.4]])


def test_forgetting_that_is_a_function_of_divergence_is_explained():
    """Only the identity of 24 orders of four configurations gives so much: p = 1/24."""
    found = by_predictor(combine(tables(KL, 2 * KL + KL**2)))
    kl = found["task_kl"]
    assert kl["r_squared"] == pytest.approx(1)
    assert kl["p_value"] == pytest.approx(1 / 24)
    assert (kl["n_points"], kl["n_configurations"], kl["n_permutations"]) == (8, 4, 24)
    assert kl["null_r_squared"] < 0.9
    assert found["rank"]["r_squared"] < 1
    assert found["update_norm"]["r_squared"] == pytest.approx(found["parameters"]["r_squared"])


def test_r_squared_is_that_of_numpy_s_polynomial():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 30))
    fitted = np.polynomial.Polynomial.fit(x, y, 2)(x)
    assert r_squared(x, y) == pytest.approx(np.corrcoef(fitted, y)[0, 1] ** 2)


def test_what_does_not_predict_has_a_p_that_is_not_small():
    """Forgetting by step alone: any order of the configurations explains it alike."""
    kl = np.tile([0.0, 0.1, 0.2], (4, 1))
    found = by_predictor(combine(tables(kl, 2 * kl)))
    assert found["task_kl"]["p_value"] == 1


def test_runs_with_other_steps_have_no_p():
    unequal = tables(KL, KL)
    unequal["forgetting"] = unequal["forgetting"].iloc[:-1]
    found = combine(unequal)
    assert found["p_value"].isna().all()
    assert found["r_squared"].notna().all()


def test_one_configuration_is_not_enough():
    with pytest.raises(NotApplicable, match="fewer than two configurations"):
        combine(tables(KL[:1], KL[:1]))
