import pandas as pd
import pytest

from peftlens.claims import swap


def table(gains, method="lora", continue_from=None):
    """Accuracies of 3 seeds on two tasks, an adapter for each, above a base of one half."""
    return {
        "sequence_scores": pd.DataFrame(
            [
                {
                    "shared_configuration": method,
                    "method": method,
                    "trained_on": trained,
                    "task": task,
                    "continue_from": continue_from,
                    "base_accuracy": 0.5,
                    "n_items": 50,
                    "accuracy": 0.5 + (gain if task == trained else 0) + 0.001 * seed,
                }
                for seed in range(3)
                for trained, gain in zip("ab", gains, strict=True)
                for task in "ab"
            ]
        )
    }


@pytest.mark.parametrize(
    ("gains", "outcome"),
    [
        ((0.2, 0.3), "supported"),
        ((0.2, -0.001), "insufficient evidence"),
        ((0.2, -0.3), "contradicted"),
    ],
)
def test_every_task_must_gain(gains, outcome):
    found, sentence = swap.verdict(table(gains))
    assert found == outcome
    assert "lora (a +20%" in sentence


@pytest.mark.parametrize("changes", [{"method": "full"}, {"continue_from": "x"}])
def test_what_is_no_adapter_of_its_own_does_not_count(changes):
    found, _ = swap.verdict(table((0.2, 0.3), **changes))
    assert found == "not measured"
