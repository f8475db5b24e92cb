from tiny import build

from peftlens.methods import ln_tuning
from peftlens.models.architecture import shapes


def test_count_by_hand():
    # Llama: 2 gains a block, 3 blocks, and the last one, 32 each
    assert ln_tuning.trainable_parameters(ln_tuning.Config(), shapes(build("llama"))) == 7 * 32


def test_trains_gains_in_the_bases_dtype():
    import torch

    model = ln_tuning.attach(build("llama").to(torch.bfloat16), ln_tuning.Config())
    trained = [p for p in model.parameters() if p.requires_grad]
    assert {p.dtype for p in trained} == {torch.bfloat16}
    assert {p.shape for p in trained} == {(32,)}
