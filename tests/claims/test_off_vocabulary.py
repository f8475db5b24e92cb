import pandas as pd
import pytest

from peftlens.claims import off_vocabulary


def tables(start=1.0, end=0.6, gap=0.5, steps=(0, 9), space="embedding", width=0.02):
    similarity = {0: start, 9: end}
    return {
        "soft_prompt_neighbors": pd.DataFrame(
            [
                {"run": f"r{run}", "step": step, "metric": metric, "space": space,
                 "kind": "soft prompt", "similarity": similarity[step]}
                for run in range(6) for step in steps for metric in ("cosine", "dot")
            ]
        ),
        "soft_prompt_faithfulness": pd.DataFrame(
            [
                {"run": f"r{run}", "prompt": prompt, "gap_ci_low": low,
                 "gap_ci_high": low + width}
                for run in range(6)
                for prompt, low in (("trained", 0.0), ("nearest tokens (cosine)", gap))
            ]
        ),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "outcome"),
    [
        ({}, "supported"),
        ({"end": 0.999}, "contradicted"),  # it stayed
        ({"end": 0.95}, "contradicted"),  # within the margin
        ({"gap": 0.01}, "contradicted"),  # the tokens do what the prompt does
        ({"gap": 0.01, "width": 0.5}, "insufficient evidence"),  # or that can't be told
        ({"gap": 0.01, "width": 0.5, "end": 0.95}, "contradicted"),  # near them in any case
        ({"start": 0.2, "end": 0.2}, "not measured"),  # as an untrained one
        ({"start": 0.2, "end": 1.0}, "contradicted"),  # training brought it to tokens
        ({"steps": (0,)}, "not measured"),
        ({"steps": (9,)}, "not measured"),  # its start is unknown
        ({"space": "keys of layer 0"}, "not measured"),
    ],
)
def test_every_outcome(changed, outcome):
    assert off_vocabulary.verdict(tables(**changed))[0] == outcome


def test_the_sentence_has_the_numbers():
    _, sentence, _ = off_vocabulary.verdict(tables())
    assert "In 6 of 6 prompts most vectors left the tokens" in sentence
    assert "0.60; the nearest tokens cost 0.50 nats" in sentence


def test_few_prompts_do_not_decide():
    some = {name: frame[frame["run"].isin(["r0", "r1"])] for name, frame in tables().items()}
    assert off_vocabulary.verdict(some)[0] == "insufficient evidence"
