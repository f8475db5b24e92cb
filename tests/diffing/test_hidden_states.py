import pytest
import torch

from peftlens.data.collate import Collator
from peftlens.diffing.hidden_states import (
    mean_states,
    require_decoder_only,
    text_blocks,
    text_rows,
    text_states,
)
from peftlens.models.base_model import load_base_model
from peftlens.results.table import NotApplicable

TEXTS = ["good 1 up", "a longer line of text", "bad 2 down down"]


def by_hand(base, text):
    """Outputs of the blocks but the last, unbatched, (blocks - 1, positions, d)."""
    ids = torch.tensor([base.tokenizer(text, add_special_tokens=False)["input_ids"]])
    with torch.inference_mode():
        out = base.model(input_ids=ids, output_hidden_states=True)
    return torch.stack(out.hidden_states[1:-1])[:, 0]


def test_states_of_chosen_positions(llama):
    rows = text_rows(Collator.of(llama, 64), TEXTS)
    read = slice(1, 6)
    (batch,) = text_states(llama.model, llama, rows, positions=read)
    places, states = batch
    assert sorted(places) == [(row, at) for row in range(3) for at in range(1, 6)]
    for (row, at), state in zip(places, states.unbind(1), strict=True):
        torch.testing.assert_close(state[:-1], by_hand(llama, TEXTS[row])[:, at])


def test_means(llama):
    rows = text_rows(Collator.of(llama, 64), TEXTS)
    mean, n = mean_states(llama.model, llama, rows, positions=slice(1, 6))
    plain = torch.cat([by_hand(llama, text)[:, 1:6] for text in TEXTS], dim=1).double().mean(1)
    assert n == 15
    torch.testing.assert_close(mean[:-1], plain, atol=1e-6, rtol=1e-5)


def test_texts_that_are_too_short_have_no_mean(llama):
    rows = text_rows(Collator.of(llama, 64), ["go"])
    with pytest.raises(NotApplicable, match="no text has a token"):
        mean_states(llama.model, llama, rows, positions=slice(8, None))


def test_an_encoder_decoder_reads_with_its_encoder(bases):
    base = load_base_model(str(bases["t5"]), device="cpu", dtype="float32")
    assert all("encoder" in name for name in text_blocks(base))
    assert mean_states(base.model, base, text_rows(Collator.of(base, 64), TEXTS))[1] > 0
    with pytest.raises(NotApplicable, match="encoder-decoder"):
        require_decoder_only(base)
