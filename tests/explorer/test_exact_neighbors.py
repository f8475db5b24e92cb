"""Neighbors as the page finds them, against similarities in float64."""

import numpy as np
import pytest
from playwright.sync_api import expect

from peftlens.explorer import page as explorer
from peftlens.explorer.build import KEPT, build_explorer
from peftlens.vocab.nearest_neighbors import METRICS
from peftlens.vocab.vocabulary import graph, vocabulary


def similarities(table, density, token, metric):
    """Similarity of every row to a token's by a metric, in float64; of the token itself −inf."""
    one, mean = table[token], table.mean(axis=0)

    def cosine(rows, row):
        return rows @ row / np.linalg.norm(rows, axis=1) / np.linalg.norm(row)

    found = {
        "cosine": lambda: cosine(table, one),
        "centered": lambda: cosine(table - mean, one - mean),
        "dot": lambda: table @ one,
        "euclidean": lambda: -np.linalg.norm(table - one, axis=1),
        "csls": lambda: 2 * cosine(table, one) - density - density[token],
    }[metric]()
    found[token] = -np.inf
    return found


def abs_of(values, metric):
    """Similarities as the page shows them: a distance is positive."""
    return -values if metric == "euclidean" else values


def test_neighbors_in_the_page_are_exact_by_every_metric(opened, context, planted_run, tmp_path):
    base = context.base_model(planted_run)
    data = build_explorer(context, [planted_run], {planted_run.id: "p"}, "pca")
    table = vocabulary(base).table.double().numpy()
    shown = opened(explorer.write(data, "t", tmp_path / "t.html"), link="#token=0")
    for token in (0, 123, 250):
        shown.evaluate(f"location.hash = 'token={token}'")
        shown.reload()
        shown.wait_for_selector("body[data-drawn]")
        for metric in METRICS:
            shown.locator("#metric").select_option(metric)
            expected = similarities(table, graph(base).density.astype(float), token, metric)
            items = shown.locator("#chosen .bars li")
            expect(items).to_have_count(KEPT)
            titles = [one.get_attribute("title") for one in items.locator(".token").all()]
            ids = [int(title.removeprefix("token ")) for title in titles]
            best = np.sort(expected)[::-1][:KEPT]
            # cosines are rounded by less than 0.0001, and a product by as much of its factors
            assert expected[ids] == pytest.approx(best, abs=3e-4, rel=3e-4), (token, metric)
            values = [float(one) for one in items.locator(".value").all_text_contents()]
            rounding = 1e-3 if np.abs(best).max() < 10 else 0.06
            assert values == pytest.approx(abs_of(best, metric), abs=rounding)
    assert shown.said == []
