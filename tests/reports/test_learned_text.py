import pandas as pd
from traced import HOSTILE, ablation, changes, forgetting, tables, texts

from peftlens.reports.learned import learned
from peftlens.reports.learned_text import lines


def test_everything_fits_80_columns():
    (one,) = learned(
        tables(
            activation_difference=changes(),
            forgetting=forgetting(),
            layer_ablation=ablation([*range(1, 30, 2)], 0.5),
            generations=pd.DataFrame(texts(1, "task")),
        )
    )
    found = list(lines(one))
    assert max(map(len, found)) <= 80
    assert found[0] == "What did it learn? lora, seed 1: ✓ readable trace"
    text = "\n".join(found)
    assert "Words it raises: *ship, the" in text
    assert "  1 | █| 2\n      ^  ^ words of the training" in text
    assert "What it forgot: passages: loss changed by 0.25" in text
    assert "  this model: t" in text


def test_a_terminal_obeys_no_token():
    (one,) = learned(tables(activation_difference=changes(raised=["\x1b[31m", HOSTILE])))
    text = "\n".join(lines(one))
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "<U+001B>[31m" in text
