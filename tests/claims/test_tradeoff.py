import pytest
from charts import rows

from peftlens.claims.tradeoff import verdict

NAMES = ("lora", "lora r=2", "lora r=3", "bottleneck", "bottleneck m=2", "prompt_tuning",
         "bitfit", "ln_tuning", "ia3", "full")  # fmt: skip


def table(seconds):
    return rows(
        {name: {"trainable_parameters": 10 * (n + 1), "step_seconds": seconds(n)}
         for n, name in enumerate(NAMES)}
    )  # fmt: skip


@pytest.mark.parametrize(
    ("seconds", "outcome"),
    [
        (lambda n: 20 - n, "supported"),
        (lambda n: 1 + n, "contradicted"),
        (lambda n: 1 + 7 * n % 5, "insufficient evidence"),
    ],
)
def test_fewer_parameters_cost_more_time_or_do_not(seconds, outcome):
    found, sentence = verdict(table(seconds))
    assert found == outcome
    assert "Selective methods reach bitfit 0.800" in sentence


def test_few_configurations_say_nothing():
    found, _ = verdict(rows({"lora": {}, "full": {}}))
    assert found == "not measured"


def test_methods_of_packages_that_are_gone_have_no_family():
    found = table(lambda n: 20 - n)
    chart = found["rank_chart"].replace("bitfit", "gone_since")
    assert "bitfit" not in verdict({"rank_chart": chart})[1]
