"""Each part by hand on a module of its own; test_batched_trainer.py has whole models."""

from functools import partial

import pytest
import torch
from torch import nn
from transformers import LlamaConfig
from transformers.models.gemma.modeling_gemma import GemmaRMSNorm
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from peftlens.layers.batched_adapters import (
    AdapterBatch,
    LowRankUpdate,
    NormScale,
    ParallelBottleneck,
    PrependedVectors,
    RescaledActivations,
)
from peftlens.layers.bottleneck import Bottleneck


def parameter(*rows):
    return nn.Parameter(torch.tensor(rows))


def doubling():
    layer = nn.Linear(2, 2, bias=False)
    layer.weight.data = 2 * torch.eye(2)
    return layer


X = torch.tensor([[[1.0, 1.0]], [[1.0, 2.0]], [[3.0, 1.0]], [[0.0, 1.0]]])  # two rows a run


def called(module, parts, x=X):
    model = nn.Sequential(module)
    batch = AdapterBatch(model, {"0": parts[0]})
    with batch.applied([{"0": part} for part in parts]):
        return batch, model, model(x)


def test_low_rank_updates_of_unequal_rank():
    one = LowRankUpdate(parameter([1.0, 0.0]), parameter([1.0], [0.0]), scale=3.0)
    two = LowRankUpdate(
        parameter([1.0, 0.0], [0.0, 1.0]), parameter([0.0, 1.0], [1.0, 0.0]), scale=0.5
    )
    batch, model, found = called(doubling(), [one, two])
    # the first adds 3 x0 to the first value; the second adds half of the values, swapped
    assert found[:, 0].tolist() == [[5.0, 2.0], [5.0, 4.0], [6.5, 3.5], [0.5, 2.0]]
    found.sum().backward()
    assert one.a.grad.tolist() == [[3.0 * 2, 3.0 * 3]]
    assert model(X).tolist() == (2 * X).tolist()
    with batch.applied([{"0": two}]):
        assert model(X[2:])[:, 0].tolist() == [[6.5, 3.5], [0.5, 2.0]]


def bottleneck(down, bias, up):
    made = Bottleneck(2, len(down))
    with torch.no_grad():
        made.down.weight.copy_(torch.tensor(down))
        made.down.bias.copy_(torch.tensor(bias))
        made.up.weight.copy_(torch.tensor(up))
        made.up.bias.fill_(1.0)
    return made


def test_bottlenecks_of_unequal_size():
    one = bottleneck([[1.0, 0.0]], [0.5], [[1.0], [0.0]])
    two = bottleneck([[1.0, 0.0], [0.0, -1.0]], [0.0, 4.0], [[1.0, 0.0], [0.0, 1.0]])
    _, _, found = called(doubling(), [ParallelBottleneck(one), ParallelBottleneck(two)])
    expected = [own(2 * x) + 2 * x for own, x in zip((one, one, two, two), X, strict=True)]
    torch.testing.assert_close(found, torch.stack(expected))


@pytest.mark.parametrize("inner", [False, True])
def test_rescaling_before_and_behind(inner):
    parts = [
        RescaledActivations(nn.Parameter(torch.tensor(v)), inner) for v in ([1.0, 2.0], [0.0, -1.0])
    ]
    layer = nn.Linear(2, 2, bias=False)
    layer.weight.data = torch.tensor([[0.0, 1.0], [1.0, 0.0]])  # swaps
    _, _, found = called(layer, parts)
    if inner:
        assert found[:, 0].tolist() == [[2.0, 1.0], [4.0, 1.0], [-1.0, 0.0], [-1.0, 0.0]]
    else:
        assert found[:, 0].tolist() == [[1.0, 2.0], [2.0, 2.0], [0.0, -3.0], [0.0, -0.0]]


@pytest.mark.parametrize("kind", [LlamaRMSNorm, GemmaRMSNorm, nn.LayerNorm, nn.RMSNorm,
                                  partial(nn.LayerNorm, bias=False)])  # fmt: skip
@pytest.mark.parametrize("shape", [(4, 3, 2), (4, 3, 5, 2)])
def test_gains_of_any_normalization(kind, shape):
    """Gemma's counts from one; Qwen's of heads reads four dimensions; LayerNorm has a bias too."""
    torch.manual_seed(0)
    x, copies = torch.randn(shape), [kind(2), kind(2)]
    for copy in copies:
        for p in copy.parameters():
            nn.init.normal_(p)
    _, model, found = called(kind(2), [NormScale(copy) for copy in copies], x)
    expected = torch.cat([copies[0](x[:2]), copies[1](x[2:])])
    torch.testing.assert_close(found, expected)
    found.square().sum().backward()
    assert all(p.grad is not None for copy in copies for p in copy.parameters())
    torch.testing.assert_close(model(x), kind(2)(x))
    assert {*dict(model.named_parameters())} == {
        f"0.{name}" for name, _ in kind(2).named_parameters()
    }


class Reader(nn.Module):
    config = LlamaConfig()

    def get_input_embeddings(self):
        return nn.Embedding.from_pretrained(torch.tensor([[7.0], [8.0]]))

    def forward(self, attention_mask, input_ids=None, inputs_embeds=None):
        return input_ids if inputs_embeds is None else (inputs_embeds, attention_mask)


def test_each_run_s_vectors_lead_its_rows():
    model = Reader()
    runs = [{"": PrependedVectors(parameter([value]))} for value in (1.0, 2.0)]
    batch = AdapterBatch(model, runs[0])
    given = {"input_ids": torch.tensor([[0], [1]]), "attention_mask": torch.ones(2, 1)}
    with batch.applied(runs):
        vectors, mask = model(**given)
    assert vectors.tolist() == [[[1.0], [7.0]], [[2.0], [8.0]]]
    assert mask.tolist() == [[1, 1], [1, 1]]
    assert model(**given).tolist() == [[0], [1]]
