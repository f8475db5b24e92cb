"""The modules of docs/site, and the built site."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def site_modules(monkeypatch):
    """Modules of docs/site can be imported."""
    monkeypatch.syspath_prepend(str(ROOT / "docs" / "site"))


@pytest.fixture(scope="session")
def site(tmp_path_factory) -> Path:
    """The site, built by its script."""
    pytest.importorskip("zensical")
    out = tmp_path_factory.mktemp("site") / "site"
    done = subprocess.run(
        [sys.executable, ROOT / "docs" / "site" / "build.py", out],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    return out
