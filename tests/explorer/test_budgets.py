"""Sizes and times of large pages, in Chromium without a GPU.

Times are those of this machine, which may do other work, so limits are wider here than the goals in
reports/performance, and frames are counted and not timed.
"""

import drawn
import numpy as np
import pytest
from playwright.sync_api import expect

from peftlens.explorer import page as explorer
from peftlens.explorer.build import FEW, KEPT, MANY
from peftlens.vocab.nearest_neighbors import METRICS

SYLLABLES = ["al", "ber", "con", "dra", "el", "fi", "gon", "ha", "il", "jo", "ka", "lum"]
PAIRS = 20  # pairs per token by five metrics on SmolLM2-135M; made-up ones are never mutual
MUTUAL = 1  # neighbors by cosine that are at least mutual among five


def large(size, neighbors):
    rng = np.random.default_rng(0)
    parts = rng.choice(SYLLABLES, (size, 3)).tolist()
    tokens = tuple("␣" + "".join(one) for one in parts)
    return drawn.explorer_data(size, tokens=tokens, neighbors=neighbors)


@pytest.fixture(scope="module")
def quarter_million(tmp_path_factory):
    """The largest vocabulary, with neighbors that are not alike, so that they compress little."""
    data = large(262_144, drawn.neighbors(262_144, FEW - MUTUAL))
    return data, explorer.write(data, "large", tmp_path_factory.mktemp("large") / "large.html")


def test_a_quarter_of_a_million_tokens_fit(quarter_million):
    assert quarter_million[1].stat().st_size < 12e6


def test_a_vocabulary_of_fifty_thousand_fits(tmp_path):
    size = 49_152
    assert size <= MANY
    pairs = drawn.neighbors(size, PAIRS)  # as many numbers as of five metrics
    pairs = type(pairs)(**(vars(pairs) | {"k": KEPT, "metrics": METRICS}))
    page = explorer.write(large(size, pairs), "t", tmp_path / "t.html")
    assert page.stat().st_size < 6e6


def test_a_quarter_of_a_million_tokens_are_searched_and_clicked(opened, quarter_million):
    data, page = quarter_million
    shown = opened(page)
    shown.locator("#query").fill("albercon")
    count = sum("albercon" in token for token in data.tokens)
    expect(shown.locator("#count")).to_contain_text(f"{count:,} tokens")
    shown.locator("#query").fill("")
    shown.locator("#vectors button").first.click()
    expect(shown.locator("#chosen h2")).to_contain_text("vector 0")
    shown.locator("#chosen .bars .token").first.click()
    expect(shown.locator("#chosen .bars li")).to_have_count(FEW - MUTUAL)
    assert shown.said == []
