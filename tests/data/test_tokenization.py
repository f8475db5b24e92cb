import logging

import pytest
from tiny import byte_tokenizer
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

from peftlens.data.collate import Collator
from peftlens.data.task import Example
from peftlens.data.tokenization import ExampleTokenizer, TokenizedAnswer, continuation_ids, text_ids
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


def ending(single):
    """A tokenizer that puts special tokens around every text."""
    tokenizer = byte_tokenizer()
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=single, special_tokens=[("<eos>", 1), ("<bos>", 2)]
    )
    return tokenizer


@pytest.mark.parametrize(
    ("single", "start"),
    [("$A", ()), ("<bos> $A", (2,)), ("$A <eos>", ()), ("<bos> $A <eos>", (2,))],
)
def test_no_end_token_comes_between_a_prompt_and_its_answer(single, start):
    tokenizer = ExampleTokenizer(ending(single), seq2seq=False, max_length=16)
    short, long, text = (("good?", (" x", " y")), ("g" * 20 + "?", (" x", " y")), ("", ("text",)))
    (short, long, text), _ = tokenizer.tokenize([Example(*one) for one in (short, long, text)])
    assert short.rows[0] == TokenizedAnswer((*start, *ids("good?")), ids(" x"))
    assert long.rows[0].prompt == (*start, *ids("g" * (13 - len(start)) + "?"))
    assert text.rows[0] == TokenizedAnswer(start, ids("text"))


@pytest.mark.parametrize("length", [5, 20])
def test_an_encoder_reads_the_end_token(length):
    tokenizer = ExampleTokenizer(ending("$A <eos>"), seq2seq=True, max_length=16)
    (item,), _ = tokenizer.tokenize([Example("g" * length, (" x", " y"))])
    assert item.rows[0].prompt == (*ids("g" * min(length, 13)), 1)
    (item,), _ = tokenizer.tokenize([Example("", ("text",))])
    assert item.rows[0] == TokenizedAnswer((1,), ids("text"))


def test_special_tokens_need_room_too():
    tokenizer = ExampleTokenizer(ending("<bos> $A"), seq2seq=False, max_length=4)
    with pytest.raises(InputError, match="leaves no room for a prompt in max_length=4"):
        tokenizer.tokenize([Example("good?", ("abc", "x"))])


WORDS = ("yes", "no", "Is", "it", "good", "Answer")
SPACE = "\u2581"  # how SentencePiece writes a space
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]


def merged(words, vocabulary):
    """Merges that build each word from its letters; tokens on the way join the vocabulary."""
    merges = []
    for word in words:
        for end in range(2, len(word) + 1):
            left, right, whole = word[: end - 1], word[end - 1], word[:end]
            for token in (left, right, whole):
                vocabulary.setdefault(token, len(vocabulary))
            merges.append((left, right))
    return list(dict.fromkeys(merges))


def byte_level():
    inner = byte_tokenizer().backend_tokenizer
    vocabulary = inner.get_vocab()
    inner.model = models.BPE(
        vocabulary, merged([*WORDS, *(f"\u0120{w}" for w in WORDS)], vocabulary)
    )
    return inner


def sentencepiece(normalizer=None, pre_tokenizer=None):
    """BPE as in Llama and Mistral: a space is written as a sign, unknown signs as bytes."""
    vocabulary = {token: at for at, token in enumerate(["<pad>", "<eos>", "<bos>", *BYTES, SPACE])}
    merges = merged([*(SPACE + word for word in WORDS), *WORDS], vocabulary)
    for sign in ":?.":
        vocabulary.setdefault(sign, len(vocabulary))
    inner = Tokenizer(models.BPE(vocabulary, merges, byte_fallback=True, fuse_unk=True))
    inner.normalizer, inner.pre_tokenizer = normalizer, pre_tokenizer
    inner.decoder = decoders.Sequence(
        [
            decoders.Replace(SPACE, " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    return inner


def prepending():
    spaces = [normalizers.Prepend(SPACE), normalizers.Replace(" ", SPACE)]
    return sentencepiece(normalizer=normalizers.Sequence(spaces))


def metaspace(scheme):
    return sentencepiece(pre_tokenizer=pre_tokenizers.Metaspace(prepend_scheme=scheme, split=False))


def unigram():
    tokens = [
        "<pad>",
        "<eos>",
        "<bos>",
        "<unk>",
        SPACE,
        *":?.",
        *WORDS,
        *(SPACE + w for w in WORDS),
    ]
    tokens = list(dict.fromkeys([*tokens, *"".join(WORDS)]))
    inner = Tokenizer(models.Unigram([(token, -1.0 / len(token)) for token in tokens], unk_id=3))
    inner.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    inner.decoder = decoders.Metaspace(prepend_scheme="always")
    return inner


def wordpiece():
    tokens = ["<pad>", "<eos>", "<bos>", "<unk>", *":?.", *(word.lower() for word in WORDS)]
    words = {token: at for at, token in enumerate(tokens)}
    inner = Tokenizer(models.WordPiece(words, unk_token="<unk>"))
    inner.normalizer = normalizers.BertNormalizer(lowercase=True)
    inner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    inner.decoder = decoders.WordPiece()
    return inner


KINDS = {
    "byte-level BPE (GPT-2, Llama 3)": byte_level,
    "BPE, the normalizer prepends a space (Mistral, Mixtral, Phi-3)": prepending,
    "BPE, metaspace first (Llama 2)": lambda: metaspace("first"),
    "BPE, metaspace always": lambda: metaspace("always"),
    "BPE, metaspace never (Gemma)": lambda: metaspace("never"),
    "unigram (T5, XGLM)": unigram,
    "WordPiece (BERT)": wordpiece,
}


@pytest.mark.parametrize("answer", [" yes", "yes", " no yes", ": yes"])
@pytest.mark.parametrize("kind", KINDS)
def test_an_answer_is_tokenized_as_it_stands_behind_a_prompt(kind, answer):
    """The expected ids are those of the whole text, behind those of the prompt."""
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=KINDS[kind](), pad_token="<pad>", eos_token="<eos>", bos_token="<bos>"
    )
    prompt = "Is it good? Answer" + "." * (answer[0] != ":")
    before, whole = (
        tokenizer(text, add_special_tokens=False)["input_ids"] for text in (prompt, prompt + answer)
    )
    assert whole[: len(before)] == before
    found = continuation_ids(tokenizer, answer)
    assert found == whole[len(before) :]
    if kind != "WordPiece (BERT)":  # which does not keep capitals and spaces
        assert tokenizer.decode([*before, *found]) == prompt + answer


def test_a_sentencepiece_answer_has_one_space():
    """Alone, " yes" would be two spaces and "yes" one, where the model has read one and none."""
    inner = prepending()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<eos>")
    alone = tokenizer(" yes", add_special_tokens=False)["input_ids"]
    assert tokenizer.convert_ids_to_tokens(alone) == [SPACE, f"{SPACE}yes"]
    items, _ = ExampleTokenizer(tokenizer, seq2seq=False, max_length=32).tokenize(
        [Example("Is it good?", (" yes", " no")), Example("Is it good? Answer:", ("yes", "no"))]
    )
    tokens = [tokenizer.convert_ids_to_tokens([*item.rows[0].answer]) for item in items]
    assert tokens == [[f"{SPACE}yes"], ["yes"]]


def test_a_decoder_starts_with_its_answer():
    """In an encoder-decoder nothing stands before the answer: its ids are those of the text."""
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=unigram(), eos_token="<eos>")
    (item,), _ = ExampleTokenizer(tokenizer, seq2seq=True, max_length=32).tokenize(
        [Example("Is it good?", ("yes", "no"))]
    )
    assert tokenizer.convert_ids_to_tokens([*item.rows[0].answer]) == [f"{SPACE}yes"]


@pytest.mark.parametrize("special", [False, True])
def test_tokens_without_a_row_in_the_table(special):
    tokens = byte_tokenizer()
    tokens.add_tokens(["<ent>"], special_tokens=special)
    tokens.embedding_rows = 259  # as `load_base_model` sets it
    if special:  # stays text
        assert text_ids(tokens, "<ent>") == [*ids("<ent>")]
        return
    with pytest.raises(InputError, match="id 259: the tokenizer has 260 tokens and .* 259 rows"):
        text_ids(tokens, "a <ent>")


def test_an_end_token_without_a_row():
    tokens = byte_tokenizer()
    tokens.add_special_tokens({"eos_token": "<end>"})
    tokens.embedding_rows = 259
    tokenize = ExampleTokenizer(tokens, seq2seq=False, max_length=32).tokenize
    with pytest.raises(InputError, match="'<end>' has the id 259"):
        tokenize([Example("ab", (" x", " xy"), 0)])


def test_a_text_beyond_the_context_gives_no_warning_of_the_tokenizer(caplog):
    tokenizer = byte_tokenizer()
    tokenizer.model_max_length = 4
    transformers_log = logging.getLogger("transformers.tokenization_utils_base")
    transformers_log.addHandler(caplog.handler)
    try:
        assert len(text_ids(tokenizer, "a longer text")) > 4
        assert not caplog.records
        tokenizer("a longer text")
        assert any("longer than" in record.message for record in caplog.records)
    finally:
        transformers_log.removeHandler(caplog.handler)
