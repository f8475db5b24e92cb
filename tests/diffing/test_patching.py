import pytest
import torch

from peftlens.diffing.patching import head_logits, replaced
from peftlens.models.architecture import blocks
from peftlens.models.base_model import load_base_model


def test_head_logits_are_those_of_norm_and_head(llama):
    vectors = torch.randn(70, llama.model.config.hidden_size)  # more than fit a forward pass
    with torch.inference_mode():
        plain = llama.model.lm_head(llama.model.model.norm(vectors))
    torch.testing.assert_close(
        head_logits(llama, vectors), plain - plain.mean(-1, keepdim=True), atol=1e-5, rtol=1e-4
    )


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_a_block_s_own_output_changes_nothing(bases, kind):
    base = load_base_model(str(bases[kind]), device="cpu", dtype="float32")
    ids = torch.tensor([[5, 9, 7, 11], [3, 8, 2, 6]])
    with torch.inference_mode():
        whole = base.model(input_ids=ids, output_hidden_states=True)
        first = blocks(base.shapes)[0]
        with replaced(base.model, first, 2, whole.hidden_states[1][:, 2]):
            same = base.model(input_ids=ids).logits
        with replaced(base.model, first, 2, whole.hidden_states[1][:, 1]):
            other = base.model(input_ids=ids).logits
        after = base.model(input_ids=ids).logits
    torch.testing.assert_close(same, whole.logits)
    torch.testing.assert_close(other[:, :2], whole.logits[:, :2])  # earlier positions see nothing
    assert (other[:, 2:] - whole.logits[:, 2:]).abs().max() > 1e-4
    assert torch.equal(after, whole.logits)
