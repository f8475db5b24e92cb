"""What the docs tell a newcomer to type works, and what they list is all there is."""

import ast
import dataclasses
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from contextlib import suppress
from pathlib import Path

import pytest
import typer
from typer.core import TyperGroup

import peftlens
from peftlens import cli, registry
from peftlens.data.formatting import Columns
from peftlens.data.task import Split
from peftlens.results import table
from peftlens.runs.config import Keep, TrainingConfig
from peftlens.runs.run import Record
from peftlens.studies.config import Continual, RunsEntry, StudyConfig
from peftlens.studies.decisions import Decisions
from peftlens.tasks.file import Config as FileConfig
from peftlens.tasks.hub import Config as HubConfig

ROOT = Path(__file__).parent.parent
START = (ROOT / "docs" / "getting_started.md").read_text()
FENCED = re.compile(r"```(\w*)\n(.*?)```", re.DOTALL)


def blocks(text, language=""):
    return [body for found, body in FENCED.findall(text) if found == language]


OUTPUT = re.compile(r"```\n(peftlens [^\n]*)\n```\n\n```text\n(.*?)```", re.DOTALL)


def prints(shown, out):
    """Whether a page shows an output: the same lines but for numbers; ... stands for any lines."""
    wanted, found = masked(shown), masked(out)
    pattern = "".join(r"(?:.*\n)*" if line == "..." else re.escape(f"{line}\n") for line in wanted)
    return re.fullmatch(pattern, "".join(f"{line}\n" for line in found)) is not None


def masked(text):
    """Lines with `#` for every number, without spaces and rules that depend on their width."""
    text = re.sub(r"runs/[0-9a-f]{12}", "runs/#", text)
    text = re.sub(r"\d[\d,.]*(e[+-]\d+)?", "#", text)
    lines = [" ".join(line.split()) for line in re.sub("─+", "─", text).splitlines()]
    return [line for line in lines if line]


def test_an_output_that_is_not_shown_so_is_found_out():
    assert prints("a: 1.5\n...\nb\n", "a:  2e+09\nx\ny\nb\n")
    assert not prints("a: 1\n", "a: 1\nb\n")
    assert not prints("a: 1\n...\nc", "a: 1\nb\n")


def commands(text):
    return [
        line.partition("  #")[0]
        for block in blocks(text)
        for line in block.splitlines()
        if line.startswith("peftlens ")
    ]


def typed(page):
    """Commands of a page's blocks, as a shell would split them, with lines joined after a \\."""
    text = (ROOT / page).read_text()
    blocks_of_it = [body.replace("\\\n", " ") for body in blocks(text)]
    lines = [line.strip() for body in blocks_of_it for line in body.splitlines()]
    lines += re.findall(r"`(peftlens [^`]*)`", text)
    found = [re.sub(r"^(\w+=\S+ )+", "", line) for line in lines]
    words = [shlex.split(line, comments=True)[1:] for line in found if line.startswith("peftlens ")]
    return [line[: line.index(">")] if ">" in line else line for line in words]


PAGES = [
    str(file.relative_to(ROOT))
    for file in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("reports/**/README.md"))
]
COMMANDS = typer.main.get_command(cli.app)
TYPED = sorted({tuple(words) for page in PAGES for words in typed(page) if words})


@pytest.mark.parametrize("words", TYPED, ids=" ".join)
def test_every_command_of_a_page_is_one(words):
    """Its name and options exist, and it has the arguments that it needs; nothing is run."""
    named = words[-1] in (
        *COMMANDS.commands,
        "status",
        "validate",
        "verify",
    )  # in a sentence, without more
    with suppress(typer.Exit):
        check([*("2" if word == "N" else word for word in words), *["--help"] * named])


def check(words):
    command, left, context = COMMANDS, list(words), COMMANDS.make_context("peftlens", ["env"])
    while isinstance(command, TyperGroup):
        name, command, left = command.resolve_command(context, left)
        context = command.make_context(name, left, parent=context)
        left = [*context._protected_args, *context.args]


@pytest.mark.parametrize("words", [["nothing"], ["study", "no.toml", "--together", "2"], ["merge"]])
def test_what_is_no_command_is_found_out(words):
    with pytest.raises(Exception, match="No such|Missing"):
        check(words)


def test_every_command_is_on_a_page():
    assert {words[0] for words in TYPED} == COMMANDS.commands.keys()


@pytest.fixture
def folder(bases, tmp_path):
    """What the page says is there: a CSV file, and a model's folder."""
    shutil.copytree(bases["llama"], tmp_path / "my-model")
    made = [f'"Number {n}: it {word}.",{stars}' for n in range(40)
            for word, stars in (("works", "good"), ("broke", "bad"))]  # fmt: skip
    (tmp_path / "reviews.csv").write_text("\n".join(["review,stars", *made]) + "\n")
    (study,) = (one for one in blocks(START, "toml") if one.startswith("name"))
    (tmp_path / "my-study.toml").write_text(study)
    return tmp_path


@pytest.mark.slow
def test_the_newcomer_s_path(run, folder):
    """Every command of the page, in its order; the study in this process, which has torch."""
    lines = commands(START)
    assert len(lines) >= 10
    shown = dict(OUTPUT.findall(START))
    assert len(shown) == len(lines)
    for line in lines:
        here = ["--workers", "0"] if line.startswith("peftlens study my-study.toml") else []
        code, out, err = run(*shlex.split(line)[1:], *here)
        assert code == 0, (line, err)
        assert prints(shown[line], out), (line, out)
    study = folder / "studies" / "my-study"
    assert (study / "report.html").exists()
    assert (study / "explorer.html").exists()
    assert r"\begin{tabular}" in (folder / "table.tex").read_text()


@pytest.fixture
def clone(tmp_path):
    """A copy of the package, with one file more for a method and one for a probe."""
    skip = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "peftlens", tmp_path / "clone" / "peftlens", ignore=skip)
    package = tmp_path / "clone" / "peftlens"
    before = {path for path in package.rglob("*") if path.is_file()}
    shutil.copy(
        ROOT / "tests" / "third_party" / "peftlens_scale" / "method.py",
        package / "methods" / "toy_scale.py",
    )
    (probe,) = (one for one in blocks(START, "python") if "def measure" in one)
    (package / "probes" / "toy_length.py").write_text(probe)
    after = {path for path in package.rglob("*") if path.is_file()}
    assert len(after - before) == 2

    def call(*arguments):
        done = subprocess.run(
            [sys.executable, "-c", "from peftlens.cli import main; main()", *map(str, arguments)],
            env=os.environ | {"PYTHONPATH": str(tmp_path / "clone")},
            cwd=tmp_path, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    return call


def test_a_method_and_a_probe_are_a_file_each(clone, folder):
    """Listed, planned, trained, loaded, measured, tabulated: without a word anywhere else."""
    assert "toy_scale" in clone("methods", "--json")
    assert "toy_length" in clone("probes", "--json")
    study = (folder / "my-study.toml").read_text().partition("[[runs]]")[0]
    study = re.sub(r"probes = .*", 'probes = ["task_items", "task_accuracy", "toy_length"]', study)
    runs = '[[runs]]\nmethod = "toy_scale"\n[[runs]]\nmethod = "prompt_tuning"\n'
    (folder / "toy.toml").write_text(study.replace("seeds = [0, 1]\n", "") + runs)
    assert "toy_scale" in clone("study", "toy.toml", "--workers", "0")
    rows = clone("table", "studies/toy", "--format", "csv")
    assert "toy_scale" in rows
    measured = table.read(folder / "studies" / "toy" / "tables" / "toy_length.parquet").frame
    assert measured.groupby("method")["status"].first().to_dict() == {
        "prompt_tuning": "measured",
        "toy_scale": "not_applicable",  # it trains no vectors
    }


def test_the_notebook_runs_from_top_to_bottom(bases, words, tmp_path, monkeypatch):
    """On a tiny model in the place of the real one; what a cell shows is asked for its HTML."""
    monkeypatch.chdir(tmp_path)
    install, *cells = [
        "".join(cell["source"])
        for cell in json.loads((ROOT / "docs" / "notebook.ipynb").read_text())["cells"]
        if cell["cell_type"] == "code"
    ]
    assert install == "%pip install -q peftlens-*.whl"  # no Python; of the wheel: test_distribution
    assert len(cells) >= 8
    cells[0] = cells[0].replace('"smollm2-135m"', repr(str(bases["llama"])))
    cells[0] = cells[0].replace('"bbc_topic"', repr(f"file:{words}"))
    (drawn,) = (n for n, cell in enumerate(cells) if "pl.explore(prompt)" in cell)
    cells[drawn] = cells[drawn].replace(
        "pl.explore(prompt)", 'pl.explore(prompt, projection="pca")'
    )
    names: dict[str, object] = {}
    shown = []
    for cell in cells:
        *before, last = ast.parse(cell).body
        exec(compile(ast.Module(before, []), "notebook", "exec"), names)
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), "notebook", "eval"), names)
            shown.append(value._repr_html_() if hasattr(value, "_repr_html_") else repr(value))
        else:
            exec(compile(ast.Module([last], []), "notebook", "exec"), names)
    assert len(shown) >= 12
    assert all(shown)
    assert sum("<svg " in one for one in shown) == 2


def test_the_notebook_needs_the_api_alone_and_is_small():
    file = ROOT / "docs" / "notebook.ipynb"
    assert file.stat().st_size < 300_000
    cells = [cell for cell in json.loads(file.read_text())["cells"] if cell["cell_type"] == "code"]
    sources = ["".join(cell["source"]) for cell in cells]
    python = [source for source in sources if not source.startswith("%pip ")]
    nodes = [node for source in python for node in ast.walk(ast.parse(source))]
    imports = [ast.unparse(one) for one in nodes if isinstance(one, ast.Import | ast.ImportFrom)]
    assert imports == ["import peftlens as pl"]
    assert {one.attr for one in nodes
            if isinstance(one, ast.Attribute) and ast.unparse(one.value) == "pl"
            } <= {*peftlens.__all__}  # fmt: skip
    assert "plotly" not in json.dumps([cell["outputs"] for cell in cells])


def test_every_key_is_in_the_reference():
    text = (ROOT / "docs" / "reference.md").read_text()
    models = (StudyConfig, TrainingConfig, Keep, Continual, RunsEntry, Decisions, Record)
    keys = {key for model in models for key in model.model_fields}
    for config in (Split, Columns, FileConfig, HubConfig):
        keys |= {field.name for field in dataclasses.fields(config)}
    keys -= {"source"}  # filled in from the name
    for key in sorted(keys):
        assert re.search(rf"`(\[\[)?{key}(\]\])?`|`\[{key}\]`|`\[{key}\.", text), key


def test_the_defaults_of_the_reference():
    text = (ROOT / "docs" / "reference.md").read_text()
    for key, field in TrainingConfig.model_fields.items():
        if key in ("learning_rate", "max_length"):  # the method's, the data's
            continue
        default = field.default
        shown = {"()": "`[]`", "False": "false", "None": "none"}.get(str(default)) or (
            f'`"{default}"`' if isinstance(default, str) else f"{default:g}"
        )
        assert re.search(rf"\| `{key}` \| .* \| {re.escape(shown)} \|", text), key


def test_contributing_names_all_that_a_plugin_must_have():
    lines = (ROOT / "CONTRIBUTING.md").read_text().splitlines()
    for kind, parts in registry.PARTS.items():
        rows = [line for line in lines if f"`peftlens/{kind}/NAME.py`" in line]
        assert rows
        assert all(f"`{part}`" in row for part in parts for row in rows)


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page):
    for link in re.findall(r"\]\(((?!https?:)[^)#]+)", page.read_text()):
        assert (page.parent / link).exists(), link


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=lambda page: page.name)
def test_toml_on_a_page_is_toml(page):
    for block in blocks(page.read_text(), "toml"):
        tomllib.loads(block)
