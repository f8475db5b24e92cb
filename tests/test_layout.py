"""The rules of the house, kept by tests and not by memory."""

import ast
import json
import re
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from peftlens import registry
from peftlens.errors import InputError

ROOT = Path(__file__).parent.parent
HEAVY = {"torch", "transformers", "peft", "umap"}


@pytest.mark.parametrize("kind", registry.PARTS)
def test_every_plugin_has_the_same_shape(kind):
    for name in registry.names(kind):
        missing = set(registry.PARTS[kind]) - set(vars(registry.load(kind, name)))
        assert not missing, f"{kind}/{name}.py lacks {sorted(missing)}"


def test_a_probe_measures_one_run_or_compares_several():
    for name in registry.names("probes"):
        probe = set(vars(registry.load("probes", name)))
        kinds = ({"REQUIRES", "measure"}, {"REQUIRES", "compare"}, {"INPUTS", "combine"})
        assert sum(kind <= probe for kind in kinds) == 1, name


@pytest.mark.parametrize("kind", ["methods", "tasks", "probes"])
def test_a_default_that_is_written_out_is_the_default(kind):
    for name in registry.names(kind):
        module = registry.load(kind, name)
        if hasattr(module, "Config"):
            written = json.loads(default := json.dumps(asdict(module.Config())))
            assert json.dumps(asdict(registry.configure(kind, name, written))) == default, name


def test_unknown_name_suggests_the_known_one():
    with pytest.raises(InputError, match="did you mean prompt_tuning"):
        registry.load("methods", "promt_tuning")


def test_name_like_no_other_lists_what_there_is():
    with pytest.raises(InputError, match="choose from adalora, adaption_prompt"):
        registry.load("methods", "zzz")


def test_description_is_read_without_importing():
    lora = registry.describe("methods", "lora")
    assert lora.constants["EXPOSES"] == ["delta_weight"]
    rank = lora.options[0]
    assert (rank.name, rank.type, rank.default) == ("rank", "int", "8")
    assert lora.summary.startswith("LoRA: ")


@pytest.mark.parametrize(
    "command",
    [["--help"], ["study", "--help"], ["methods"], ["tasks"], ["probes"], ["methods", "lora"],
     ["tasks", "file"], ["probes", "forgetting"], ["tasks", "--format", "markdown"]],
)  # fmt: skip
def test_listing_imports_nothing_heavy(command):
    code = (
        "import sys; from peftlens import cli; sys.argv = ['peftlens', *sys.argv[1:]]\n"
        "try: cli.main()\n"
        "except SystemExit: pass\n"
        "print(sorted(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *command], capture_output=True, text=True, check=True
    )
    imported = set(re.findall(r"'(\w+)'", done.stderr))
    assert "typer" in imported
    assert not imported & HEAVY
    if "--help" in command:
        assert not imported & {"numpy", "pandas", "joblib", "plotly"}


def test_the_api_is_named_without_importing_anything_heavy():
    code = (
        "import sys, peftlens as pl; dir(pl); pl.InputError; pl.RunConfig; pl.list_tasks\n"
        "print(sorted(sys.modules)); pl.Run; pl.list_methods(); print(sorted(sys.modules))"
    )
    lines = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    named, listed = (set(re.findall(r"'(\w+)'", line)) for line in lines)
    assert "peftlens" in named
    assert not named & (HEAVY | {"plotly", "tqdm"})
    assert "pandas" in listed
    assert not listed & (HEAVY | {"plotly"})


def test_importing_the_package_alone_imports_no_library():
    code = "import sys; before = {*sys.modules}; import peftlens; print({*sys.modules} - before)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    imported = {name.partition(".")[0] for name in re.findall(r"'([\w.]+)'", done.stdout)}
    assert imported <= {"peftlens", *sys.stdlib_module_names}


@pytest.mark.parametrize("folder", ["peftlens", "analyses"])
def test_text_is_never_read_or_written_in_the_system_s_encoding(folder):
    """Windows has others than UTF-8; a subprocess has text by `encoding`, not by `text=True`."""
    found = [
        f"{path.relative_to(ROOT)}:{call.lineno}"
        for path in sorted((ROOT / folder).rglob("*.py"))
        for call in ast.walk(ast.parse(path.read_text()))
        if isinstance(call, ast.Call) and _lacks_encoding(call)
    ]
    assert not found


def _lacks_encoding(call: ast.Call) -> bool:
    keywords = {keyword.arg for keyword in call.keywords}
    if "encoding" in keywords or None in keywords:
        return False
    match call.func:
        case ast.Name(id="open") | ast.Attribute(value=ast.Name(id="os"), attr="fdopen"):
            return not _is_binary(call.args[1:])
        case ast.Attribute(value=ast.Name(id="subprocess")):
            return bool(keywords & {"text", "universal_newlines", "errors"})
        case ast.Attribute(attr="read_text" | "write_text" as name):
            return len(call.args) < (1 if name == "read_text" else 2)
        case ast.Attribute(value=ast.Name(id=name)) if name.lstrip("_")[:1].isupper():
            return False  # a class's own `open`
        case ast.Attribute(attr="open"):
            return not _is_binary(call.args)
    return False


_BINARY = {"rb", "wb", "ab", "xb", "r+b", "w+b"}


def _is_binary(arguments: list[ast.expr]) -> bool:
    parts = [part for argument in arguments for part in ast.walk(argument)]
    return any(isinstance(part, ast.Constant) and part.value in _BINARY for part in parts)


def test_every_module_has_its_test():
    missing = [
        str(path.relative_to(ROOT))
        for path in sorted((ROOT / "peftlens").rglob("*.py"))
        if not path.name.startswith("__") and not _test_of(path).exists() and not _is_thin(path)
    ]
    assert not missing


def _is_thin(path: Path) -> bool:
    """Methods that only hand a configuration to peft have a row each in one table of tests."""
    table = (ROOT / "tests" / "methods" / "test_thin.py").read_text()
    return path.parent.name == "methods" and f'"{path.stem}"' in table


def _test_of(path: Path) -> Path:
    inside = path.relative_to(ROOT / "peftlens")
    return ROOT / "tests" / inside.parent / f"test_{inside.name}"
