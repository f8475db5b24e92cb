import pytest
from tiny import build

from peftlens.errors import InputError
from peftlens.methods.modules import Config, attach, trainable_parameters
from peftlens.models.architecture import shapes


def trained(kind, *targets):
    model = attach(build(kind), Config(target_modules=targets))
    return {name for name, p in model.named_parameters() if p.requires_grad}


def test_attention_is_trained_whole():
    parts = {"q_proj", "k_proj", "v_proj", "o_proj"}
    expected = {f"model.layers.{i}.self_attn.{part}.weight" for i in range(3) for part in parts}
    assert trained("llama", "attention") == expected


def test_biases_belong_to_their_layers():
    assert trained("gpt2", "mlp.c_proj") == {
        f"transformer.h.{i}.mlp.c_proj.{part}" for i in range(2) for part in ("weight", "bias")
    }


def test_count_by_hand():
    # c_attn 32 x 96 and 96, c_proj 32 x 32 and 32; two blocks
    expected = 2 * (32 * 96 + 96 + 32 * 32 + 32)
    assert trainable_parameters(Config(), shapes(build("gpt2"))) == expected


@pytest.mark.parametrize(
    ("targets", "message"), [(("query",), "'query' matches no layer"), ((), "names no layer")]
)
def test_targets_that_mean_nothing(targets, message):
    with pytest.raises(InputError, match=message):
        trainable_parameters(Config(target_modules=targets), shapes(build("llama")))
