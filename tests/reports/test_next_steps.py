import finished

from peftlens.reports.next_steps import next_steps
from peftlens.results import study_results


def commands(folder):
    return [step.command for step in next_steps(study_results.read(folder))]


def test_a_run_has_commands_for_what_its_page_lacks(tmp_path):
    one = finished.run(tmp_path / "runs", finished.lora(1, 0), 0)
    folder = "runs/000000000000"
    assert commands(one.path) == [
        f"peftlens probe task_accuracy {folder}",
        f"peftlens probe forgetting {folder}",
        f"peftlens probe activation_difference {folder}",
        f"peftlens probe generations {folder}",
        f"peftlens report {folder}",
        f"peftlens explore {folder}",
    ]


def test_what_was_measured_is_not_asked_again(tmp_path):
    probes = ("task_items", "forgetting")
    one = finished.measured_run(tmp_path / "runs", finished.lora(1, 0), 0, probes)
    assert not {"task_accuracy", "forgetting"} & {text.split()[2] for text in commands(one.path)}


def test_a_model_with_a_head_reads_no_general_text(tmp_path, monkeypatch):
    one = finished.run(tmp_path / "runs", finished.lora(1, 0), 0)
    results = study_results.read(one.path)
    monkeypatch.setitem(results.runs[0].record.results, "validation_macro_f1", 0.5)
    assert [step.command.split()[1] for step in next_steps(results)] == ["probe", "report"]


def test_studies_and_folders_of_runs_have_none(tmp_path):
    folder = finished.study(tmp_path, [finished.lora(1, 0)])
    assert commands(folder) == []
    finished.run(tmp_path / "other", finished.lora(1, 0), 0)
    finished.run(tmp_path / "other", finished.lora(2, 0), 1)
    assert commands(tmp_path / "other") == []
