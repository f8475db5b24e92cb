import drawn
import numpy as np
import pytest

from peftlens.explorer.payload import payload


def test_a_trajectory_has_its_places_on_the_map_and_in_space():
    data = drawn.explorer_data(50)
    (run, _) = payload(data)["runs"]
    both = np.array(run["xyz"])
    assert both.shape == (3, 4, 5)
    assert both[..., :2] == pytest.approx(data.scaled(data.trails[0].xy), abs=0.06)
    assert both[..., 2:] == pytest.approx(data.scaled(data.trails[0].space), abs=0.06)


def test_a_direction_stands_at_its_central_token():
    data = drawn.explorer_data(50, directions=(drawn.directions("lora", 50),))
    run = payload(data)["runs"][-1]
    points = {(one.layer, one.kind): one for one in data.directions[0].points}
    point = points[2, "difference"]
    place = run["xyz"][1][0]
    assert place[:2] == pytest.approx(data.scaled(data.points[point.center]), abs=0.06)
    assert place[2:] == pytest.approx(data.scaled(data.space[point.center]), abs=0.06)
    assert run["xyz"][2].count(None) == 4  # the last layer has a difference alone


def test_places_in_space_have_ten_bits_each():
    space = np.array([[0, 0, 0], [1, 0.5, 0.25]], np.float32)
    made = payload(drawn.explorer_data(2, space=space))["space"]
    assert [[one >> shift & 1023 for shift in (0, 10, 20)] for one in made.tolist()] == [
        [0, 0, 0], [1023, 511, 255]
    ]  # fmt: skip
    assert payload(drawn.explorer_data(2, space=None, trails=()))["space"] is None


@pytest.mark.parametrize("size", [40, 70_000])
def test_pairs_come_back_from_counts_and_steps(size):
    pairs = drawn.neighbors(size, k=2)
    made = payload(drawn.explorer_data(size, neighbors=pairs, trails=()))["neighbors"]
    steps = sum(part.astype(np.int64) << 8 * n for n, part in enumerate(made["steps"]))
    low = np.repeat(np.arange(size), made["counts"])
    high, before, at = np.zeros_like(low), -1, 0
    for n, one in enumerate(low):
        at = (at if one == before else one) + steps[n]
        high[n], before = at, one
    assert (low == pairs.low).all()
    assert (high == pairs.high).all()
    assert len(made["steps"]) == (2 if size == 40 else 3)


def test_numbers_that_no_kept_metric_needs_are_left_out():
    def kept(*metrics):
        made = payload(drawn.explorer_data(40, neighbors=drawn.neighbors(40, 2, metrics)))
        return {"meanProduct", "density"} & set(made["neighbors"])

    assert kept("cosine") == set()
    assert kept("cosine", "centered", "csls") == {"meanProduct", "density"}


def test_changes_are_shares_of_their_largest():
    data = drawn.explorer_data(500, directions=(drawn.directions("lora", 500),))
    change, (made,) = data.directions[0].change, payload(data)["changes"]
    expected = np.clip(change / made["limit"], -1, 1)
    assert (made["values"] - 128.0) / 127 == pytest.approx(expected, abs=0.005)
