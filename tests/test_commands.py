"""Every command on the pages of the docs runs, one after another, on tiny models and data.

The commands of docs/getting_started.md run in test_docs.py, which compares their outputs too.
"""

import shutil
from pathlib import Path

import docs_world
import pytest
import typer
from test_docs import typed

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.slow
# Commands that need what a test must not have, and the file that tests them instead.
ELSEWHERE = {
    "--serve": "tests/explorer/test_server.py",  # a server that waits
    "push": "tests/adapters/test_push.py",  # a base of the hub, and an account
    "ray": "tests/studies/test_ray_pool.py",  # a cluster
    "wandb": "tests/export/test_wandb.py",  # extras with further dependencies
    "mlflow": "tests/export/test_mlflow.py",
    "trackio": "tests/export/test_trackio.py",
    "import-results": "tests/results/test_method_comparison.py",  # another tool's results
    "hf": "tests/results/test_method_comparison.py",
    "--claims": "tests/cli/test_plan.py",  # a finished study with seeds
    "--until-decided": "tests/cli/test_until_decided.py",
    "quickstart": "tests/test_cli.py",  # the real model
    "lm_eval:piqa": "tests/evaluation/test_harness_suite.py",  # data of the harness
    "harness_items": "tests/probes/test_harness_items.py",
    "prefetch": "tests/cli/test_prefetch.py",
}


def on_pages():
    """Commands with arguments; a name alone in a sentence is checked by test_docs.py."""
    pages = ["README.md", *(str(file.relative_to(ROOT)) for file in ROOT.glob("docs/*.md"))]
    found = {tuple(words) for page in pages for words in typed(page) if page != START}
    alone = {("study", name) for name in ("validate", "status", "verify")}
    return sorted(words for words in found - alone if len(words) > 1 and not elsewhere(words))


START = "docs/getting_started.md"


def elsewhere(words):
    return [
        file for part, file in ELSEWHERE.items() if any(part in word.split('"') for word in words)
    ]


COMMANDS = on_pages()


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield docs_world.make(folder)


@pytest.fixture
def folder(world, run, monkeypatch):  # noqa: ARG001  # `run` enters another folder
    """The folder; what a command writes beside what was there is gone after it."""
    monkeypatch.chdir(world.folder)
    monkeypatch.setattr(typer, "launch", lambda *_: 0)
    before = {*world.folder.iterdir()}
    yield world.folder
    for path in {*world.folder.iterdir()} - before:
        shutil.rmtree(path) if path.is_dir() else path.unlink()


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_command_runs(words, world, folder, run):  # noqa: ARG001  # it runs there
    arguments = docs_world.command_of([*words], world)
    code, _, err = run(*arguments)
    assert code == 0, (arguments, err[-2000:])


@pytest.mark.parametrize("file", sorted({*ELSEWHERE.values()}))
def test_what_is_tested_elsewhere_has_its_file(file):
    assert (ROOT / file).is_file()
