import pytest
import torch

from peftlens.errors import InputError
from peftlens.layers.initial_tokens import draw_tokens


def test_tokens_are_drawn_from_the_ranges_without_repeats():
    torch.manual_seed(0)
    assert sorted(draw_tokens(((3, 5), (8, 9)), 5, 10).tolist()) == [3, 4, 5, 8, 9]
    seen = torch.cat([draw_tokens(((3, 5), (8, 9)), 2, 10) for _ in range(50)])
    assert {*seen.tolist()} == {3, 4, 5, 8, 9}


def test_too_few_tokens_are_repeated_evenly():
    assert draw_tokens(((3, 5),), 6, 10).bincount().tolist() == [0, 0, 0, 2, 2, 2]


def test_without_ranges_any_token_may_come():
    assert sorted(draw_tokens((), 10, 10).tolist()) == [*range(10)]


@pytest.mark.parametrize("ranges", [((5, 10),), ((-1, 3),), ((5, 3),)])
def test_ranges_that_do_not_fit_are_refused(ranges):
    with pytest.raises(InputError, match="common_ids must hold ranges of token ids below 10"):
        draw_tokens(ranges, 2, 10)
