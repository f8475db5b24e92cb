"""Tokens that were added, and tables that were resized, as plain transformers and peft do it."""

import warnings

import peft
import pytest
import theirs
import torch
from tiny import build, byte_tokenizer

from peftlens.adapters.checkpoint import open_run
from peftlens.adapters.external import ExternalAdapter
from peftlens.adapters.token_tables import require_vocabulary, trained_tokens
from peftlens.errors import InputError

IDS = torch.arange(3, 15).reshape(2, 6)


def grown(rows):
    model = build("llama")
    model.resize_token_embeddings(rows, mean_resizing=False)
    return model


@pytest.fixture
def added(tmp_path):
    """Save an adapter of a base with five tokens more; gives its folder and its logits."""

    def make(**changes):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = peft.get_peft_model(grown(264), theirs.config("LORA", **changes)).eval()
            with torch.no_grad():
                for parameter in model.parameters():
                    if parameter.requires_grad:
                        parameter += 0.05
                logits = model(IDS).logits
            model.save_pretrained(tmp_path / "a", save_embedding_layers=not changes)
        return tmp_path / "a", logits

    return make


@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings")
@pytest.mark.parametrize("changes", [{}, {"modules_to_save": ["embed_tokens", "lm_head"]}])
def test_tables_are_resized_to_the_files_rows(added, llama, changes):
    folder, logits = added(**changes)
    before = llama.model.config.vocab_size
    with open_run(ExternalAdapter(folder, "base"), llama) as model, torch.no_grad():
        torch.testing.assert_close(model(IDS).logits, logits, atol=1e-4, rtol=1e-4)
    assert llama.model.config.vocab_size == before
    assert llama.model.get_input_embeddings().weight.shape[0] == before


def test_a_table_with_fewer_rows_than_tokens_is_refused(tmp_path, llama):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = peft.get_peft_model(grown(100), theirs.config("LORA", modules_to_save=["lm_head"]))
    folder = theirs.save(model, tmp_path / "a", "base")
    with (
        pytest.raises(InputError, match="a table of 100 rows, and the base model has 259 tokens"),
        open_run(ExternalAdapter(folder, "base"), llama),
    ):
        pass


def test_a_tokenizer_that_only_grew_is_the_same(tmp_path, llama):
    folder = theirs.save(theirs.wrapped("LORA"), tmp_path / "a", "base")
    tokenizer = byte_tokenizer()
    tokenizer.add_special_tokens({"pad_token": "<|pad|>"})
    tokenizer.save_pretrained(folder)
    require_vocabulary(ExternalAdapter(folder, "base").file, llama)
    text = (folder / "tokenizer.json").read_text()
    (folder / "tokenizer.json").write_text(text.replace('"A":', '"swapped":', 1))
    with pytest.raises(InputError, match="another vocabulary than that of .*: the (id|token)"):
        require_vocabulary(ExternalAdapter(folder, "base").file, llama)


def test_trained_tokens_of_both_layouts(tmp_path):
    folder = theirs.save(theirs.wrapped("LORA"), tmp_path / "a", "base")
    theirs.edit(folder, trainable_token_indices={"embed_tokens": [4, 9]})
    assert trained_tokens(ExternalAdapter(folder, "base").file) == [4, 9]
    theirs.edit(folder, trainable_token_indices=[5])
    assert trained_tokens(ExternalAdapter(folder, "base").file) == [5]
    theirs.edit(folder, trainable_token_indices=[-1])
    with pytest.raises(InputError, match="a negative id"):
        trained_tokens(ExternalAdapter(folder, "base").file)
