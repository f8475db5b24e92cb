import base64

import pandas as pd

from peftlens.report.sections import neighbours, section
from peftlens.table import Chart, Column, Table

COLUMNS = (Column("name", "what"), Column("score", "how good"), Column("empty", "never filled"))


def table(frame, *charts):
    return Table("probe", 1, COLUMNS, charts, frame)


def test_cells_are_text_and_the_csv_is_exact():
    frame = pd.DataFrame({"name": ["a", "b"], "score": [1 / 3, None], "empty": None})
    shown = section(table(frame))
    assert shown.header == ["name", "score"]  # a column without a value is not shown
    assert shown.rows == [["a", "0.3333"], ["b", "–"]]
    lines = base64.b64decode(shown.csv).decode().splitlines()
    assert lines == ["name,score,empty", "a,0.3333333333333333,", "b,,"]


def test_a_large_table_keeps_earlier_steps_in_its_file():
    rows = [{"run": "r", "name": n, "step": step} for step in (0, 9) for n in range(600)]
    shown = section(table(pd.DataFrame(rows)))
    assert (shown.n_rows, shown.left_in_file) == (600, 600)
    assert {line.split(",")[2] for line in base64.b64decode(shown.csv).decode().split()} == {
        "step", "9"
    }  # fmt: skip
    assert section(table(pd.DataFrame(rows[::2]))).left_in_file == 0


def test_what_was_not_measured_is_listed_apart():
    frame = pd.DataFrame(
        {
            "configuration": ["x", "y"], "name": ["a", None], "score": [1.0, None], "empty": None,
            "status": ["measured", "not_applicable"], "reason": [None, "because"],
        }
    )  # fmt: skip
    shown = section(table(frame))
    assert shown.n_rows == 1
    assert shown.not_applicable == ["y: because"]


def test_figures_can_not_end_their_script_element():
    frame = pd.DataFrame({"name": ["</script>"], "score": [1.0], "empty": [None]})
    chart = Chart("line", x="name", y="score", title="t", text="name")
    (figure,) = section(table(frame, chart)).figures
    assert "<" not in figure.spec


def prompts(step, **changes):
    row = {"run": "r", "configuration": "p", "seed": 0, "status": "measured", "step": step,
           "metric": "cosine", "position": 4, "start_token": "a", "tokens": "a b", "kept": True,
           "similarity": 0.5, "moved": 1.5}  # fmt: skip
    rows = [row | changes, row | {"step": 0, "tokens": "a c"}, row | {"metric": "dot"}]
    return {"soft_prompt_neighbors": Table("soft_prompt_neighbors", 2, (), (), pd.DataFrame(rows))}


def test_neighbours_at_the_end_beside_the_start():
    (prompt,) = neighbours(prompts(9))
    (token,) = prompt["tokens"]
    assert (token["start"], token["words"], token["moved"]) == ("a", ["a", "b"], "1.50")
    assert (prompt["last"], prompt["kept"], prompt["verdict"]) == (9, 1, None)
    (prompt,) = neighbours(prompts(9, start_token=None, kept=None, moved=None))
    assert prompt["kept"] is None  # nothing is said of a start that nobody knows
    assert prompt["tokens"][0]["moved"] == "–"
    assert neighbours({}) == []


def test_neighbours_carry_their_verdict():
    rows = [
        {"run": "r", "status": "measured", "step": step, "metric": metric, "position": position,
         "verdict": f"{metric} {step} {position}"}
        for step in (0, 9) for metric in ("cosine", "centred") for position in (4, None)
    ]  # fmt: skip
    frame = pd.DataFrame(rows).astype({"position": "Int64"})
    null = {"soft_prompt_null": Table("soft_prompt_null", 1, (), (), frame)}
    (prompt,) = neighbours(prompts(9) | null)
    assert prompt["verdict"] == "cosine 9 None"
    assert prompt["tokens"][0]["verdict"] == "cosine 9 4"
