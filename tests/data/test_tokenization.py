import pytest
from tiny import byte_tokenizer

from peftlens.data.collate import Collator
from peftlens.data.task import Example
from peftlens.data.tokenization import ExampleTokenizer, TokenizedAnswer
from peftlens.errors import InputError


@pytest.fixture
def tokenizer():
    return ExampleTokenizer(byte_tokenizer(), seq2seq=False, max_length=32)


def ids(text):
    """The test tokenizer gives each byte its own id."""
    return tuple(byte_tokenizer()(text)["input_ids"])


def test_prompt_and_answer_are_joined(tokenizer):
    (item,), counts = tokenizer.tokenize([Example("ab", (" x", " yz"), 1)])
    assert item.rows == (
        TokenizedAnswer(ids("ab"), ids(" x")),
        TokenizedAnswer(ids("ab"), ids(" yz")),
    )
    assert item.answer_bytes == (1, 2)
    assert counts == {}


def test_long_prompt_loses_its_beginning_and_is_counted(tokenizer):
    (item,), counts = tokenizer.tokenize([Example("x" * 40 + "end", (" a", " b"))])
    assert item.rows[0].prompt[-3:] == ids("end")
    assert len(item.rows[0].prompt) + 2 == 32
    assert counts == {"prompt cut to max_length": 1}


def test_a_cut_prompt_keeps_its_beginning_token(llama):
    from tokenizers.processors import TemplateProcessing

    llama.tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<bos> $A", special_tokens=[("<bos>", 2)]
    )
    (item,), _ = Collator.of(llama, 32).example_tokenizer.tokenize(
        [Example("x" * 40 + "end", (" a", " b"))]
    )
    assert item.rows[0].prompt[0] == 2
    assert item.rows[0].prompt[-3:] == ids("end")
    assert len(item.rows[0].prompt) + 2 == 32


def test_items_know_their_example(tokenizer):
    items, _ = tokenizer.tokenize([Example("", ("a",)), Example("", ("bcd",))])
    assert [item.index for item in items] == [1]


def test_special_tokens_in_a_text_stay_text(tokenizer):
    (item,), _ = tokenizer.tokenize([Example("a<eos>", (" x", " y"))])
    assert item.rows[0].prompt == ids("a") + tuple(i for c in "<eos>" for i in ids(c))


def test_answer_that_begins_another_gets_an_end_token(tokenizer):
    (item,), _ = tokenizer.tokenize([Example("p", (" tech", " tech support"))])
    assert [row.answer[-1] for row in item.rows] == [1, 1]
    (plain,), _ = tokenizer.tokenize([Example("p", (" tech", " sports"))])
    assert plain.rows[0].answer == ids(" tech")


@pytest.mark.parametrize(
    ("answers", "message"),
    [(("", " b"), "has no tokens"), ((" a", " a"), "same tokens as another")],
)
def test_answers_that_can_not_be_scored(tokenizer, answers, message):
    with pytest.raises(InputError, match=message):
        tokenizer.tokenize([Example("p", answers)])


def test_answer_longer_than_the_context(tokenizer):
    with pytest.raises(InputError, match="leaves no room for a prompt in max_length=32"):
        tokenizer.tokenize([Example("p", ("x" * 40, "y"))])


def test_text_of_one_token_is_left_out_and_counted(tokenizer):
    items, counts = tokenizer.tokenize([Example("", ("a",)), Example("", ("x" * 50,))])
    assert len(items) == 1
    assert counts == {"text cut to max_length": 1, "text of fewer than two tokens": 1}


def test_max_length_leaves_half_of_the_models_context_to_a_prompt(llama):
    assert Collator.of(llama, 5000).example_tokenizer.max_length == 64
