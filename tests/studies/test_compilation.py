import pytest

from peftlens.errors import InputError
from peftlens.results.study_index import read_index
from peftlens.runs.run import runs_in
from peftlens.studies import compilation, runner
from peftlens.studies.compilation import PAID_BACK, compiled_runs
from peftlens.studies.grid import plan_study
from peftlens.studies.options import StudyOptions
from peftlens.training import trainer


@pytest.fixture
def plans(tiny_study, context):
    text = tiny_study(
        'method = "lora"\ngrid = { rank = [1, 2], learning_rate = [1e-3, 2e-3] }',
        settings='dtype = "float32"\nseeds = [0, 1]',
    )
    return plan_study(text, "study.toml", context).plans


def of_rank(plans, rank):
    return {plan.id for plan in plans if plan.method_config.rank == rank}


def test_runs_that_share_enough_work_are_compiled(plans):
    # rates and seeds share what is compiled, ranks don't: four runs of each
    most = {plan.id: PAID_BACK / 4 for plan in plans}
    assert compiled_runs("auto", plans, most, {}) == {plan.id for plan in plans}
    operations = most | dict.fromkeys(of_rank(plans, 1), PAID_BACK / 4.01)
    assert compiled_runs("auto", plans, operations, {}) == of_rank(plans, 2)
    assert compiled_runs(False, plans, operations, {}) == set()
    assert compiled_runs(True, plans, operations, {}) == {plan.id for plan in plans}


@pytest.mark.parametrize("method", ["prompt_tuning", "framed_prompt_tuning", "mam"])
@pytest.mark.parametrize("choice", [True, "auto"])
def test_prompts_and_prefixes_are_not_compiled(tiny_study, context, method, choice):
    text = tiny_study(f'method = "{method}"', settings='dtype = "float32"')
    plans = plan_study(text, "study.toml", context).plans
    assert compiled_runs(choice, plans, {plan.id: PAID_BACK for plan in plans}, {}) == set()


def test_a_study_that_goes_on_keeps_its_choice(plans):
    none = {plan.id: 0.0 for plan in plans}
    before = sorted(of_rank(plans, 1))[:1]
    assert compiled_runs("auto", plans, none, dict.fromkeys(before, True)) == of_rank(plans, 1)
    most = {plan.id: PAID_BACK for plan in plans}
    assert compiled_runs("auto", plans, most, dict.fromkeys(before, False)) == of_rank(plans, 2)


def test_without_a_compiler(plans, monkeypatch):
    monkeypatch.setattr(compilation, "why_not", lambda _: "it needs a C++ compiler")
    most = {plan.id: PAID_BACK for plan in plans}
    assert compiled_runs("auto", plans, most, {}) == set()
    with pytest.raises(InputError, match="torch_compile = true: it needs a C"):
        compiled_runs(True, plans, most, {})


def test_a_study_says_and_records_what_is_compiled(tiny_study, tmp_path, monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(trainer, "compile_blocks", lambda base: bool(asked.append(base)) or True)
    file = tmp_path / "study.toml"
    settings = 'dtype = "float32"\nprobes = ["parameter_count"]\ntorch_compile = true'
    file.write_text(tiny_study('method = "lora"', settings=settings))
    runner.run_study(file, tmp_path / "out", StudyOptions(workers=0))
    (run,) = runs_in(tmp_path / "out" / "runs")
    assert len(asked) == 1
    assert "1 of 1 run to be trained with compiled blocks" in capsys.readouterr().err
    assert read_index(tmp_path / "out")["compiled"] == {run.id: True}
    assert run.record.environment["compiled"]
