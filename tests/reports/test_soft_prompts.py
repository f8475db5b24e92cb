import pandas as pd

from peftlens.reports.soft_prompts import prompts
from peftlens.results.table import Table


def near(step, **changes):
    row = {
        "run": "r",
        "configuration": "p",
        "seed": 0,
        "status": "measured",
        "step": step,
        "metric": "cosine",
        "position": 4,
        "start_token": "a",
        "tokens": ["a", "b"],
        "nearest_unchanged": True,
        "similarity": 0.5,
        "relative_displacement": 1.5,
    }
    rows = [row | changes, row | {"step": 0, "tokens": ["a", "c"]}, row | {"metric": "dot"}]
    return {"soft_prompt_neighbors": Table("soft_prompt_neighbors", 2, (), (), pd.DataFrame(rows))}


def test_neighbors_at_the_end_beside_the_start():
    (prompt,) = prompts(near(9))
    (token,) = prompt.tokens
    assert (token.start, token.words, token.displacement) == ("a", ["a", "b"], "1.50")
    assert (prompt.step, prompt.n_unchanged, prompt.verdict) == (9, 1, "")
    (prompt,) = prompts(
        near(9, start_token=None, nearest_unchanged=None, relative_displacement=None)
    )
    assert prompt.n_unchanged is None  # nothing is said of a start that nobody knows
    assert prompt.tokens[0].displacement == "–"
    assert list(prompts({})) == []


def test_a_prompt_of_shuffled_labels_is_a_control():
    frame = pd.DataFrame([{"configuration": "p", "sweep": "p", "shuffle_labels": True}])
    tables = near(9) | {"configurations": Table("configurations", 1, (), (), frame)}
    assert [one.is_control for one in prompts(tables)] == [True]
    assert [one.is_control for one in prompts(near(9))] == [False]


def test_neighbors_carry_their_verdict_with_a_mark():
    rows = [
        {"run": "r", "status": "measured", "step": step, "metric": metric, "position": position,
         "q": 0.0123, "verdict": "readable" if (step, metric) == (9, "cosine") else "other"}
        for step in (0, 9) for metric in ("cosine", "centered") for position in (4, None)
    ]  # fmt: skip
    frame = pd.DataFrame(rows).astype({"position": "Int64"})
    null = {"soft_prompt_null": Table("soft_prompt_null", 1, (), (), frame)}
    (prompt,) = prompts(near(9) | null)
    assert prompt.verdict == "✓ readable"
    assert (prompt.tokens[0].verdict, prompt.tokens[0].q) == ("✓ readable", "0.0123")
