import pytest

pytestmark = pytest.mark.usefixtures("site_modules")


def test_a_page_is_listed_with_its_title_and_size(tmp_path):
    from published import published_page

    (tmp_path / "rank.html").write_text("<title>\n ranks\n</title>" + " " * 199_975)
    line = published_page(tmp_path).splitlines()[-1]
    assert line == (
        "| [rank.html](../reports/rank.html) | ranks | 0.2 MB | [rank](../reports/rank/README.md) |"
    )
