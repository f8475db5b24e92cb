import pandas as pd
import pytest
from scored import MEASURED, frame

from peftlens.reports.result_table import result_table


def texts(one):
    return [[cell.text for cell in row] for row in one.grid.rows]


def test_a_row_for_each_configuration_the_best_first():
    one = result_table(MEASURED)
    assert [head.name for head in one.grid.heads] == [
        "configuration", "accuracy (%)", "forgetting on wiki (nats per token)", "seeds",
    ]  # fmt: skip
    assert texts(one) == [
        ["LoRA, rank 8", "90 (80 to 100)", "0.50 (0.40 to 0.60)", "2"],
        ["Full fine-tuning", "70 (60 to 80)", "0.10 (0.05 to 0.15)", "2"],
        ["Base model before training", "50 (40 to 60)", "–", "2"],
        ["majority", "25", "–", "2"],
    ]
    assert one.keys[0] == "lora rank=8"
    assert (one.place, one.descending, one.unit) == (1, True, " %")
    assert one.finding == (
        "LoRA, rank 8 has the highest accuracy of 2 trained configurations, 90 % (80 to 100); "
        "paired tests do not tell it apart from the other one."
    )


def test_what_a_test_separates_is_marked_and_said():
    rows = MEASURED.assign(best=MEASURED["metric"].eq("accuracy") & MEASURED["mean"].eq(0.9))
    one = result_table(rows)
    assert [cell.best for cell in one.grid.rows[0]] == [False, True, False, False]
    assert one.finding.endswith("; paired tests tell it apart from the other one.")


def test_losses_begin_with_the_lowest():
    rows = frame(
        ("a", "validation loss", 2.0, None, None), ("b", "validation loss", 0.5, None, None)
    )
    one = result_table(rows.assign(better="lower", unit="nats per token"))
    assert [row[0] for row in texts(one)] == ["b", "a"]
    assert not one.descending
    assert one.finding == (
        "b has the lowest validation loss of 2 trained configurations, 0.5 nats per token."
    )


def test_tasks_are_told_apart_where_there_are_several():
    both = pd.concat([MEASURED, MEASURED.assign(task="u")])
    one = result_table(both)
    assert [head.name for head in one.grid.heads][:2] == ["configuration", "task"]
    assert (one.place, len(one.grid.rows)) == (2, 8)


@pytest.mark.parametrize("rows", [frame(), MEASURED[MEASURED["method"] == "frozen"]])
def test_no_table_without_a_trained_score(rows):
    assert result_table(rows) is None


def test_one_configuration_is_compared_with_none():
    one = result_table(frame(("lora rank=8", "accuracy", 0.9, 0.8, 1.0)))
    assert one.finding == "LoRA, rank 8: accuracy 90 % (80 to 100)."
