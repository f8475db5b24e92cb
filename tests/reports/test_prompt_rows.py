import pandas as pd

from peftlens.figures.method_styles import GRAY, method_style
from peftlens.figures.spec import Axis
from peftlens.reports.prompt_rows import ROWS, by_prompt, compared, prompt_plot, reference, trained


def frame(methods=("prompt_tuning",), seeds=(0, 1)):
    return pd.DataFrame(
        {"configuration": f"{method} num_virtual_tokens=5", "method": method, "seed": seed,
         "value": 0.5 + seed, "null": None if seed else 0.1, "none": None}
        for method in methods for seed in seeds
    )  # fmt: skip


def test_every_prompt_has_a_row_with_its_name():
    (rows,) = by_prompt(frame())
    names = ("Prompt tuning, 5 tokens, seed 0", "Prompt tuning, 5 tokens, seed 1")
    assert tuple(rows["prompt_name"]) == names
    plot = prompt_plot(rows, title="t", finding="f", x=Axis("x"), series=[*trained(rows, "value")])
    assert plot.y.names == names
    (series,) = plot.series
    assert (series.name, series.x, series.y) == ("trained vectors", (0.5, 1.5), names)
    assert series.keys == ("prompt_tuning num_virtual_tokens=5",) * 2


def test_more_prompts_than_fit_are_several_figures():
    parts = list(by_prompt(frame(seeds=range(ROWS + 2))))
    assert [len(part) for part in parts] == [ROWS, 2]


def test_each_method_has_its_color():
    (rows,) = by_prompt(frame(("prompt_tuning", "p_tuning")))
    found = list(trained(rows, "value"))
    assert [one.name for one in found] == ["Prompt tuning", "P-tuning"]
    assert [one.style for one in found] == [method_style("prompt_tuning"), method_style("p_tuning")]


def test_what_was_not_trained_is_gray_and_drawn_where_it_was_measured():
    (rows,) = by_prompt(frame())
    (null,) = compared(rows, {"none": "nothing", "absent": "no column", "null": "noise"})
    assert (null.name, null.x, len(null.y)) == ("noise", (0.1,), 1)
    assert (null.style.color, null.style.is_open) == (GRAY, True)
    marks = {reference(rows, rows["value"], "r", place).style.symbol for place in range(5)}
    assert len(marks) == 5
