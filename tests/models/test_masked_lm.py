import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import ENCODERS
from transformers import AutoModelForMaskedLM

from peftlens.models.base_model import load_base_model
from peftlens.models.heads import Head
from peftlens.models.masked_lm import masked_lm, recorded_states

HEAD = Head(task_type="SEQ_CLS", labels=("up", "down"))


@pytest.mark.parametrize("kind", ENCODERS)
@pytest.mark.parametrize("head", [None, HEAD])
def test_logits_of_the_bases_states_are_those_of_plain_transformers(encoders, kind, head):
    base = load_base_model(str(encoders[kind]), device="cpu", dtype="float32", head=head)
    ids = torch.arange(3, 19).reshape(2, 8)
    with torch.inference_mode(), recorded_states(base) as states:
        base.model(input_ids=ids, attention_mask=torch.ones_like(ids))
    plain = AutoModelForMaskedLM.from_pretrained(encoders[kind]).eval()
    with torch.inference_mode():
        expected = plain(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
    lm = masked_lm(base)
    for _ in range(2):  # the second time as the first
        found = lm.logits(states[0].flatten(0, 1))
        torch.testing.assert_close(found, expected.flatten(0, 1), atol=1e-5, rtol=0)


def test_a_head_of_which_the_file_lacks_a_part_is_none(encoders, tmp_path):
    folder = tmp_path / "part"
    folder.mkdir()
    for file in encoders["bert"].iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    tensors = load_file(folder / "model.safetensors")
    left = {name: one for name, one in tensors.items() if "transform.dense" not in name}
    assert len(left) < len(tensors)
    save_file(left, folder / "model.safetensors", metadata={"format": "pt"})
    assert masked_lm(load_base_model(str(folder), device="cpu", dtype="float32")) is None


def test_a_decoder_has_none(llama):
    assert masked_lm(llama) is None
