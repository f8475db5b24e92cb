import pytest
from finished import lora, study

import peftlens as pl


@pytest.fixture
def two(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
    return [pl.load_study(study(tmp_path / name, [lora(1, 0)], name=name)) for name in "ab"]


def test_a_study_its_folder_and_several(two, tmp_path):
    assert pl.report(two[0]) == pl.report(str(two[0].folder)) == tmp_path / "a" / "report.html"
    page = pl.report([two[0], two[1].folder], str(tmp_path / "both.html"))
    assert "<title>a and b" in page.read_text()


def test_plotly_in_a_file_beside_the_page(two, tmp_path):
    whole, light = pl.report(two[0]), pl.report(two[0], tmp_path / "light.html", assets=True)
    assert light.stat().st_size < whole.stat().st_size / 4
    assert len(list(tmp_path.glob("plotly-*.min.js"))) == 1


def test_a_run(two, tmp_path):
    assert pl.report(two[0].runs[0], tmp_path / "run.html").exists()


def test_several_need_a_file(two):
    with pytest.raises(pl.InputError, match="a report of several studies needs"):
        pl.report(two)


def test_a_title_of_one_s_own(two, tmp_path):
    page = pl.report(two, tmp_path / "both.html", title="Is <a> as good as b?").read_text()
    assert "<title>Is &lt;a&gt; as good as b? – peftlens report</title>" in page
    assert "<h1>Is &lt;a&gt; as good as b?</h1>" in page
