"""Every Python example of the docs runs: of the API, of the README and of the pages.

Tiny models and data stand for the large ones; see docs_world.py.
"""

import ast
import inspect
import re
import shutil
import textwrap
from pathlib import Path

import docs_world
import pandas as pd
import peft
import pytest
import torch
import transformers

import peftlens as pl

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.slow
# of the API: the examples of a class or function in its docstring
API = [name for name in pl.__all__ if name != "__version__"]
# of a page: those that import nothing are parts of a script of the reader's
BLOCKS = [
    (page, number)
    for page in ("README.md", "docs/diffing.md", "docs/encoders.md", "docs/explorer.md",
                 "docs/adapters.md")
    for number in range(len(re.findall(r"```python\n", (ROOT / page).read_text())))
]  # fmt: skip


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield docs_world.make(folder)


@pytest.fixture
def folder(world, monkeypatch):
    """The folder; what an example writes is gone after it."""
    monkeypatch.chdir(world.folder)
    before = {*world.folder.iterdir()}
    yield world.folder
    for path in {*world.folder.iterdir()} - before:
        shutil.rmtree(path) if path.is_dir() else path.unlink()


@pytest.fixture
def names(world, folder):  # noqa: ARG001  # the example runs there
    """What an example may take for granted."""
    model = pl.load_base_model("my-model", device="cpu", dtype="float32")
    trained = peft.get_peft_model(model.model, peft.LoraConfig(target_modules=["q_proj"]))
    return {
        "pl": pl, "peftlens": pl, "peft": peft, "Trainer": _Trainer, "trl": _Trl,
        "AutoModelForSequenceClassification": transformers.AutoModelForSequenceClassification,
        "run": world.run, "other": world.prompt, "other_run": docs_world.train("lora", rank=4),
        "study": pl.load_study("studies/my-study"), "frame": pd.read_csv("reviews.csv"),
        "model": trained, "tokenizer": model.tokenizer, "base": "my-model",
        "batches": [1, 2], "loss": torch.tensor(1.0), "args": None,
        "rows": [{"prompt": f"Say {n}:", "completion": " yes"} for n in range(20)],
        "held_out": [{"prompt": f"Say {n}:", "completion": " yes"} for n in range(20)],
        "others": [], "pairs": [],
    }  # fmt: skip


class _Trainer:
    """A script's Trainer: what it trains is of tests/training/test_callback.py."""

    def __init__(self, *_, callbacks, **__):
        assert all(isinstance(one, pl.PeftLensCallback) for one in callbacks)


class _Trl:
    DPOTrainer = _Trainer


def execute(code, names):
    for node in ast.parse(code).body:
        exec(compile(ast.Module([node], []), "example", "exec"), names)


@pytest.mark.parametrize("name", API)
def test_an_example_of_the_api_runs(name, world, names):
    doc = inspect.getdoc(getattr(pl, name))
    (example,) = re.findall(r"Example:\n    ```python\n(.*?)    ```", doc, re.DOTALL)
    execute(docs_world.python_of(textwrap.dedent(example), world), names)


@pytest.mark.parametrize(("page", "number"), BLOCKS, ids=str)
def test_an_example_of_a_page_runs(page, number, world, names):
    code = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)[number]
    execute(docs_world.python_of(code, world), names)
