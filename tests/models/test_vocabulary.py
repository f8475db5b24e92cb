import numpy as np
import pytest
from tiny import build, byte_tokenizer

from peftlens.methods import prompt_tuning
from peftlens.models.vocabulary import embedding_table, readable, soft_prompt


def test_embedding_table_is_float32():
    table = embedding_table(build("llama").bfloat16())
    assert table.shape == (259, 32)
    assert table.dtype == np.float32


def test_soft_prompt_is_what_stands_before_the_input():
    model = prompt_tuning.attach(build("llama"), prompt_tuning.Config(num_virtual_tokens=4))
    weight = model.prompt_encoder["default"].embedding.weight.detach().numpy()
    assert (soft_prompt(model) == weight).all()


@pytest.mark.parametrize(
    ("text", "shown"),
    [(" ", "␣"), ("a", "a"), ("\n", "<U+000A>"), ("<", "<"), ("\x1b", "<U+001B>")],
)
def test_tokens_are_shown_literally(text, shown):
    tokenizer = byte_tokenizer()
    (token,) = tokenizer(text)["input_ids"]
    assert readable(tokenizer, token) == shown


def test_a_byte_that_is_no_character_alone():
    tokenizer = byte_tokenizer()
    first, _ = tokenizer("é")["input_ids"]
    assert readable(tokenizer, first) == "<Ã>"


def test_an_id_beyond_the_tokenizer():
    assert readable(byte_tokenizer(), 400) == "<id 400>"
