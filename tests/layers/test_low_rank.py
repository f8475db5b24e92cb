import pytest
from tiny import build

from peftlens.errors import InputError
from peftlens.layers.low_rank import LowRank, adapted, attach_lora, low_rank_parameters
from peftlens.models.architecture import shapes


def test_adapted_layers_are_given_as_out_and_in():
    of_gpt2 = shapes(build("gpt2"))
    # transposed in memory: 32 x 96
    assert adapted(4, ("query_value",), of_gpt2) == [(96, 32)] * 2
    assert adapted(4, ("v_proj",), shapes(build("llama"))) == [(16, 32)] * 3


def test_parameters_by_hand():
    config = LowRank(rank=4, target_modules=("c_attn",))
    assert low_rank_parameters(config, shapes(build("gpt2"))) == 2 * 4 * (96 + 32)


def test_options_reach_peft():
    config = LowRank(rank=3, alpha=5, target_modules=("q_proj",))
    wrapped = attach_lora(build("llama"), config, use_rslora=True)
    theirs = wrapped.peft_config["default"]
    assert (theirs.r, theirs.lora_alpha, theirs.use_rslora) == (3, 5, True)
    layer = wrapped.base_model.model.model.layers[0].self_attn.q_proj
    assert layer.scaling["default"] == pytest.approx(5 / 3**0.5)


@pytest.mark.parametrize("rank", [0, 17])
def test_rank_fits_the_smallest_matrix(rank):
    of_llama = shapes(build("llama"))
    with pytest.raises(
        InputError, match=f"rank={rank} must lie between 1 and 16, the smaller side"
    ):
        adapted(rank, ("q_proj", "v_proj"), of_llama)
    assert adapted(16, ("q_proj", "v_proj"), of_llama)


@pytest.mark.parametrize("alpha", [0, -1, float("inf"), float("nan")])
def test_alpha_that_can_not_work(alpha):
    with pytest.raises(InputError, match="alpha="):
        low_rank_parameters(LowRank(alpha=alpha), shapes(build("llama")))
