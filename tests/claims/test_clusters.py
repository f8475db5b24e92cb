import pandas as pd
import pytest

from peftlens.claims import clusters

KEPT, NOISE, MOVED = "start kept", "not distinguishable from noise", "displacement readable"


def table(*verdicts, power=0.9, kind="soft prompt"):
    return {
        "soft_prompt_null": pd.DataFrame(
            [
                {"run": f"r{run}", "step": 9, "metric": metric, "position": position, "moved": 1.3,
                 "kind": kind, "power_at_0.6": power if position is None else None,
                 "verdict": verdict if metric == "cosine" else "readable"}
                for run in range(6) for metric in ("cosine", "centered")
                for position, verdict in (*enumerate(verdicts), (None, "readable"))
            ]
        )
    }  # fmt: skip


@pytest.mark.parametrize(
    ("verdicts", "power", "outcome", "message"),
    [
        (("readable", MOVED, NOISE), 0.1, "supported", "In 6 of 6 prompts most vectors"),
        ((KEPT, KEPT, KEPT, NOISE), 0.9, "contradicted", "75% start kept"),
        ((KEPT, KEPT, KEPT, NOISE), 0.7, "insufficient evidence", "with power 0.70"),
        ((KEPT, NOISE), None, "insufficient evidence", "power"),
        (("tight, start unknown",), 0.9, "not measured", "known start"),
    ],
)
def test_vectors_decide_and_nothing_found_needs_power(verdicts, power, outcome, message):
    found, sentence, _ = clusters.verdict(table(*verdicts, power=power))
    assert found == outcome
    assert message in sentence


def test_only_soft_prompts_count():
    assert clusters.verdict(table(KEPT, kind="embedding rows"))[0] == "not measured"


def test_a_table_of_an_older_version_is_not_judged():
    old = table(KEPT)["soft_prompt_null"].drop(columns=["kind", "power_at_0.6"])
    found, sentence, _ = clusters.verdict({"soft_prompt_null": old})
    assert found == "not measured"
    assert "measure it again" in sentence
