import numpy as np
import pandas as pd
import pytest

from peftlens.claims import judge, task_words

SETS = ("news", "science", "mood")


def table(p=0.01, closeness=2.0, control=0.0, power=0.99, others="shuffled labels", prompts=8):
    """Rows of prompts on news, and of as many with shuffled labels or on another task."""
    rng = np.random.default_rng(0)
    rows = []
    for run in range(2 * prompts if others else prompts):
        trained = run < prompts
        own = "news" if trained or others == "shuffled labels" else others
        mean = closeness if trained else control
        for task in SETS:
            rows.append(
                {"run": f"r{run}", "step": 9, "position": None, "kind": "soft prompt", "task": task,
                 "own": task == own, "shuffled_labels": not trained and own == "news",
                 "p": p if task == own else None, "contrast": 0.1,
                 "standardized": rng.normal() + (mean if task == own else 0),
                 "power_at_0.4": power}
            )  # fmt: skip
    return {"soft_prompt_task_words": pd.DataFrame(rows)}


@pytest.mark.parametrize(
    ("changed", "outcome"),
    [
        ({}, "supported"),
        ({"others": "science", "closeness": 3.0}, "supported"),
        ({"control": 2.0}, "insufficient evidence"),  # shuffled labels do the same
        ({"others": None}, "insufficient evidence"),  # nothing to compare with
        ({"p": 0.4}, "contradicted"),
        ({"p": 0.4, "power": 0.5}, "insufficient evidence"),  # it could not have been seen
        ({"prompts": 4}, "insufficient evidence"),
    ],
)
def test_every_outcome(changed, outcome):
    assert task_words.verdict(table(**changed))[0] == outcome


def test_prompts_that_are_close_to_their_own_words_only_by_chance_are_no_support():
    """Without an effect the permutation test finds one in about 5 % of studies."""
    found = 0
    for seed in range(40):
        rows = table(closeness=0.0, others="science")["soft_prompt_task_words"]
        rows["standardized"] = np.random.default_rng(seed).normal(size=len(rows))
        own = rows[rows["own"]].set_index("run")
        found += task_words._against_controls(rows, own) <= 0.05
    assert found <= 6


def test_tables_of_earlier_versions_are_not_judged():
    frame = pd.DataFrame({"run": ["r0"], "step": [9], "position": [None], "q": [0.01]})
    outcome, sentence, _ = task_words.verdict({"soft_prompt_task_words": frame})
    assert outcome == "not measured"
    assert "measure it again" in sentence


def test_only_this_claim_sees_runs_with_shuffled_labels():
    neighbors = pd.DataFrame(
        [
            {"run": f"{name}{run}", "configuration": name, "step": step, "metric": "cosine",
             "space": "embedding", "kind": "soft prompt", "similarity": 1.0 - step / 20,
             "seed": run, "random_step_similarity": 0.8}
            for name in ("prompt", "control") for run in range(6) for step in (0, 9)
        ]
    )  # fmt: skip
    tables = {
        "soft_prompt_neighbors": neighbors,
        "soft_prompt_faithfulness": pd.DataFrame(
            {"run": neighbors["run"].unique(), "prompt": "nearest tokens (cosine)",
             "gap": 1.0, "gap_ci_low": 1.0, "gap_ci_high": 1.0,
             "configuration": ["prompt"] * 6 + ["control"] * 6}
        ),
        "configurations": pd.DataFrame(
            {"configuration": ["prompt", "control"], "sweep": ["prompt", "control"],
             "shuffle_labels": pd.Series([None, True], dtype="boolean")}
        ),
    }  # fmt: skip
    verdicts = {verdict.claim: verdict for verdict in judge(tables)}
    assert "yes for prompt (" in verdicts["off_vocabulary"].sentence
    assert "control" not in verdicts["off_vocabulary"].sentence
    del tables["configurations"]["shuffle_labels"]
    verdicts = {verdict.claim: verdict for verdict in judge(tables)}
    assert "yes for prompt (" in verdicts["off_vocabulary"].sentence
    assert ", control (" in verdicts["off_vocabulary"].sentence
