import pytest
import torch
from tiny import Stack, build

from peftlens.errors import InputError
from peftlens.methods.magnitude_mask import Config, attach, trainable_parameters
from peftlens.models.architecture import shapes

WEIGHTS = [[1.0, -5.0], [2.0, 0.5]], [[-4.0, 3.0]]


@pytest.mark.parametrize(
    ("largest", "expected"),
    [
        # -5 and -4
        (True, [[[1.0, 5.0], [2.0, 0.5]], [[6.0, 3.0]]]),
        # 0.5 and 1
        (False, [[[11.0, -5.0], [2.0, 10.5]], [[-4.0, 3.0]]]),
    ],
)
def test_entries_of_all_weights_compete_by_magnitude(largest, expected):
    model = attach(Stack(*WEIGHTS), Config(density=1 / 3, largest=largest))
    assert model.weights() == [*WEIGHTS]
    with torch.no_grad():
        model.sparse_update.values.fill_(10.0)
    assert model.weights() == expected


def test_count_by_hand():
    # v of 16 x 32, three blocks
    config = Config(density=0.1, target_modules=("v_proj",))
    assert trainable_parameters(config, shapes(build("llama"))) == round(0.1 * 3 * 16 * 32) == 154


def test_share_that_leaves_nothing():
    with pytest.raises(InputError, match="density=0 must lie between"):
        trainable_parameters(Config(density=0), shapes(build("llama")))
