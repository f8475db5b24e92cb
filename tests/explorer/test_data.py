import drawn
import numpy as np

from peftlens.explorer.data import KINDS


def test_the_larger_side_of_the_map_fills_the_pages_units():
    one = drawn.explorer_data(3, points=np.array([[0, 0], [2, 1], [4, 2]], np.float32))
    assert one.scaled(one.points).tolist() == [[0, 0], [32_767.5, 16_383.75], [65_535, 32_767.5]]
    assert one.scaled([[2.0, 2.0]]).tolist() == [[32_767.5, 32_767.5]]


def test_a_map_of_one_place_has_one():
    one = drawn.explorer_data(2, points=np.zeros((2, 2), np.float32))
    assert np.isfinite(one.scaled(one.points)).all()


def test_kinds_fit_into_the_colors():
    assert len(KINDS) == 7
