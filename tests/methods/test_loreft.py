import pytest
import torch
from tiny import build

from peftlens.errors import InputError
from peftlens.methods.loreft import Config, Intervention, attach, trainable_parameters
from peftlens.models.architecture import shapes


def intervention(first_tokens=None):
    """R spans (3, 4, 0) / 5 and (0, 0, 1)."""
    edit = Intervention(3, 2, first_tokens)
    with torch.no_grad():
        edit.span.copy_(torch.tensor([[3.0, 4.0, 0.0], [0.0, 0.0, 2.0]]))
        edit.source.weight.copy_(torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 1.0]]))
        edit.source.bias.copy_(torch.tensor([0.5, -1.0]))
    return edit


def test_rows_of_r_are_orthonormal_and_span_what_is_trained():
    rotation = intervention().rotation()
    torch.testing.assert_close(
        rotation.abs(), torch.tensor([[0.6, 0.8, 0.0], [0.0, 0.0, 1.0]]), atol=1e-6, rtol=0
    )
    torch.testing.assert_close(rotation @ rotation.T, torch.eye(2), atol=1e-6, rtol=0)


def test_edit_by_hand():
    edit = intervention()
    signs = edit.rotation().sum(dim=1).sign()  # each row's sign is the decomposition's choice
    r = signs[:, None] * torch.tensor([[0.6, 0.8, 0.0], [0.0, 0.0, 1.0]])
    h = torch.tensor([1.0, 2.0, 3.0])
    # W h + b = (1.5, 4); R h = ± 2.2 and ± 3; R being a basis, Rᵀ R h = (1.32, 1.76, 3)
    back = torch.tensor([1.5, 4.0]) @ r - torch.tensor([1.32, 1.76, 3.0])
    torch.testing.assert_close(edit(h[None, None])[0, 0], h + back)


def test_r_moves_little_when_what_is_trained_moves_little():
    edit = Intervention(3, 1, None)
    found = []
    for first in (1e-4, -1e-4):
        with torch.no_grad():
            edit.span.copy_(torch.tensor([[first, 1.0, 0.0]]))
        found.append(edit.rotation().detach())
    torch.testing.assert_close(found[0], found[1], atol=1e-3, rtol=0)


def test_only_the_first_tokens_are_edited():
    hidden = torch.randn(2, 4, 3)
    found, everywhere = intervention(first_tokens=2)(hidden), intervention()(hidden)
    assert torch.equal(found[:, 2:], hidden[:, 2:])
    torch.testing.assert_close(found[:, :2], everywhere[:, :2])
    assert not torch.allclose(found[:, :2], hidden[:, :2])


def test_fewer_tokens_than_are_to_be_edited():
    hidden = torch.randn(1, 1, 3)
    torch.testing.assert_close(intervention(first_tokens=2)(hidden), intervention()(hidden))


def test_it_acts_on_every_blocks_output():
    model = build("llama")
    attach(model, Config(rank=1))
    block = model.model.layers[2]
    x = torch.randn(1, 3, 32)
    places = model.model.rotary_emb(x, torch.arange(3)[None])
    plain = block(x, position_embeddings=places)
    with torch.no_grad():
        block.loreft.source.bias.fill_(2.0)
    moved = block(x, position_embeddings=places) - plain
    # W = R, so the rest cancels: 2 R everywhere, of length 2
    torch.testing.assert_close(moved.norm(dim=-1), torch.full((1, 3), 2.0))


def test_count_by_hand():
    # 3 blocks: R and W of 4 x 32, b of 4
    assert trainable_parameters(Config(rank=4), shapes(build("llama"))) == 3 * (2 * 4 * 32 + 4)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (Config(rank=0), "rank=0 must lie between 1 and 32"),
        (Config(rank=33), "rank=33 must lie between 1 and 32"),
        (Config(first_tokens=0), "first_tokens=0 must be .* at least 1"),
    ],
)
def test_values_that_can_not_work(config, message):
    with pytest.raises(InputError, match=message):
        trainable_parameters(config, shapes(build("llama")))
