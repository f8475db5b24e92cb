import pandas as pd
import pytest

import peftlens
from peftlens.errors import InputError
from peftlens.evaluation import probe_runner
from peftlens.probes import parameter_count
from peftlens.results import stack
from peftlens.results.table import Column, read
from peftlens.runs.config import RunConfig
from peftlens.runs.run import CorruptedRunError


@pytest.fixture(scope="module")
def runs(bases, words, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs")

    def train(method, **changes):
        return peftlens.train(
            RunConfig(
                method=method, task=f"file:{words}", base_model=str(bases["llama"]), device="cpu",
                dtype="float32", training={"max_steps": 2, "batch_size": 4, **changes},
            ),
            out,
        )  # fmt: skip

    return {
        "lora": train("lora"),
        "frozen": train("frozen"),
        "diverged": train("full", learning_rate=1e30, warmup_ratio=0, lr_scheduler_type="constant"),
    }


def test_a_probe_is_measured_once(context, runs, monkeypatch):
    first = probe_runner.run_probe(context, runs["lora"], "parameter_count")
    assert read(runs["lora"].path / "probes" / "parameter_count.parquet").frame.equals(first.frame)
    monkeypatch.setattr(parameter_count, "measure", lambda _: pytest.fail("measured twice"))
    probe_runner.run_probe(context, runs["lora"], "parameter_count")


def test_another_version_of_a_probe_measures_again(context, runs, monkeypatch):
    probe_runner.run_probe(context, runs["lora"], "parameter_count")
    calls = []
    real = parameter_count.measure
    monkeypatch.setattr(
        parameter_count, "measure", lambda *given: calls.append(given) or real(*given)
    )
    monkeypatch.setattr(parameter_count, "VERSION", 99)
    probe_runner.run_probe(context, runs["lora"], "parameter_count")
    assert len(calls) == 1


def test_other_options_measure_again(context, runs):
    few = {"forgetting": {"suites": ["openbookqa"], "items": 5}}
    first = probe_runner.run_probe(context, runs["lora"], "forgetting", few)
    assert first.frame["n_items"].tolist() == [5]
    assert first.config == {"suites": ["openbookqa"], "items": 5, "suite_options": {}}
    again = probe_runner.run_probe(
        context, runs["lora"], "forgetting", {"forgetting": {"suites": ["openbookqa"], "items": 9}}
    )
    assert again.frame["n_items"].tolist() == [9]
    table = probe_runner.collect(context, [runs["lora"]], "forgetting", None, few)
    assert table.frame["n_items"].tolist() == [5]
    assert table.config == first.config


def test_a_file_that_has_changed_is_read_again(context, runs, tmp_path):
    file = tmp_path / "texts.txt"
    options = {"divergence": {"texts": str(file), "items": 2}}
    plans, read_texts = [], []
    for text in ("good up\n", "bad down\n", "bad down\n"):
        file.write_text(text)
        plans.append(probe_runner.describe("divergence", options).config)
        table = probe_runner.run_probe(context, runs["lora"], "divergence", options)
        assert table.config == plans[-1]
        own = table.frame[(table.frame["text"] == "own") & table.frame["token"].notna()]
        read_texts.append({*own["token"]})
    assert "w" not in read_texts[0]  # of down, byte by byte
    assert "w" in read_texts[1]
    assert read_texts[1] == read_texts[2]
    assert plans[0] != plans[1] == plans[2]
    file.unlink()
    with pytest.raises(InputError, match="texts .* is not a text file"):
        probe_runner.run_probe(context, runs["lora"], "divergence", options)


def test_a_probe_has_the_options_of_the_one_that_it_shares_them_with(context, runs):
    few = {"forgetting": {"suites": ["openbookqa"], "items": 5}}
    shared = probe_runner.run_probe(context, runs["lora"], "forgetting_items", few)
    assert len(shared.frame) == 5
    assert probe_runner.describe("forgetting_items", few).config == shared.config
    own = few | {"forgetting_items": {"items": 7}}
    assert len(probe_runner.run_probe(context, runs["lora"], "forgetting_items", own).frame) == 7


def test_options_that_a_probe_does_not_have(context, runs):
    with pytest.raises(InputError, match="forgetting has no option 'item'; did you mean items"):
        probe_runner.run_probe(context, runs["lora"], "forgetting", {"forgetting": {"item": 5}})
    with pytest.raises(InputError, match="probe learning has no options, but items was given"):
        probe_runner.run_probe(context, runs["lora"], "learning", {"learning": {"items": 5}})


def test_what_does_not_apply_says_why(context, runs):
    frame = probe_runner.run_probe(context, runs["lora"], "soft_prompt_neighbors").frame
    assert frame["reason"].tolist() == ["lora has no token_vectors"]
    frame = probe_runner.run_probe(context, runs["diverged"], "task_items").frame
    assert frame["reason"].tolist() == ["the run diverged: its loss was not finite"]


def test_rows_are_tied_to_their_runs_and_numbers_stay_numbers(context, runs):
    table = probe_runner.collect(
        context, list(runs.values()), "parameter_count", {runs["lora"].id: "mine"}
    )
    assert table.frame["configuration"].tolist() == ["mine", "frozen", "full learning_rate=1e+30"]
    assert pd.api.types.is_integer_dtype(table.frame["trainable_parameters"])
    assert table.frame["rank"].tolist()[0] == 8
    assert table.frame["rank"].isna().tolist() == [False, True, True]


def test_comparing_probes_leave_out_what_was_not_measured(context, runs):
    table = probe_runner.collect(context, list(runs.values()), "task_accuracy")
    assert table.frame["configuration"].tolist() == ["lora rank=8", "frozen"]


def test_tables_of_an_older_version_are_left_out(context, runs, monkeypatch):
    probe_runner.run_probe(context, runs["lora"], "parameter_count")
    one = parameter_count.measure(context, runs["frozen"]).assign(new=1.0)
    monkeypatch.setattr(parameter_count, "VERSION", 100)
    monkeypatch.setattr(
        parameter_count, "COLUMNS", (*parameter_count.COLUMNS, Column("new", "a new one"))
    )
    monkeypatch.setattr(parameter_count, "measure", lambda *_: one)
    probe_runner.run_probe(context, runs["frozen"], "parameter_count")
    labels = {run.id: run.id for run in runs.values()}
    found, unread = stack.joined([runs["lora"], runs["frozen"]], "parameter_count", labels)
    assert unread == {}
    assert found.frame["run"].tolist() == [runs["frozen"].id]
    assert found.runs == (runs["frozen"].id,)
    assert found.frame["new"].tolist() == [1.0]


def test_a_run_on_which_a_probe_fails_is_a_row_beside_the_others(context, runs, monkeypatch):
    real = parameter_count.measure

    def fail_for_lora(context, run):
        if run.config.method == "lora":
            raise RuntimeError("out of luck")
        return real(context, run)

    monkeypatch.setattr(parameter_count, "measure", fail_for_lora)
    monkeypatch.setattr(parameter_count, "VERSION", 101)
    both = [runs["lora"], runs["frozen"]]
    frame = probe_runner.collect(context, both, "parameter_count").frame
    assert frame["method"].tolist() == ["lora", "frozen"]
    assert frame["status"].tolist() == ["failed", "measured"]
    assert frame["reason"].tolist()[0] == "out of luck"
    with pytest.raises(RuntimeError, match="out of luck"):  # there are no rows to keep
        probe_runner.collect(context, both[:1], "parameter_count")
    monkeypatch.setattr(parameter_count, "measure", real)
    frame = probe_runner.collect(context, both, "parameter_count").frame
    assert frame["status"].tolist() == ["measured", "measured"]


def test_a_run_on_which_a_probe_has_just_failed_is_not_measured(context, runs, monkeypatch):
    monkeypatch.setattr(parameter_count, "VERSION", 102)
    reasons = {"parameter_count": {runs["lora"].id: "killed"}}
    frame = probe_runner.collect(
        context, [runs["lora"], runs["frozen"]], "parameter_count", unmeasured=reasons
    ).frame
    assert frame["reason"].tolist()[0] == "killed"


def test_a_damaged_run_is_no_failure_of_a_probe(context, runs, monkeypatch):
    def damaged(*_):
        raise CorruptedRunError("contents have changed")

    monkeypatch.setattr(parameter_count, "measure", damaged)
    monkeypatch.setattr(parameter_count, "VERSION", 103)
    with pytest.raises(CorruptedRunError):
        probe_runner.collect(context, [runs["lora"], runs["frozen"]], "parameter_count")
