import pytest
import torch
from tiny import byte_tokenizer
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from peftlens.data.collate import Collator
from peftlens.data.head_tokenization import HeadTokenizer, first_tokens, head_for
from peftlens.data.task import Example, Rating, SentencePair, Split, TaggedWords, build
from peftlens.errors import InputError
from peftlens.models.base_model import load_base_model
from peftlens.models.heads import Head
from peftlens.models.model_kind import NotLanguageModelError

CLASSES = Head(task_type="SEQ_CLS", labels=("down", "up"))
NUMBER = Head(task_type="SEQ_CLS")
TAGS = Head(task_type="TOKEN_CLS", labels=("B-LOC", "B-PER", "O"))
ANSWERS = (" down", " up")
WITH_TYPES = ["input_ids", "token_type_ids", "attention_mask"]
PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "new", "york", "##er", "##s", "met", "ann", ".", "un"]


@pytest.fixture(scope="module")
def pieces() -> PreTrainedTokenizerFast:
    """BERT's own tokenizer, of a dozen word pieces."""
    tokenizer = Tokenizer(models.WordPiece({p: n for n, p in enumerate(PIECES)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]",
        sep_token="[SEP]", model_input_names=WITH_TYPES,
    )  # fmt: skip


def names(tokenizer, row):
    return tokenizer.convert_ids_to_tokens(row.prompt)


def test_a_text_has_one_row_for_each_class(pieces):
    (item,), counts = HeadTokenizer(pieces, CLASSES, 32, True).tokenize(
        [Example("New Yorkers met Ann.", ANSWERS, 1)]
    )
    assert [row.labels for row in item.rows] == [(0,), (1,)]
    assert item.correct == 1
    expected = ["[CLS]", "new", "york", "##er", "##s", "met", "ann", ".", "[SEP]"]
    assert names(pieces, item.rows[1]) == expected
    assert item.rows[0].types == (0,) * 9
    assert item.rows[0].input_length == 9
    assert item.rows[0].scored == 1
    assert counts == {}


def test_a_pair_has_the_tokenizer_s_separator_and_segments(pieces):
    pair = SentencePair("new york", ANSWERS, 0, second="ann met ann")
    (item,), _ = HeadTokenizer(pieces, CLASSES, 32, True).tokenize([pair])
    expected = pieces("new york", "ann met ann")
    assert [*item.rows[0].prompt] == expected["input_ids"]
    assert [*item.rows[0].types] == expected["token_type_ids"] == [0] * 4 + [1] * 4
    (item,), _ = HeadTokenizer(pieces, CLASSES, 32, False).tokenize([pair])
    assert item.rows[0].types is None


def test_what_is_too_long_is_cut_and_counted(pieces):
    pair = SentencePair("new york met ann", ANSWERS, 0, second="ann met")
    (item,), counts = HeadTokenizer(pieces, CLASSES, 7, True).tokenize([pair])
    assert names(pieces, item.rows[0]) == [
        "[CLS]", "new", "york", "[SEP]", "ann", "met", "[SEP]",
    ]  # fmt: skip
    assert counts == {"text cut to max_length": 1}


def test_the_first_token_of_each_word_is_scored_as_word_ids_have_it(pieces):
    words, tags = ("New", "Yorkers", "met", "unmet", "Ann."), ("B-LOC", "O", "O", "O", "B-PER")
    example = TaggedWords(" ".join(words), (" ".join(tags),), words=words, tags=tags)
    (item,), _ = HeadTokenizer(pieces, TAGS, 32, True).tokenize([example])
    (row,) = item.rows
    split = pieces([*words], is_split_into_words=True)
    assert [*row.prompt] == split["input_ids"]
    assert row.places == tuple(split.word_ids().index(word) for word in range(len(words)))
    assert row.labels == (0, 2, 2, 2, 1)
    assert row.scored == 5


def test_words_after_a_cut_are_not_scored(pieces):
    words = ("new", "york", "met", "ann")
    example = TaggedWords(" ".join(words), ("O O O O",), words=words, tags=("O",) * 4)
    (item,), counts = HeadTokenizer(pieces, TAGS, 4, True).tokenize([example])
    assert item.rows[0].places == (1, 2)
    assert counts == {"text cut to max_length": 1, "words without a token": 2}


def test_first_tokens_by_hand():
    # "ab c": [CLS] a b c [SEP]; the space before c is part of its token
    offsets = [(0, 0), (0, 1), (1, 2), (2, 4), (0, 0)]
    assert first_tokens(["ab", "c"], offsets) == [1, 3]
    assert first_tokens(["ab", "c"], offsets[:3]) == [1, None]
    # a word that a normalizer removes, between two others
    assert first_tokens(["a", "\u0301", "b"], [(0, 1), (4, 5)]) == [0, None, 1]


@pytest.mark.parametrize(
    ("head", "example"),
    [
        (CLASSES, Example("", ("a text",))),
        (CLASSES, Example("a", (" yes", " no"))),
        (NUMBER, Example("a", ANSWERS)),
        (TAGS, Rating("a", (" 1",), value=1.0)),
    ],
)
def test_a_head_predicts_no_text(pieces, head, example):
    with pytest.raises(NotLanguageModelError, match="predicts no text"):
        HeadTokenizer(pieces, head, 32, True).tokenize([example])


def test_a_token_without_a_row_is_refused():
    tokenizer = byte_tokenizer()
    tokenizer.embedding_rows = 50
    with pytest.raises(InputError, match="enlarge the table"):
        HeadTokenizer(tokenizer, CLASSES, 32, True).tokenize([Example("a", ANSWERS)])


def test_rows_are_padded_on_the_right(encoders):
    base = load_base_model(str(encoders["bert"]), device="cpu", dtype="float32", head=CLASSES)
    base.tokenizer.model_input_names = WITH_TYPES
    collator = Collator.of(base, 64)
    items, _ = collator.items(
        [Example("abc", ANSWERS, 1), SentencePair("a", ANSWERS, 0, second="b")]
    )
    batch = collator.batch([item.rows[item.correct] for item in items])
    assert batch.inputs["attention_mask"].tolist() == [[1, 1, 1], [1, 1, 0]]
    assert batch.inputs["input_ids"][1, 2] == 0
    assert batch.inputs["token_type_ids"].tolist() == [[0, 0, 0], [0, 1, 0]]
    assert batch.targets.tolist() == [1, 0]
    assert batch.scored.tolist() == [True, True]


def test_numbers_are_targets_of_the_head(encoders):
    base = load_base_model(str(encoders["bert"]), device="cpu", dtype="float32", head=NUMBER)
    collator = Collator.of(base, 64)
    items, _ = collator.items([Rating("abc", (" 1.5",), value=1.5)])
    batch = collator.batch([items[0].rows[0]])
    assert batch.targets.dtype == torch.float32
    assert batch.targets.tolist() == [1.5]


def test_the_head_of_a_task():
    examples = [Example(text, ANSWERS, len(text) % 2) for text in ("a", "bb", "c", "dd", "e")]
    split = Split(validation=0.2, test=0.2)
    assert head_for(build("t", "classification", examples, split)) is None
    assert head_for(build("t", "classification", examples, split, head="classification")) == CLASSES
    rated = [Rating(str(n), (f" {n}",), value=float(n)) for n in range(5)]
    assert head_for(build("t", "regression", rated, split)) == NUMBER
    tags = ("B-PER", "O", "B-LOC")
    tagged = [
        TaggedWords(f"w{n}", (tags[n % 3],), words=(f"w{n}",), tags=(tags[n % 3],))
        for n in range(5)
    ]
    assert head_for(build("t", "token_classification", tagged, split)) == TAGS
