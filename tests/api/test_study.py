import json

import pytest
from finished import lora, plain, study

import peftlens as pl
from peftlens.results import failures
from peftlens.results.outcomes import Failed

FAILED = Failed(error_summary="it broke", error="E: it broke", traceback="", is_input_error=False)


@pytest.fixture
def opened(tmp_path):
    folder = study(tmp_path, [lora(1, 0), lora(1, 1), plain("frozen", 0), plain("frozen", 1)])
    failures.record(folder, "learning", "probe learning", FAILED)
    return pl.load_study(str(folder))


def test_runs_and_tables(opened, tmp_path):
    assert (opened.name, opened.folder) == ("made up", tmp_path)
    assert [run.config.method for run in opened.runs] == ["lora", "lora", "frozen", "frozen"]
    assert all(isinstance(run, pl.Run) for run in opened.runs)
    assert opened.tables["parameter_count"].to_frame()["rank"].max() == 1
    assert all(isinstance(one, pl.Table) for one in opened.tables.values())


def test_failures_name_the_reason(opened):
    frame = opened.failures
    assert frame["kind"].tolist() == ["Failed"]
    assert frame["reason"].tolist() == ["probe learning: it broke"]


def test_verdicts_have_a_row_for_each_claim_those_not_measured_last(opened):
    frame = opened.verdicts()
    assert sorted(frame["claim"]) == pl.list_claims()["name"].tolist()
    unmeasured = (frame["outcome"] == "not measured").tolist()
    assert unmeasured == sorted(unmeasured)
    assert frame["sentence"].str.len().min() > 0


def test_the_benchmark_table_is_a_frame_or_a_text(opened):
    frame = opened.benchmark_table(metrics=["accuracy"])
    assert set(frame["metric"]) == {"accuracy"}
    assert len(frame) == 2
    assert r"\toprule" in opened.benchmark_table(format="latex")
    assert "\n| lora" in opened.benchmark_table(format="markdown", metrics=["accuracy"])


def test_citations_and_report(opened, tmp_path):
    assert opened.bibtex().startswith("@misc{peftlens,")
    assert opened.report() == tmp_path / "report.html"
    assert "made up" in opened.report(str(tmp_path / "page.html")).read_text()


def test_a_notebook_shows_what_there_is(opened):
    shown = opened._repr_html_()
    assert "made up" in shown
    assert "<td>finished runs</td>\n      <td>4</td>" in shown


def test_a_study_file_is_run_and_found_done(study_file, tmp_path):
    out = tmp_path / "out"
    some = pl.run_study(study_file, out, workers=0, filter=["frozen*"])
    assert [run.config.method for run in some.runs] == ["frozen"]
    assert some.failures["kind"].unique().tolist() == ["Not run"]
    whole = pl.run_study(str(study_file), str(out), workers=0)
    assert [run.config.method for run in whole.runs] == ["frozen", "lora", "lora"]
    assert whole.failures.empty
    assert whole.tables.keys() == {"configurations", "task_accuracy", "parameter_count"}
    assert json.loads((out / "study.json").read_text())["name"] == "tiny"


def test_the_larger_study_has_to_be_there(study_file, tmp_path):
    with pytest.raises(pl.InputError, match="full_scale"):
        pl.run_study(study_file, tmp_path / "out", full_scale=True, workers=0)


def test_no_study_is_one_line(tmp_path):
    with pytest.raises(pl.InputError, match="holds no finished run and no study"):
        pl.load_study(tmp_path)
