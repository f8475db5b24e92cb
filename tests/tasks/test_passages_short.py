from peftlens.tasks import load_task


def test_it_is_the_start_of_the_whole():
    short = load_task("passages_short", {}).splits["test"]
    assert len(short) == 30
    assert short == load_task("passages", {}).splits["test"][:30]
