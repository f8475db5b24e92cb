"""The command line, in this process: what it prints, and the code it exits with."""

import io
import json
import re
import subprocess
import sys

import pytest

from peftlens import __version__, cli
from peftlens.cli import study
from peftlens.studies.runner import StudyOptions


def test_help_names_every_command():
    done = subprocess.run(["peftlens", "--help"], capture_output=True, text=True, check=True)
    commands = {line.split()[1] for line in done.stdout.splitlines() if len(line.split()) > 2}
    assert {"quickstart", "train", "study", "probe", "report"} <= commands
    assert {"methods", "tasks", "probes", "env", "merge"} <= commands


def test_version(run):
    assert run("--version") == (0, f"{__version__}\n", "")


@pytest.mark.parametrize("kind", ["methods", "tasks", "probes"])
def test_lists_as_text_and_json(run, kind):
    _, text, _ = run(kind)
    _, listed, _ = run(kind, "--json")
    for entry in json.loads(listed):
        assert entry["name"] in text
        assert entry["summary"]


def test_one_method_in_full(run):
    code, out, _ = run("methods", "lora")
    assert code == 0
    assert "arXiv:2106.09685" in out
    assert "rank: int = 8" in out


def test_env(run):
    _, out, _ = run("env", "--json")
    found = json.loads(out)
    assert found["device"] in ("cpu", "cuda", "mps")
    assert found["packages"]["peftlens"] == __version__


def test_train_probe_and_again(run, bases, words, tmp_path):
    arguments = ("train", "lora", "--task", f"file:{words}", "--base", bases["llama"], "--steps", 2,
                 "--set", "rank=2", "--set", 'target_modules=["q_proj"]', "--dtype", "float32",
                 "--training-option", "checkpoint_steps=[0]", "--json")  # fmt: skip
    code, out, _ = run(*arguments)
    assert code == 0
    first = json.loads(out)
    assert first["trainable_parameters"] == 3 * 2 * 64
    assert json.loads(run(*arguments)[1]) == first
    code, out, _ = run("probe", "parameter_count", first["run"], "--json")
    assert code == 0
    assert json.loads(out)[0]["trainable_parameters"] == 3 * 2 * 64
    code, out, _ = run("probe", "task_accuracy", "runs", "--csv", tmp_path / "t.csv")
    assert code == 0
    assert "lora rank=2" in out
    assert (tmp_path / "t.csv").read_text().startswith("configuration,method,accuracy")
    # a damaged run is named, and the others are shown
    run("train", "frozen", "--task", f"file:{words}", "--base", bases["llama"])
    (tmp_path / first["run"] / "metrics.jsonl").write_text("{}")
    code, out, err = run("probe", "parameter_count", "runs")
    assert (code, "frozen" in out, "lora" in out) == (0, True, False)
    assert err.count("Left out: ") == 1


def test_study_with_report(run, study_file, tmp_path):
    code, out, _ = run("study", study_file, "--workers", 0, "--out", "out")
    assert code == 0
    assert "lora rank=2" in out
    assert (tmp_path / "out" / "report.html").exists()
    code, out, _ = run("study", study_file, "--workers", 0, "--out", "out", "--json")
    assert len(json.loads(out)["runs"]) == 3
    assert run("report", "out", "--out", "page.html") == (0, "page.html\n", "")
    code, out, _ = run("probe", "parameter_count", "out", "--json")
    assert [row["configuration"] for row in json.loads(out)] == [
        "frozen",
        "lora rank=1",
        "lora rank=2",
    ]


def test_a_study_with_a_failed_run_exits_with_one(run, study_file, monkeypatch):
    from peftlens.training import trainer

    monkeypatch.setattr(trainer, "validate", lambda *_: 1 / 0)
    code, _, err = run("study", study_file, "--workers", 0, "--out", "out")
    assert code == 1
    assert "lora rank=2 seed=0: failed: division by zero" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "loraa"], "no method named 'loraa'; did you mean lora"),
        (
            ["train", "lora", "--task", "bbc_topics"],
            "no task named 'bbc_topics'; did you mean bbc_topic?",
        ),
        (["train", "lora", "--task", "file:no.csv"], "no file 'no.csv'"),
        (["train", "lora", "--base", "./nowhere"], "no base model named './nowhere'"),
        (["train", "lora", "--set", "rank"], "option 'rank' must be KEY=VALUE"),
        (["train", "lora", "--device", "tpu"], "device='tpu'"),
        (["train", "lora", "--training-option", "stepz=1"], "training.stepz"),
        (["study", "nowhere.toml"], "no study file 'nowhere.toml'"),
        (["report", "nowhere"], "nowhere holds no finished run and no study"),
        (
            ["probe", "forget", "nowhere"],
            "no probe named 'forget'; did you mean forgetting or forgetting_items?",
        ),
        (["probe", "forgetting", "nowhere"], "nowhere holds no finished run"),
        (["methods", "zzz"], "no method named 'zzz'; choose from adalora"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_two(run, arguments, message):
    code, _, err = run(*arguments)
    assert code == 2
    assert len(err.strip().splitlines()) == 1
    assert err.startswith("Error: ")
    assert message in err


@pytest.mark.parametrize("columns", [("prompt", "completion"), ("question", "answer")])
@pytest.mark.parametrize(
    "command", [["train", "lora"], ["tasks"], ["study", "validate"], ["plan"], ["study", "run"]]
)
def test_free_answers_are_no_classes_wherever_they_are_read(run, tmp_path, command, columns):
    prompt, answer = columns
    rows = [{prompt: f"{n} times 3?", answer: f"It is {3 * n}."} for n in range(40)]
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    study = tmp_path / "study.toml"
    study.write_text(
        f"name = 'free'\ntask = {{ name = 'file:{file}', template = '{{{prompt}}}', "
        f"label = '{answer}' }}\nruns = [{{ method = 'lora' }}]\n"
    )
    options = ["--task-set", f"template={{{prompt}}}", "--task-set", f"label={answer}"]
    match command:
        case ["train", *_]:
            command = [*command, "--task", f"file:{file}", *options]
        case ["tasks"]:
            command = [*command, f"file:{file}", "--show", 1, *options]
        case _:
            command = [*command, study, *["--workers", 0] * ("run" in command)]
    code, _, err = run(*command)
    assert code == 2
    assert len(err.strip().splitlines()) == 1
    assert "rows.jsonl have 40 different labels: these look like free answers; set kind" in err


@pytest.mark.parametrize("command", [["train", "lora", "--task"], ["tasks", "--show", 1]])
def test_free_answers_without_any_option_are_told_too(run, tmp_path, command):
    rows = [{"prompt": f"{n} times 3?", "completion": f"It is {3 * n}."} for n in range(40)]
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    code, _, err = run(*command, f"file:{file}")
    assert code == 2
    assert "these look like free answers; set kind = 'chat' to train on them, or kind" in err


def test_debug_shows_the_traceback(run):
    from peftlens.errors import InputError

    with pytest.raises(InputError, match="did you mean lora"):
        run("--debug", "train", "loraa")


def test_a_full_disk_is_one_line(run, monkeypatch, study_file):
    from peftlens.training import trainer

    def full(*_):
        raise OSError(28, "No space left on device", "out/runs")

    monkeypatch.setattr(trainer.checkpoint, "save", full)
    code, _, err = run("study", study_file, "--workers", 0, "--out", "out")
    assert code == 2
    last = "Error: [Errno 28] No space left on device: out/runs; finished runs are kept"
    assert err.strip().splitlines()[-1] == last


def test_ctrl_c(run, monkeypatch, study_file):
    from peftlens.training import trainer

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(trainer, "run_training_loop", interrupted)
    code, _, err = run("study", study_file, "--workers", 0, "--out", "out")
    assert code == 130
    assert "finished runs are kept" in err


def test_a_run_that_fails_is_one_line_and_exit_code_one(run, monkeypatch, bases, words):
    from peftlens.training import trainer

    def out_of_memory(*_):
        raise RuntimeError("CUDA out of memory.\nTried to allocate 9 GiB")

    monkeypatch.setattr(trainer, "run_training_loop", out_of_memory)
    code, _, err = run("train", "lora", "--task", f"file:{words}", "--base", bases["llama"])
    assert code == 1
    assert err == (
        "Error: CUDA out of memory. Tried to allocate 9 GiB; `peftlens --debug ...` shows where\n"
    )


def test_merge_says_how_near_it_is_and_refuses_what_it_can_not(run, bases, words, tmp_path):
    common = ("--task", f"file:{words}", "--base", bases["llama"], "--steps", 2, "--json")
    trained = {
        method: json.loads(run("train", method, *common, "--dtype", "float32")[1])["run"]
        for method in ("lora", "bottleneck")
    }
    code, out, _ = run("merge", trained["lora"], "--out", "merged")
    assert code == 0
    assert "merged: logits differ from the attached adapter's by" in out
    assert (tmp_path / "merged" / "model.safetensors").is_file()
    code, _, err = run("merge", trained["bottleneck"], "--out", "other")
    assert (code, err) == (
        2,
        "Error: bottleneck can't be merged: the bottleneck is not linear\n",
    )
    code, _, err = run("merge", trained["lora"], "--out", "merged")
    assert (code, err) == (2, "Error: merged exists; name a new folder\n")


def test_options_of_a_peft_type(run, bases, words):
    arguments = ("--task", f"file:{words}", "--base", bases["llama"], "--steps", 2, "--json")
    code, out, err = run("train", "peft:GRALORA", "--set", "r=4", *arguments)
    assert code == 0, err
    # (r + hybrid_r) (d_out + d_in): q is 32 x 32, v is 16 x 32, three blocks
    assert json.loads(out)["trainable_parameters"] == 3 * 4 * (64 + 48)
    code, _, err = run("train", "peft:XLORA", *arguments)
    assert code == 2
    assert "peft:XLORA is not supported: it mixes LoRA adapters trained before" in err
    code, _, err = run("train", "lora:x", *arguments)
    assert "lora takes no argument after a colon" in err


def test_quickstart_on_a_tiny_model(run, bases, tmp_path, monkeypatch):
    """Its own file, with another base and fewer steps; the real one is run for the reports."""
    real = study.study

    def smaller(file, out, **options):
        text = file.read_text().replace('"smollm2-135m"', repr(str(bases["llama"])))
        text = re.sub(r"(steps|items) = \d+", r"\1 = 2", text)
        text = text.replace("[1, 8, 64]", "[1, 2, 4]")
        text = re.sub(r"max_(\w+) = \d+", r"max_\1 = 10", text)
        (tmp_path / "small.toml").write_text(text)
        real(tmp_path / "small.toml", out, StudyOptions(workers=0), **options)

    monkeypatch.setattr(study, "study", smaller)
    code, out, err = run("quickstart", "--out", "first", "--json")
    assert code == 0, err
    found = json.loads(out)
    assert (len(found["runs"]), found["failed"], found["left"]) == (9, [], 0)
    assert (tmp_path / "first" / "report.html").exists()


def test_redirected_output_is_utf8_on_windows(monkeypatch):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="cp1252"))
    monkeypatch.setattr(sys, "stderr", io.StringIO())  # no file, as in a notebook
    cli._write_utf8()
    assert sys.stdout.encoding == "cp1252"
    monkeypatch.setattr(sys, "platform", "win32")
    cli._write_utf8()
    sys.stdout.write("ΔW ≥ 0")
    sys.stdout.flush()
    assert raw.getvalue().decode() == "ΔW ≥ 0"
