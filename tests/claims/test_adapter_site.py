import pytest
from charts import rows

from peftlens.claims.adapter_site import verdict

AFTER_ATTENTION = "bottleneck bottleneck_size=8 placement=attention"
AFTER_FEED_FORWARD = "bottleneck bottleneck_size=8 placement=feed_forward"


@pytest.mark.parametrize(
    ("accuracy", "seconds", "outcome"),
    [
        (0.7, 1.3, "supported"),
        (0.8, 1.0, "contradicted"),
        (0.7, 1.0, "insufficient evidence"),
        (0.8, 1.3, "insufficient evidence"),
    ],
)
def test_cost_and_accuracy_must_both_differ(accuracy, seconds, outcome):
    found, _ = verdict(
        rows({AFTER_ATTENTION: {"accuracy": accuracy, "step_seconds": seconds},
              AFTER_FEED_FORWARD: {}})
    )  # fmt: skip
    assert found == outcome


def test_sizes_must_be_equal():
    other = AFTER_FEED_FORWARD.replace("=8", "=16")
    assert verdict(rows({AFTER_ATTENTION: {}, other: {}}))[0] == "not measured"


def test_keys_in_another_order_and_defaults_are_the_same_adapter():
    one = {"accuracy": 0.7, "step_seconds": 1.3}
    names = "bottleneck placement=attention bottleneck_size=8", "bottleneck bottleneck_size=8"
    assert verdict(rows(dict(zip(names, (one, {}), strict=True))))[0] == "supported"


def test_what_else_differs_must_not():
    other = f"{AFTER_FEED_FORWARD} max_steps=20"
    assert verdict(rows({AFTER_ATTENTION: {}, other: {}}))[0] == "not measured"
