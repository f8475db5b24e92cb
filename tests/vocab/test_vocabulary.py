import numpy as np
import planted
import pytest
import torch
from tiny import MARKS, build, byte_tokenizer, word_piece_tokenizer
from tokenizers import Tokenizer, decoders, models
from transformers import AutoModel, PreTrainedTokenizerFast

from peftlens.errors import InputError
from peftlens.io.files import cache_dir
from peftlens.models.base_model import load_base_model
from peftlens.models.snapshot import fingerprint
from peftlens.vocab import vocabulary as module
from peftlens.vocab.vocabulary import embeddings, graph, readable, states, vocabulary


@pytest.fixture(autouse=True)
def fresh(monkeypatch, tmp_path):
    """Nothing in the cache folder."""
    monkeypatch.setenv("PEFTLENS_CACHE", str(tmp_path))


@pytest.fixture
def base(planted_base):
    return load_base_model(str(planted_base), device="cpu", dtype="float32")


def changed(folder, tmp_path, change, size=None):
    """A copy of a base with another embedding table."""
    one = load_base_model(str(folder), device="cpu", dtype="float32")
    if size:
        one.model.resize_token_embeddings(size, mean_resizing=False)
    with torch.no_grad():
        change(one.model.get_input_embeddings().weight)
    one.model.save_pretrained(tmp_path / "changed")
    one.tokenizer.save_pretrained(tmp_path / "changed")
    return load_base_model(str(tmp_path / "changed"), device="cpu", dtype="float32")


def test_embeddings_are_what_the_model_reads_in_float32():
    model = build("llama").bfloat16()
    found = embeddings(model)
    assert found.dtype == torch.float32
    assert torch.equal(found, model.get_input_embeddings().weight.float())


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


@pytest.mark.parametrize(
    ("token", "shown"), [("▁good", "␣good"), ("ing", "ing"), ("▁", "␣"), ("▁▁", "␣␣")]
)
def test_the_space_of_sentence_piece_is_shown_whatever_the_decoder_does(token, shown):
    pieces = Tokenizer(models.Unigram([("<unk>", 0.0), (token, -1.0)], unk_id=0))
    pieces.decoder = decoders.Metaspace()  # drops the space that a text begins with
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=pieces, unk_token="<unk>")
    assert readable(tokenizer, 1) == shown


@pytest.mark.parametrize("token", ["good", "##ing", "[CLS]", "[unused1]", "##7"])
def test_word_pieces_are_shown_as_they_are(token):
    tokenizer = word_piece_tokenizer()
    assert readable(tokenizer, tokenizer.convert_tokens_to_ids(token)) == token


def test_marks_and_placeholders_of_a_word_piece_vocabulary_are_no_words(word_pieces):
    known = vocabulary(load_base_model(str(word_pieces), device="cpu", dtype="float32"))
    words = {known.tokens[token] for token in known.usable}
    assert {"good", "##ing", "sports"} <= words
    assert not words & {*MARKS}
    at = {token: index for index, token in enumerate(known.tokens)}
    assert {token: known.flags(at[token]) for token in ("[CLS]", "[unused1]", "##ing")} == {
        "[CLS]": "special", "[unused1]": "untrained", "##ing": ""
    }  # fmt: skip
    assert known.begins_word[at["good"]]
    assert not known.begins_word[at["##ing"]]
    family = {token: known.family[at[token]] for token in ("sport", "sports", "s", "##s", "##ing")}
    assert family["sport"] == family["sports"]
    assert family["s"] == family["##s"]
    assert len({*family.values()}) == 3


def test_words_that_begin_behind_a_space_begin_words(bases):
    known = vocabulary(load_base_model(str(bases["llama"]), device="cpu", dtype="float32"))
    begins = [known.tokens[token] for token in np.flatnonzero(known.begins_word)]
    assert begins == ["␣"]
    assert known.continuation == ""


@pytest.mark.parametrize("kind", ["word_pieces", "roberta", "modernbert"])
def test_states_in_an_encoder_stand_before_the_end_marks(word_pieces, encoders, kind):
    folder = (encoders | {"word_pieces": word_pieces})[kind]
    base = load_base_model(str(folder), device="cpu", dtype="float32")
    found = states(base)
    ids = base.tokenizer(module.CONTEXT)["input_ids"]
    if kind == "word_pieces":
        assert base.tokenizer.convert_ids_to_tokens(ids[-1]) == "[SEP]"
        before, after = ids[:-1], ids[-1:]
    else:
        before, after = ids, []  # a tokenizer without marks
    model = AutoModel.from_pretrained(folder).eval()
    rows = torch.tensor([[*before, token, *after] for token in range(len(found))])
    with torch.no_grad():
        expected = model(rows, output_hidden_states=True).hidden_states[1][:, len(before)]
    expected = expected - expected.mean(dim=0)
    assert np.abs(found - expected.numpy()).max() < 2e-3  # kept in half precision


def test_an_id_beyond_the_tokenizer():
    assert readable(byte_tokenizer(), 400) == "<id 400>"


def test_marks_are_special_and_words_usable(base):
    known = vocabulary(base)
    assert np.flatnonzero(known.special).tolist() == [0, 1, 2]
    assert known.usable.tolist() == list(range(3, len(known.tokens)))
    assert known.flags(1) == "special"
    assert known.flags(5) == ""


def test_spellings_of_one_word_are_one_family():
    tokens = (
        "␣Tech",
        "tech",
        "␣techs",
        "␣TECH",
        "␣technical",
        "␣doctor",
        "␣doctors",
        "!",
        "␣!",
        "<Ã>",
        "<Â>",
    )
    found = module._families(tokens)
    assert len({*found[:4]}) == 1
    assert found[5] == found[6]
    assert found[7] == found[8]
    assert len({*found}) == 6


def test_ids_beyond_the_tokenizer_are_left_out(planted_base, tmp_path):
    size = len(vocabulary(load_base_model(str(planted_base), device="cpu")).tokens)
    known = vocabulary(changed(planted_base, tmp_path, lambda _: None, size + 2))
    assert known.tokens[-1] == f"<id {size + 1}>"
    assert known.nameless.sum() == 2
    assert "nameless" in known.flags(size)
    assert not {size, size + 1} & {*known.usable}


def test_rows_that_training_left_alone_are_found_by_being_equal(planted_base, tmp_path):
    def same(table):
        table[100] = table[7]
        table[200] = table[7] * 1.01 + 0.02 * table[300]  # nearly

    known = vocabulary(changed(planted_base, tmp_path, same))
    assert known.duplicate_of[100] == 7
    assert np.flatnonzero(known.untrained).tolist() == [7, 100, 200]
    assert known.flags(100) == "untrained, same row as 7"


def test_rows_that_training_left_alone_are_found_by_their_norm(planted_base, tmp_path):
    def small(table):
        table[100] *= 1e-3

    assert np.flatnonzero(vocabulary(changed(planted_base, tmp_path, small)).untrained) == [100]


def test_the_graph_is_brute_force_without_the_token_itself(base):
    table = vocabulary(base).table.double()
    unit = table / table.norm(dim=1, keepdim=True)
    cosine = (unit @ unit.T).fill_diagonal_(-2).numpy()
    expected = np.argsort(-cosine, axis=1, kind="stable")[:, :15]
    found = graph(base)
    assert (found.ids == expected).all()
    np.testing.assert_allclose(found.cosine, np.take_along_axis(cosine, expected, 1), atol=1e-6)
    np.testing.assert_allclose(found.density, found.cosine[:, :10].mean(axis=1))
    assert found.occurrences.sum() == 10 * len(table)
    assert found.hubs.sum() > 0


def test_equal_rows_are_each_others_neighbors(planted_base, tmp_path):
    def same(table):
        table[100:130] = table[7]

    found = graph(changed(planted_base, tmp_path, same))
    assert found.ids[7].tolist() == list(range(100, 115))
    assert found.ids[129].tolist() == [7, *range(100, 114)]


@pytest.mark.parametrize(("kind", "block"), [("llama", 2), ("gpt2", 1), ("t5", 1)])
def test_states_are_the_middle_blocks_output_behind_the_context(bases, kind, block):
    base = load_base_model(str(bases[kind]), device="cpu", dtype="float32")
    found = states(base)
    ids = base.tokenizer(module.CONTEXT)["input_ids"]
    model = base.model.encoder if kind == "t5" else base.model
    rows = torch.tensor([[*ids, token] for token in range(len(found))])
    with torch.no_grad():
        expected = model(rows, output_hidden_states=True).hidden_states[block][:, -1]
    expected = expected - expected.mean(dim=0)
    assert np.abs(found - expected.numpy()).max() < 2e-3  # kept in half precision


def test_states_of_another_block(bases):
    base = load_base_model(str(bases["llama"]), device="cpu", dtype="float32")
    ids = base.tokenizer(module.CONTEXT)["input_ids"]
    first = states(base, 1)
    rows = torch.tensor([[*ids, token] for token in range(len(first))])
    with torch.no_grad():
        expected = base.model(rows, output_hidden_states=True).hidden_states[1][:, -1]
    assert np.abs(first - (expected - expected.mean(dim=0)).numpy()).max() < 2e-3
    count = len(module.state_blocks(base))
    assert (states(base, (count + 1) // 2) == states(base)).all()
    for layer in (0, count + 1):
        with pytest.raises(InputError, match=f"no block {layer}; .* has 1 to {count}"):
            states(base, layer)


def test_planted_clusters_are_clusters_in_the_middle_of_the_model_too(base):
    found = states(base)
    unit = found / np.linalg.norm(found, axis=1, keepdims=True)
    inside = unit[3 : 3 + planted.MEMBERS]
    assert (inside @ inside.T).mean() > 0.5 > 0.1 > abs((unit @ unit.T).mean())


def test_the_second_time_comes_from_the_cache(base, planted_base, monkeypatch):
    first = graph(base)
    monkeypatch.setattr(module, "_graph", lambda _: pytest.fail("computed again"))
    again = graph(load_base_model(str(planted_base), device="cpu", dtype="float32"))
    assert (first.ids == again.ids).all()
    assert len(list(cache_dir("vocabulary").glob("*-graph-*.safetensors"))) == 1


@pytest.mark.parametrize("kind", ["llama", "gpt2", "t5"])
def test_looking_changes_nothing(bases, kind):
    base = load_base_model(str(bases[kind]), device="cpu", dtype="float32")
    before = fingerprint(base.model)
    assert states(base).shape == (259, 32)
    assert graph(base).ids.shape == (259, 15)
    assert fingerprint(base.model) == before
