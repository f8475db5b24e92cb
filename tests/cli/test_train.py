"""What `peftlens train` prints at its end, and its flags."""

import json
import re
from pathlib import Path

import pytest

from peftlens.cli.train import next_commands
from peftlens.runs.run import Run


@pytest.fixture
def tiny(bases, words):
    """Arguments of a short training on the tiny Llama."""
    return ("--task", f"file:{words}", "--base", bases["llama"], "--steps", 2, "--dtype", "float32",
            "--device", "cpu")  # fmt: skip


def test_the_score_stands_beside_the_untrained_model_s(run, tiny):
    code, out, _ = run("train", "lora", *tiny)
    assert code == 0
    assert "this run" in out
    assert "untrained model" in out
    assert re.search(r"accuracy +\d\.\d{3} \[0\.\d+, [01]\.\d+\] +\d\.\d{3} \[", out)
    assert "Validation split, 12 examples; brackets: 95 % intervals over them." in out
    assert max(map(len, out.splitlines())) <= 130
    frozen = json.loads(run("train", "frozen", *tiny, "--json")[1])
    both = json.loads(run("train", "lora", *tiny, "--json")[1])
    for name, value in both["untrained"].items():
        assert value == pytest.approx(frozen[name])
    assert both["validation_loss"] != both["untrained"]["validation_loss"]
    assert "untrained" not in frozen  # it is the untrained model


def test_the_page_of_the_run_shows_it_too(run, tiny):
    path = json.loads(run("train", "lora", *tiny, "--json")[1])["run"]
    assert run("report", path, "--out", "page.html")[0] == 0
    text = Path("page.html").read_text(encoding="utf-8")
    assert re.search(r"<h2><a[^>]*>Validation accuracy</a></h2>", text)
    assert re.search(r"Before training: \d+(\.\d)? % \(", text)


def test_the_untrained_model_can_be_left_out(run, tiny):
    code, out, _ = run("train", "lora", *tiny, "--no-untrained")
    assert code == 0
    assert "untrained" not in out
    assert "untrained" not in json.loads(run("train", "lora", *tiny, "--no-untrained", "--json")[1])


def test_every_next_command_works(run, tiny, tmp_path):
    _, out, _ = run("train", "lora", *tiny)
    commands = [line.split() for line in out.partition("Next:")[2].splitlines() if line.strip()]
    names = [words[1] for words in commands]
    assert names == ["report", "generate", "inspect", "probe"]
    path = commands[0][2]
    assert Run(tmp_path / path).record.status == "finished"
    assert run("report", path, "--out", "page.html")[0] == 0
    assert run("generate", path, "good", "--max-new-tokens", 2)[0] == 0
    assert run("inspect", path)[0] == 0
    assert run("probe", "task_accuracy", path)[0] == 0


def test_a_head_writes_no_text(tmp_path):
    commands = [*next_commands(tmp_path / "a run", writes_text=False)]
    assert all("generate" not in command for command in commands)
    assert f"'{tmp_path / 'a run'}'" in commands[0]


@pytest.mark.parametrize(
    ("flags", "options"),
    [
        (("--rank", 2), {"rank": 2}),
        (("--set", "target_modules=attention"), {"target_modules": ["attention"]}),
        (("--set", "target_modules=all-linear"), {"target_modules": ["all_linear"]}),
        (("--set", "target_modules=q_proj,v_proj"), {"target_modules": ["q_proj", "v_proj"]}),
    ],
)
def test_options_of_the_method(run, tiny, tmp_path, flags, options):
    code, out, err = run("train", "lora", *tiny, *flags, "--no-untrained", "--json")
    assert code == 0, err
    config = Run(tmp_path / json.loads(out)["run"]).config
    assert {name: config.method_config[name] for name in options} == options


@pytest.mark.parametrize("flag", ["--lr", "--learning-rate"])
def test_the_learning_rate(run, tiny, tmp_path, flag):
    _, out, _ = run("train", "lora", *tiny, flag, "0.01", "--no-untrained", "--json")
    assert Run(tmp_path / json.loads(out)["run"]).config.training.learning_rate == 0.01


def test_nested_options_of_the_task(run, tiny):
    nested = ("--task-set", "split.max_train=8", "--training-option", "keep.kind=l2sp")
    code, out, err = run("train", "lora", *tiny, *nested, "--no-untrained", "--json")
    assert code == 0, err
    assert json.loads(out)["examples"]["train"] == 8


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("lora", "--set", "rnk=4"), "lora has no option 'rnk'; did you mean rank?"),
        (("LoRA",), "no method named 'LoRA'; did you mean lora?"),
        (("lora", "--set", "target_modules=attn"), "did you mean attention?"),
        (("lora", "--rank", 2, "--set", "rank=4"), "--rank and --set rank are the same"),
        (
            ("lora", "--lr", 1, "--training-option", "learning_rate=2"),
            "--learning-rate and --training-option learning_rate are the same",
        ),
        (("ia3", "--rank", 2), "ia3 has no option 'rank'; it has target_modules"),
        (("lora", "--task-set", "split.max_tran=8"), "no option 'split.max_tran'; did you mean"),
        (("lora", "--training-option", "warmup_ration=1"), "did you mean warmup_ratio?"),
    ],
)
def test_a_mistake_has_the_nearest_name(run, tiny, flags, message):
    code, _, err = run("train", *flags, *tiny)
    assert code == 2
    assert message in err
