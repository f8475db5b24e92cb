import pandas as pd
import pytest

from peftlens.claims.attention_share import verdict


@pytest.mark.parametrize(
    ("attention", "feed_forward", "embeddings", "outcome"),
    [
        (60, 20, 20, "supported"),
        (20, 60, 20, "contradicted"),
        (40, 10, 50, "insufficient evidence"),
    ],
)
def test_of_all_and_of_the_blocks(attention, feed_forward, embeddings, outcome):
    parts = {"attention": attention, "feed_forward": feed_forward, "embeddings": embeddings}
    rows = [{"part": part, "parameters": n} for part, n in parts.items()] * 2  # two runs
    found, sentence = verdict({"base_parameters": pd.DataFrame(rows)})
    assert found == outcome
    assert f"Attention holds {attention}%" in sentence
