from peftlens.io.progress import say, track


def test_track_gives_every_item_and_draws_nothing_off_a_terminal(capsys):
    assert list(track([1, 2, 3], "Counting")) == [1, 2, 3]
    assert capsys.readouterr().err == ""


def test_say_prints_brackets_literally(capsys):
    say("[1/2] [bold]lora[/bold]")
    assert capsys.readouterr().err == "[1/2] [bold]lora[/bold]\n"
