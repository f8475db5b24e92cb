import pytest
from tiny import build

from peftlens.errors import InputError
from peftlens.methods import last_layers


def test_only_the_top_blocks_are_trained():
    model = last_layers.attach(build("llama"), last_layers.Config(blocks=2))
    trained = {name.split(".")[2] for name, p in model.named_parameters() if p.requires_grad}
    assert trained == {"1", "2"}
    assert not model.get_input_embeddings().weight.requires_grad


def test_more_blocks_than_there_are():
    with pytest.raises(InputError, match="blocks=4 must lie between 1 and 3"):
        last_layers.attach(build("llama"), last_layers.Config(blocks=4))
