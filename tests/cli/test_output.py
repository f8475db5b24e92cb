import pandas as pd

from peftlens.cli.output import print_frame, print_table


def test_columns_without_a_value_are_left_out(capsys):
    print_frame(pd.DataFrame({"a": [0.123456, None], "b": [None, None]}))
    out = capsys.readouterr().out
    assert "0.1235" in out
    assert "b" not in out


def test_marks_in_cells_stay_text(capsys):
    print_table(["word"], [["[red]x[/red]"]])
    assert "[red]x[/red]" in capsys.readouterr().out
