import json
import re
import shlex
import tomllib
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from peftlens.io import extras
from peftlens.io.extras import install_command

ROOT = Path(__file__).parent.parent.parent


def test_in_a_clone_the_command_is_the_readme_s(monkeypatch):
    monkeypatch.chdir(ROOT)
    assert install_command("cluster") == 'python -m pip install -e ".[cluster]"'


def test_elsewhere_it_names_the_clone(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert shlex.split(install_command("hub"))[-1] == f"{ROOT}[hub]"


@pytest.fixture
def installed_from(monkeypatch, tmp_path):
    """Let peftlens lie in a folder of packages, with this record of its origin."""
    monkeypatch.setattr(extras, "_SOURCES", tmp_path)

    def install(record):
        folder = tmp_path / "peftlens-0.1.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text("Metadata-Version: 2.4\nName: peftlens\nVersion: 0.1.0\n")
        if record:
            (folder / "direct_url.json").write_text(json.dumps(record))
        monkeypatch.syspath_prepend(tmp_path)

    return install


@pytest.mark.parametrize(
    ("record", "requirement"),
    [
        (None, "peftlens[quant]"),
        (
            {"url": "file:///dist/peftlens-0.1.0-py3-none-any.whl", "archive_info": {}},
            "peftlens[quant] @ file:///dist/peftlens-0.1.0-py3-none-any.whl",
        ),
        ({"url": "file:///src/peftlens", "dir_info": {}}, "peftlens[quant] @ file:///src/peftlens"),
        (
            {"url": "https://example.org/p.git", "vcs_info": {"vcs": "git", "commit_id": "a1"}},
            "peftlens[quant] @ git+https://example.org/p.git",
        ),
    ],
)
def test_from_an_index_or_from_where_it_was_installed(installed_from, record, requirement):
    installed_from(record)
    assert install_command("quant") == f'python -m pip install "{requirement}"'


def test_a_copied_package_has_no_record(installed_from, monkeypatch):
    def missing(name):
        raise PackageNotFoundError(name)

    installed_from(None)
    monkeypatch.setattr(extras, "distribution", missing)
    assert install_command("quant") == 'python -m pip install "peftlens[quant]"'


def test_every_extra_that_an_error_names_exists():
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = set()
    for file in (ROOT / "peftlens").rglob("*.py"):
        text = file.read_text()
        named |= set(re.findall(r"""install_command\(["'](\w+)""", text))
        assert "pip install 'peftlens[" not in text, file
        assert "install peftlens[" not in text, file
    assert len(named) > 3
    assert named <= set(declared["optional-dependencies"])


def test_every_extra_is_explained():
    page = (ROOT / "docs" / "installation.md").read_text().partition("## Python")[0]
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    rows = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `")]
    assert set(re.findall(r"`(\w+)`", " ".join(rows))) == set(declared["optional-dependencies"])
