import pandas as pd
import pytest

from peftlens.claims import clusters

SAME, NOISE = "unchanged from initialization", "not distinguishable from noise"


def table(*verdicts):
    return {
        "soft_prompt_null": pd.DataFrame(
            [
                {"run": f"r{run}", "step": 9, "metric": metric, "position": position,
                 "verdict": verdict if metric == "cosine" else "readable"}
                for run in range(6) for metric in ("cosine", "centered")
                for position, verdict in (*enumerate(verdicts), (None, "readable"))
            ]
        )
    }  # fmt: skip


@pytest.mark.parametrize(
    ("verdicts", "outcome", "message"),
    [
        (("readable", "readable", NOISE), "supported", "In 6 of 6 prompts most vectors"),
        ((SAME, SAME, SAME, NOISE), "contradicted", "75% are as their initialization left them"),
        (("tight, start unknown",), "not measured", "known start"),
    ],
)
def test_readable_vectors_decide(verdicts, outcome, message):
    found, sentence = clusters.verdict(table(*verdicts))
    assert found == outcome
    assert message in sentence
