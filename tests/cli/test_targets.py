import finished
import pytest
import theirs

from peftlens.cli import targets
from peftlens.errors import InputError
from peftlens.evaluation import probe_runner
from peftlens.runs.run import Run


def test_a_study_a_run_runs_or_an_adapter(context, tmp_path, bases):
    study = finished.study(tmp_path / "s", [finished.lora(1, 0), finished.lora(2, 0)])
    assert len(targets.open_target(study, None).runs) == 2
    assert len(targets.open_target(study / "runs", None).runs) == 2
    (one, _) = (study / "runs").iterdir()
    probe_runner.run_probe(context, Run(one), "cost")
    found = targets.open_target(one, None)
    assert [run.id for run in found.runs] == [one.name]
    assert list(found.tables) == ["configurations", "cost"]
    folder = theirs.save(theirs.wrapped("LORA"), tmp_path / "lora", str(bases["llama"]))
    (adapter,) = targets.open_target(folder, None).runs
    assert adapter.config.base_model == str(bases["llama"])
    (adapter,) = targets.open_target(folder, "another").runs
    assert adapter.config.base_model == "another"


def test_damaged_runs_are_named_and_left_out(tmp_path, capsys):
    study = finished.study(tmp_path, [finished.lora(1, 0), finished.lora(2, 0)])
    first, second = sorted((study / "runs").iterdir())
    (first / "metrics.jsonl").write_text("")
    for target in (study, study / "runs"):
        assert [run.path.name for run in targets.open_target(target, None).runs] == [second.name]
        assert "Left out: " in capsys.readouterr().err
    (second / "metrics.jsonl").unlink()
    with pytest.raises(InputError, match="holds no finished run"):
        targets.open_target(study / "runs", None)


@pytest.mark.parametrize(
    "command",
    [("methods", "--base"), ("prefetch", "--no-data", "--no-map"),
     ("explore", "--projection", "pca", "--base")],
    ids=lambda words: words[0],
)  # fmt: skip
def test_a_base_with_code_is_opened_where_that_is_allowed(run, with_code, bases, tmp_path, command):
    line = [*command, with_code]
    if command[0] == "explore":
        adapter = theirs.save(theirs.wrapped("PROMPT_TUNING"), tmp_path / "p", str(bases["llama"]))
        line.insert(1, adapter)
    code, _, err = run(*line)
    assert (code, "allow it by --trust-remote-code" in err) == (2, True)
    code, _, err = run(*line, "--trust-remote-code")
    assert code == 0, err
