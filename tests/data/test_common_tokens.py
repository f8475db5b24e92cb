from tiny import byte_tokenizer
from tokenizers import AddedToken, Tokenizer, models
from transformers import PreTrainedTokenizerFast

from peftlens.data.common_tokens import common_tokens


def unigram(*pieces):
    """A tokenizer as T5's: special tokens first, then pieces by their probability."""
    scored = [(piece, -float(i)) for i, piece in enumerate(["<pad>", "<unk>", *pieces])]
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.Unigram(scored, unk_id=1)),
        pad_token="<pad>",
        unk_token="<unk>",
    )
    tokenizer.add_tokens([AddedToken("<unused>", special=False)])
    return tokenizer


def test_the_lowest_ids_of_ordinary_tokens_are_common():
    tokenizer = unigram("▁the", "s", "▁of", "<0x0A>", "ing", "▁rare")
    # ids 2, 4 and 6; not "s", not a byte, not what was added
    assert common_tokens(tokenizer, 3) == ((2, 2), (4, 4), (6, 6))
    assert common_tokens(tokenizer, 4) == ((2, 2), (4, 4), (6, 7))


def test_placeholders_are_not_common():
    tokenizer = unigram("[unused0]", "▁the", "<unused7>", "madeupword0001", "▁of", "unused7")
    assert common_tokens(tokenizer) == ((3, 3), (6, 7))


def test_a_small_vocabulary_adds_single_characters_and_never_special_tokens():
    assert common_tokens(byte_tokenizer()) == ((3, 258),)
    assert common_tokens(unigram("▁the", "s", "▁of")) == ((2, 4),)
