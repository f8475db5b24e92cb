import pytest
from charts import rows
from step_costs import costs

from peftlens.claims.adapter_site import verdict

AFTER_ATTENTION = "bottleneck bottleneck_size=8 placement=attention"
AFTER_FEED_FORWARD = "bottleneck bottleneck_size=8 placement=feed_forward"


def tables(accuracy=0.8, seconds=1.0, flops=1e12, names=(AFTER_ATTENTION, AFTER_FEED_FORWARD),
           width=0.005, **options):  # fmt: skip
    one, other = names
    measured = costs({other: {}, one: {"step_seconds": seconds, "flops": flops}}, **options)
    return rows({one: {"accuracy": accuracy, "width": width}, other: {}}) | {
        "training_cost": measured
    }


@pytest.mark.parametrize(
    ("values", "outcome"),
    [
        ({"accuracy": 0.7, "seconds": 1.4}, "supported"),
        ({"accuracy": 0.7, "flops": 1.3e12}, "supported"),
        ({"accuracy": 0.7, "seconds": 1.2}, "insufficient evidence"),  # its interval crosses 1.2
        ({"accuracy": 0.7}, "contradicted"),  # the cost is the same
        ({"width": 0.03, "seconds": 1.2}, "insufficient evidence"),
        ({"seconds": 1.4}, "contradicted"),  # the accuracy is the same
        ({}, "contradicted"),
    ],
)
def test_cost_and_accuracy_must_both_differ(values, outcome):
    assert verdict(tables(**values))[0] == outcome


def test_times_of_a_disturbed_machine_do_not_count():
    found, sentence, _ = verdict(tables(accuracy=0.7, seconds=1.4, control=1.3))
    assert found == "insufficient evidence"
    assert "on a disturbed machine" in sentence
    assert verdict(tables(accuracy=0.7, flops=1.3e12, control=1.3))[0] == "supported"  # exact


def test_equality_is_tested_at_half_the_level_because_one_of_two_suffices():
    """Half a width of 2.1 points at 95 % is one of 1.76 at 90 %: 1.645 over 1.96."""
    assert verdict(tables(width=0.019, seconds=1.2))[0] == "contradicted"
    assert verdict(tables(width=0.021, seconds=1.2))[0] == "insufficient evidence"


def test_sizes_must_be_equal():
    other = AFTER_FEED_FORWARD.replace("=8", "=16")
    assert verdict(tables(names=(AFTER_ATTENTION, other)))[0] == "not measured"


def test_keys_in_another_order_and_defaults_are_the_same_adapter():
    names = "bottleneck placement=attention bottleneck_size=8", "bottleneck bottleneck_size=8"
    assert verdict(tables(accuracy=0.7, seconds=1.4, names=names))[0] == "supported"


def test_what_else_differs_must_not():
    names = AFTER_ATTENTION, f"{AFTER_FEED_FORWARD} max_steps=20"
    assert verdict(tables(names=names))[0] == "not measured"


def test_costs_that_were_not_measured():
    found = tables()
    found["training_cost"] = found["training_cost"].iloc[:1]
    assert verdict(found)[0] == "not measured"
