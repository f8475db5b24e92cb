"""Help of every command, as a terminal of 80 columns shows it; errors of usage in one line."""

import re
from itertools import pairwise

import pytest
import typer

from peftlens import cli
from peftlens.cli.usage import with_literal_help


def _commands(command, path=()):
    yield path, command
    for name, below in getattr(command, "commands", {}).items():
        yield from _commands(below, (*path, name))


COMMANDS = dict(_commands(typer.main.get_command(cli.app)))


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_help_is_printed_as_written_and_wraps_at_80_columns(run, monkeypatch, path):
    monkeypatch.setenv("COLUMNS", "80")
    code, out, _ = run(*path, "--help")
    assert code == 0
    lines = out.splitlines()
    assert max(map(len, lines)) <= 80
    plain = re.sub(r"[│╭╮╰╯─\s]+", "", out)
    for paragraph in (COMMANDS[path].help or "").split("\n\n"):
        assert re.sub(r"\s+", "", paragraph) in plain
    prose = [line.strip() for line in out.partition("╭")[0].splitlines()[3:]]
    for line, following in pairwise(prose):
        if line and following:  # within a paragraph: the next word had no room
            assert len(line) + 1 + len(following.split()[0]) > 78


def test_brackets_in_help_are_no_markup(run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert "[full_scale]" in run("study", "run", "--help")[1]
    app = typer.Typer()

    @app.command()
    def only(
        flag: str = typer.Option("", help="Needs peftlens[test], or a table [[runs]]."),
    ) -> None:
        """Read [[runs]] and [/x] of [bold]."""

    command = with_literal_help(typer.main.get_command(app))
    from io import StringIO

    from rich.console import Console
    from rich.text import Text

    shown = Console(file=StringIO()).render_str(command.help)
    assert str(shown) == "Read [[runs]] and [/x] of [bold]."
    assert isinstance(shown, Text)
    (option,) = (one for one in command.params if one.name == "flag")
    assert str(Text.from_markup(option.help)) == "Needs peftlens[test], or a table [[runs]]."


def test_commands_stand_in_panels(run):
    _, out, _ = run("--help")
    for title in cli.PANELS:
        assert f" {title} " in out
    assert "--install-completion" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trian"], "no command 'trian'; did you mean train?"),
        (["TRAIN"], "no command 'TRAIN'; did you mean train?"),
        (["zzz"], "no command 'zzz'; see `peftlens --help`"),
        (["study", "validat", "x.toml"], "no command 'validat'; did you mean validate?"),
        (["train", "--taks", "x"], "no option --taks; did you mean --task or --task-set?"),
        (["train", "--Task", "x"], "no option --Task; did you mean --task?"),
        (["export", "x", "--to", "MLflow"], "'trackio'; did you mean mlflow?"),
        (["table", "x", "--format", "LaTeX"], "did you mean latex?"),
        (["train"], "Missing argument 'method'; see `peftlens train --help`"),
        (["explore", "x", "--port", "a"], "'--port': Input should be a valid integer"),
        (["methods", "LORA"], "no method named 'LORA'; did you mean lora?"),
        (["methods", "--family", "Mix"], "--family 'Mix' fits no method; did you mean mix?"),
    ],
)
def test_a_mistake_is_one_line_with_the_nearest_name(run, arguments, message):
    code, out, err = run(*arguments)
    assert code == 2
    assert out == ""
    assert err.startswith("Error: ")
    assert len(err.splitlines()) == 1
    assert message in err


def test_a_file_of_a_study_may_be_called_as_a_command_is(run, tmp_path):
    (tmp_path / "validat").write_text("x")
    code, _, err = run("study", "validat")
    assert code == 2
    assert "validat, line 1: " in err


def test_without_arguments_there_is_help(run):
    for arguments in ([], ["study"]):
        code, out, err = run(*arguments)
        assert code == 2
        assert "Usage: peftlens" in out + err
