from tiny import byte_tokenizer, setting
from tokenizers import normalizers
from tokenizers.processors import TemplateProcessing

EOS, BOS = 1, 2


def test_a_text_becomes_ids_without_special_tokens():
    tokenizer = byte_tokenizer()
    tokenizer._tokenizer.post_processor = TemplateProcessing(
        single="<bos> $A <eos>", special_tokens=[("<bos>", BOS), ("<eos>", EOS)]
    )
    plain = byte_tokenizer().encode("ab")
    assert tokenizer("ab")["input_ids"] == [BOS, *plain, EOS]
    assert setting(tokenizer=tokenizer).token_ids("ab") == plain


def test_no_text_has_no_ids():
    assert setting().token_ids("") == []


def test_special_tokens_written_in_a_text_stay_text():
    assert len(setting().token_ids("a<eos>")) == len("a<eos>")


def test_a_label_is_read_as_it_stands_behind_a_prompt():
    """This tokenizer puts a space before every text; a label brings its own."""
    tokenizer = byte_tokenizer()
    tokenizer.backend_tokenizer.normalizer = normalizers.Prepend(" ")
    space, up = byte_tokenizer().encode(" "), byte_tokenizer().encode(" up")
    context = setting(tokenizer=tokenizer)
    assert context.token_ids(" up") == [*space, *up]
    assert context.continuation_ids(" up") == up
