import pytest

import peftlens as pl


def test_a_run_on_the_map_is_shown_and_saved(planted_run, tmp_path):
    drawn = pl.explore(planted_run, projection="pca", logits=False, directions=False)
    assert drawn._repr_html_().startswith("<iframe srcdoc=")
    page = drawn.save(str(tmp_path / "explorer.html"))
    assert page.read_text() == drawn.text
    assert "Prompt tuning" in drawn.text


def test_the_plane_of_two_vectors(planted_run):
    assert (
        "a plane in the space"
        in pl.explore(planted_run, between=(0, 3), logits=False, directions=False).text
    )


def test_a_run_alone_has_its_logits_and_directions_measured(planted_run):
    drawn = pl.explore(planted_run, projection="pca")
    assert ", inside</option>" in drawn.text
    assert (planted_run.path / "probes" / "logit_shift.parquet").exists()


def test_no_folder_to_save_in_is_one_line(planted_run, tmp_path):
    drawn = pl.explore(planted_run, projection="pca", logits=False, directions=False)
    with pytest.raises(pl.InputError, match="is not a folder"):
        drawn.save(tmp_path / "nowhere" / "explorer.html")
