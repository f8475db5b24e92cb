from pathlib import PurePosixPath as Path

import pytest

pytestmark = pytest.mark.usefixtures("site_modules")


def moved(text, page, *, folders=()):
    from links import Links

    def target(path):
        return path / "README.md" if str(path) in folders else path

    return Links(target, lambda page: f"Title of {page.stem}").moved(text, Path(page))


@pytest.mark.parametrize(
    ("path", "placed"),
    [
        ("docs/rank.md", "rank.md"), ("docs/pictures/report.png", "pictures/report.png"),
        ("docs/notebook.ipynb", "notebook.md"), ("README.md", "index.md"),
        ("CHANGELOG.md", "changelog.md"), ("reports/README.md", "reports/index.md"),
        ("reports/rank/README.md", "reports/rank/index.md"), ("reports/rank.html",) * 2,
    ],
)  # fmt: skip
def test_places(path, placed):
    from links import place

    assert place(Path(path)) == Path(placed)


def test_links_lead_to_the_same_files():
    text = "[a](../reports/rank) [b](studies.md#top) ![c](pictures/c.png)"
    expected = "[a](reports/rank/index.md) [b](studies.md#top) ![c](pictures/c.png)"
    assert moved(text, "docs/rank.md", folders={"reports/rank"}) == expected
    text, expected = (
        "[a](../../docs/rank.md) [b](../rank.html)",
        "[a](../../rank.md) [b](../rank.html)",
    )
    assert moved(text, "reports/rank/README.md") == expected


def test_a_picture_that_is_a_link():
    text = "[![a](docs/a.png)](reports/a.html)"
    assert moved(text, "README.md") == "[![a](a.png)](reports/a.html)"


def test_the_name_of_a_page_becomes_its_title():
    assert moved("see [rank.md](rank.md)", "docs/studies.md") == "see [Title of rank](rank.md)"


@pytest.mark.parametrize(
    "text", ["`[a](b.md)`", "```\n[a](../b.md)\n```", "[a](https://x.org/b)", "[a](#b)"]
)
def test_code_and_links_to_elsewhere_stay(text):
    assert moved(text, "reports/README.md") == text
