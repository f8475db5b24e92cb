import pytest
import torch

from peftlens.errors import InputError
from peftlens.explorer import query
from peftlens.explorer.query import QueryVectors, neighbors, vector
from peftlens.vocab.nearest_neighbors import nearest
from peftlens.vocab.vocabulary import vocabulary


@pytest.fixture
def known(llama):
    return vocabulary(llama)


def test_a_token_by_its_id_is_nearest_to_itself(llama, known):
    first, *_ = neighbors(llama, "#65", k=3)
    assert first.similarity == pytest.approx(1)
    assert torch.equal(known.table[first.token_id], known.table[65])


def test_a_text_is_the_mean_of_its_tokens(llama, known):
    ids = llama.tokenizer(" good", add_special_tokens=False)["input_ids"]
    assert torch.allclose(vector(llama, "good"), known.table[ids].mean(dim=0))
    bare = llama.tokenizer("good", add_special_tokens=False)["input_ids"]
    assert torch.allclose(vector(llama, '"good"'), known.table[bare].mean(dim=0))


def test_sums_and_differences(llama, known):
    expected = known.table[65] - known.table[66] + known.table[67]
    assert torch.allclose(vector(llama, "#65 - #66 + #67"), expected)
    found = neighbors(llama, "#65 - #66 + #67", "dot", 5)
    plain = nearest(expected[None], known.table, 5, "dot")
    assert [one.token_id for one in found] == plain.ids[0].tolist()


def test_vectors_of_a_run(llama):
    trained = torch.randn(2, vocabulary(llama).table.shape[1])
    given = QueryVectors(trained, (3, 7))
    assert torch.equal(vector(llama, "[7]", given), trained[1])
    with pytest.raises(InputError, match=r"\[5\]: no such vector; there are \[3\], \[7\]"):
        vector(llama, "[5]", given)
    with pytest.raises(InputError, match="choose a run"):
        vector(llama, "[5]")


@pytest.mark.parametrize("metric", query.METRICS)
def test_every_metric(llama, metric):
    assert len(neighbors(llama, "good", metric, 4)) == 4


@pytest.mark.parametrize(
    ("requested", "message"),
    [
        ({"query": " "}, "the query is empty"),
        ({"query": "x" * 2000}, "2,000 characters"),
        ({"query": "#999999"}, "there are"),
        ({"query": "#65 - #65"}, "is zero: its terms cancel"),
        ({"query": "x", "metric": "manhattan"}, "no metric named"),
        ({"query": "x", "k": 0}, "choose 1 to 200"),
    ],
)
def test_mistakes(llama, requested, message):
    with pytest.raises(InputError, match=message):
        neighbors(llama, **requested)
