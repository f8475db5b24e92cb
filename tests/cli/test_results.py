import json
import sys

import finished
import pytest
import trackers
import typer

from peftlens.errors import InputError
from peftlens.inspection import inspect
from peftlens.io import escaping


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    configs = [finished.lora(rank, seed) for rank in (1, 8) for seed in (0, 1)]
    return finished.study(tmp_path_factory.mktemp("study"), configs)


def test_report_of_one_and_of_several(run, folder, tmp_path):
    code, out, _ = run("report", folder)
    assert (code, out.strip()) == (0, str(folder / "report.html"))
    code, out, _ = run("report", folder, folder, "--out", tmp_path / "both.html")
    assert code == 0
    assert (tmp_path / "both.html").exists()
    assert run("report", folder, "--assets", "--out", tmp_path / "light.html")[0] == 0
    (script,) = tmp_path.glob("plotly-*.js")
    assert script.name in (tmp_path / "light.html").read_text()
    code, _, err = run("report", folder, folder)
    assert (code, "needs --out" in err) == (2, True)


def test_report_opens_the_page(run, folder, monkeypatch):
    opened = []
    monkeypatch.setattr(typer, "launch", lambda url: opened.append(url) or 0)
    assert run("report", folder, "--open")[0] == 0
    assert opened == [(folder / "report.html").resolve().as_uri()]
    monkeypatch.setattr(typer, "launch", lambda _: 1)
    code, _, err = run("report", folder, "--open")
    assert (code, "no browser could be started" in err) == (2, True)


def test_report_of_an_adapter_hands_on_what_is_trusted(run, tmp_path, monkeypatch):
    (tmp_path / "adapter_config.json").write_text("{}")
    requested = []

    def look(*arguments, **named):
        requested.append((arguments, named))
        raise InputError("within_margin")

    monkeypatch.setattr(inspect, "inspect", look)
    assert run("report", tmp_path, "--base", "org/base", "--trust-remote-code")[0] == 2
    assert requested == [((tmp_path, "org/base"), {"trust_remote_code": True})]


def test_tables(run, folder, tmp_path):
    code, out, _ = run("table", folder, "--metric", "accuracy")
    assert code == 0
    assert "| lora rank=8 learning" in out
    code, out, _ = run("table", folder, "--format", "csv", "--out", tmp_path / "t.csv")
    assert (code, out.strip()) == (0, str(tmp_path / "t.csv"))
    assert len(escaping.from_csv((tmp_path / "t.csv").read_text())) == 2 * 8
    code, _, err = run("table", folder, "--metric", "bleu")
    assert (code, "this study has accuracy" in err) == (2, True)
    code, _, err = run("table", folder, "--out", tmp_path / "no" / "t.md")
    assert (code, "is not a folder" in err) == (2, True)


def test_cite(run, folder):
    code, out, _ = run("cite", folder)
    assert code == 0
    assert out.startswith("@misc{peftlens,")
    assert "eprint = {2106.09685}" in out


def test_export(run, folder, tmp_path):
    code, out, _ = run("export", folder, "--to", "peft-comparison", "--out", tmp_path / "json")
    assert (code, out.strip()) == (0, f"{tmp_path / 'json'}: 4 files")
    assert all(json.loads(file.read_text()) for file in (tmp_path / "json").iterdir())
    code, out, _ = run("export", folder / "runs" / f"{0:012x}", "--to", "model-card")
    assert (code, out.startswith("---\nbase_model: smollm2-135m")) == (0, True)
    code, _, err = run("export", tmp_path, "--to", "model-card")
    assert (code, "is not a run" in err) == (2, True)


def test_export_to_a_tracker(run, folder, tmp_path, monkeypatch):
    trackers.module(monkeypatch, "mlflow")
    place = f"sqlite:///{tmp_path / 'm.db'}"
    for said in ("4 runs written", "0 runs written, 4 unchanged"):
        code, out, _ = run("export", folder, "--to", "mlflow", "--out", "m.db", "--project", "p")
        assert code == 0
        assert out == f"{place}: {said}\nmlflow ui --backend-store-uri {place} shows them\n"
    one = folder / "runs" / f"{0:012x}"
    assert "1 run written" in run("export", one, "--to", "mlflow", "--out", "one.db")[1]
    monkeypatch.setitem(sys.modules, "trackio", None)
    code, out, err = run("export", folder, "--to", "trackio")
    assert (code, out, "python -m pip install -e" in err and '[trackio]"' in err) == (2, "", True)
    code, _, err = run("export", tmp_path, "--to", "wandb")
    assert (code, "holds no finished run and no study" in err) == (2, True)
