import json
import re
import sys

import pytest

from peftlens import registry
from peftlens.cli import plugins

COLUMNS = 80


@pytest.fixture
def terminal(monkeypatch, capsys):
    """A terminal of 80 columns; gives its text, without codes for bold."""
    monkeypatch.setenv("COLUMNS", str(COLUMNS))
    monkeypatch.setattr(type(sys.stdout), "isatty", lambda _: True)
    return lambda: re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)


def test_methods_are_listed_by_family_with_what_merges(capsys):
    plugins.methods()
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    families = [line for line in lines if line[:1].isupper() and len(line.split()) <= 2]
    assert families == ["Baseline", "Selective", "Reparametrization", "Additive adapter",
                        "Soft prompt", "Mix", "Any"]  # fmt: skip
    (qlora,) = (line for line in lines if line.startswith("qlora "))
    assert lines.index("Reparametrization") < lines.index(qlora) < lines.index("Soft prompt")
    assert qlora.split()[1] == "yes"
    (bitfit,) = (line for line in lines if line.startswith("bitfit "))
    assert bitfit.split()[1:3] == ["if", "..."]
    assert lines[1].split() == ["name", "mergeable", "description"]


@pytest.mark.parametrize("kind", registry.PARTS)
def test_no_name_is_cut_and_no_line_too_long_at_80_columns(terminal, kind):
    getattr(plugins, kind)()
    out = terminal()
    assert "…" not in out
    assert max(map(len, out.splitlines())) <= COLUMNS
    listed = {line.split()[0].partition(":")[0] for line in out.splitlines() if line.strip()}
    assert set(registry.names(kind)) <= listed


def test_the_last_column_of_methods_has_more_than_half_of_80_columns(terminal):
    """So that no description is wrapped into pieces: its widest line is the column's measure."""
    plugins.methods()
    header = terminal().splitlines()[1]
    assert header.index("description") <= COLUMNS // 2


def test_methods_counted_on_a_base(capsys, bases):
    plugins.methods(base=str(bases["llama"]))
    out = capsys.readouterr().out
    assert out.splitlines()[1].split() == ["name", "trained", "mergeable", "description"]
    assert "bitfit is not counted: this model has no biases" in out


def test_an_encoder_s_head_is_not_counted_as_its_embedding_table(capsys, encoders):
    plugins.methods(base=str(encoders["bert"]))
    assert "head is not counted: the head of an encoder is as large as" in capsys.readouterr().out


def test_methods_as_markdown(capsys):
    plugins.methods(output="markdown")
    assert "| `lora` | LoRA: train a low-rank update" in capsys.readouterr().out


def test_methods_are_filtered(capsys):
    plugins.methods(family="selective", exposes="token_vectors", mergeable=True, as_json=True)
    names = [row["name"] for row in json.loads(capsys.readouterr().out)]
    assert names == ["embeddings", "trainable_tokens"]


def test_one_method_is_shown_with_its_options_and_an_example(terminal):
    plugins.methods("ia3")
    out = terminal()
    assert "Family: additive adapter\nMergeable: yes\n" in out
    assert "  target_modules: tuple[str, ...] = ('key_value', 'feed_forward_output')" in out
    meaning = "roles or ends of names of the linear layers; see `linear_layers`. Feed-forward"
    assert meaning in " ".join(out.split())
    example = """peftlens train ia3 --set 'target_modules=["key_value", "feed_forward_output"]'"""
    assert out.endswith(f"Example: {example}\n")


def test_a_method_that_does_not_merge_says_why(terminal):
    plugins.methods("bottleneck")
    assert "Mergeable: no, the bottleneck is not linear\n" in terminal()


def test_one_type_of_peft_shows_the_generic_method(terminal):
    plugins.methods("peft:GRALORA")
    out = terminal()
    assert "options: dict[str, Any] = dict()" in out
    assert "Not supported: XLORA: it mixes LoRA adapters" in out


def test_one_probe_is_shown_with_its_scope_and_options(terminal):
    plugins.probes("rank_chart")
    out = terminal()
    assert "Scope: tables of `task_items`, `parameter_count`, `cost`\n" in out
    assert "  margin: float = 0.01\n      tolerated difference from the accuracy" in out


def test_one_task_is_shown_with_the_options_of_its_split(terminal):
    plugins.tasks("file")
    assert "  split.max_test: int | None = None\n      largest number of test" in terminal()


def test_one_claim_is_shown_with_the_probes_that_judge_it(terminal):
    plugins.claims("rank")
    assert "Judged by: rank_chart, paired_accuracy, configurations\n" in terminal()


@pytest.mark.parametrize("command", [plugins.tasks, plugins.probes])
def test_others_as_json(capsys, command):
    command(as_json=True)
    assert all(row["summary"] for row in json.loads(capsys.readouterr().out))
