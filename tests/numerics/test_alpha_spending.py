import pytest

from peftlens.numerics.alpha_spending import look_levels


def test_each_look_has_twice_the_level_of_the_one_before():
    assert look_levels(0.025, 3) == pytest.approx([0.025 / 7, 0.05 / 7, 0.1 / 7])


def test_all_levels_together_are_alpha():
    for looks in range(1, 10):
        assert sum(look_levels(0.025, looks)) == pytest.approx(0.025)
    assert look_levels(0.02, 2, growth=1) == [0.01, 0.01]


@pytest.mark.parametrize(("alpha", "looks"), [(0.025, 0), (0, 3), (1, 3)])
def test_no_look_and_no_level(alpha, looks):
    with pytest.raises(ValueError, match="must be at least 1"):
        look_levels(alpha, looks)
