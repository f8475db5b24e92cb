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


def test_neighbours_before_and_after_training():
    rows = [
        {"run": "r", "configuration": "p", "seed": 0, "status": "measured", "step": step,
         "position": 0, "neighbour": n, "token": token, "cosine": 0.5, "moved": moved}
        for step, moved, tokens in ((0, 0.0, "ab"), (9, 1.5, "ac"))
        for n, token in enumerate(tokens, 1)
    ]  # fmt: skip
    (prompt,) = neighbours(Table("soft_prompt_neighbors", 1, (), (), pd.DataFrame(rows)))
    (token,) = prompt["tokens"]
    assert (token["before"], token["after"]) == (["a", "b"], ["a", "c"])
    assert (prompt["last"], prompt["kept"]) == (9, 1)
    assert token["moved"] == "1.50"
    only_last = pd.DataFrame(rows).query("step == 9").assign(moved=None)
    (prompt,) = neighbours(Table("soft_prompt_neighbors", 1, (), (), only_last))
    assert prompt["kept"] is None  # nothing is said of a start that was not saved
    assert prompt["tokens"][0]["moved"] == "–"
