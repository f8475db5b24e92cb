"""Rounded values against bitsandbytes, which packs them, and against levels counted by hand."""

import bitsandbytes.functional as bnb
import pytest
import torch

from peftlens.models.weight_precision import NF4, rounded


@pytest.mark.parametrize("shape", [(64, 64), (48, 128), (7, 100), (3, 5)])
def test_nf4_is_that_of_bitsandbytes(shape):
    """Whatever the rows' length: blocks run across rows, and the last may be short."""
    torch.manual_seed(0)
    weight = torch.randn(shape) * torch.rand(shape[0], 1)
    packed, state = bnb.quantize_4bit(weight, blocksize=64, quant_type="nf4")
    unpacked = bnb.dequantize_4bit(packed, state)
    torch.testing.assert_close(rounded(weight, "nf4"), unpacked, rtol=0, atol=1e-6)


def test_blocks_of_nf4_run_across_short_rows():
    """A CPU's bitsandbytes unpacks rows of 32 with wrong scales, so it gets rows of 64."""
    torch.manual_seed(0)
    weight = torch.randn(48, 32)
    unpacked = bnb.dequantize_4bit(*bnb.quantize_4bit(weight.view(24, 64), quant_type="nf4"))
    torch.testing.assert_close(rounded(weight, "nf4").view(24, 64), unpacked, rtol=0, atol=1e-6)


def test_int8_is_that_of_bitsandbytes():
    torch.manual_seed(0)
    weight = torch.randn(48, 80, dtype=torch.float16)
    whole, scales, _ = bnb.int8_vectorwise_quant(weight)
    expected = whole.float() * scales[:, None] / 127
    torch.testing.assert_close(rounded(weight.float(), "int8"), expected, rtol=1e-6, atol=1e-6)


def test_levels_by_hand():
    """A block of 64 whose largest value is 2: 1.0 lies between the levels 0.88 and 1.13."""
    weight = torch.zeros(1, 64)
    weight[0, :4] = torch.tensor([2.0, 1.0, 0.05, -2.0])
    found = rounded(weight, "nf4")[0, :4].tolist()
    assert found == pytest.approx([2.0, 2 * NF4[12], 0.0, -2.0])
    assert rounded(torch.tensor([[127.0, 1.4, -0.6]]), "int8").tolist() == [[127.0, 1.0, -1.0]]


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_16_bits_are_those_of_torch(precision):
    weight = torch.tensor([[1 + 2**-9, 70.0]])
    expected = weight.to(getattr(torch, precision)).float()
    assert torch.equal(rounded(weight, precision), expected)


@pytest.mark.parametrize("precision", ["nf4", "int8"])
def test_zeros_stay_zeros_and_the_dtype_stays(precision):
    assert not rounded(torch.zeros(4, 64), precision).any()
    assert rounded(torch.ones(4, 64, dtype=torch.bfloat16), precision).dtype == torch.bfloat16


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "int8", "nf4"])
def test_rounding_twice_changes_nothing_more(precision):
    torch.manual_seed(0)
    once = rounded(torch.randn(16, 64), precision)
    torch.testing.assert_close(rounded(once, precision), once, rtol=1e-6, atol=0)
