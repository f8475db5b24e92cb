import shutil

import numpy as np
import pandas as pd
import pytest

from peftlens.adapters.checkpoint import open_run
from peftlens.adapters.external import ExternalAdapter
from peftlens.diffing.directions import Component
from peftlens.diffing.word_relevance import WordScores
from peftlens.errors import InputError
from peftlens.models.base_model import load_base_model
from peftlens.probes.update_directions import Config, _OneSide, _rows, _tested, measure
from peftlens.results.table import NotApplicable
from peftlens.vocab.vocabulary import readable

FEW = Config(directions=2, task_items=4, general_items=2, random=3)


@pytest.fixture(scope="module")
def full_run(trained):
    return trained("full", learning_rate=0.02)


def test_sides_of_full_fine_tuning(context, full_run):
    frame = measure(context, full_run, FEW)
    assert len(frame) == 3 * 7 * 2 * 2  # blocks, matrices, directions, signs
    wrote = frame[frame["side"] == "writes"]
    assert {name.split(".")[-2] for name in wrote["weight"]} == {"o_proj", "down_proj"}
    assert frame["sign"].tolist() == [1, -1] * 42
    assert frame["auc"].between(0, 1).all()
    assert frame["q_auc"].ge(frame["p_auc"]).all()
    assert frame["auc"].to_numpy()[::2].tolist() == frame["auc"].to_numpy()[1::2].tolist()
    assert frame["cluster_share"].between(0, 1).all()
    assert frame["p"].isna().all()  # a vocabulary of bytes has no words


def test_first_tokens_are_those_of_a_dense_decomposition(context, full_run, bases):
    frame = measure(context, full_run, FEW)
    base = load_base_model(str(bases["llama"]), device="cpu", dtype="float32")
    name = "model.layers.1.self_attn.o_proj.weight"
    before = base.model.get_parameter(name).detach().clone()
    with open_run(full_run, base) as model:
        change = (model.get_parameter(name) - before).detach().double().numpy()
    u, _, vt = np.linalg.svd(change)
    sign = np.sign(vt[0][np.abs(vt[0]).argmax()])
    norm, head = base.model.model.norm, base.model.lm_head
    direction = norm.weight.new_tensor(sign * u[:, 0])
    logits = head(norm(direction)).detach().numpy()
    rows = frame[(frame["weight"] == name) & (frame["direction"] == 1)]
    for one, values in zip(rows["words"], (logits, -logits), strict=True):
        best = np.argsort(-values, kind="stable")[:10]
        assert one == [readable(base.tokenizer, int(token)) for token in best]


@pytest.mark.parametrize("method", ["bottleneck", "ia3", "parallel_adapter"])
def test_other_methods_with_directions_in_the_stream(context, trained, method):
    frame = measure(context, trained(method, learning_rate=0.02), FEW)
    assert {"writes", "reads"} >= set(frame["side"])
    assert frame["q_auc"].between(0, 1).all()
    assert frame["task_tokens"].map(len).between(1, 10).all()


@pytest.mark.parametrize("method", ["prompt_tuning", "ln_tuning", "embeddings"])
def test_methods_without_any_say_so(context, trained, method):
    with pytest.raises(NotApplicable, match="no weight"):
        measure(context, trained(method), FEW)


def test_an_adapter_of_unknown_task_is_read_without_a_test(context, trained, bases, tmp_path):
    folder = shutil.copytree(trained("lora", rank=2).adapter(), tmp_path / "adapter")
    adapter = ExternalAdapter(folder, str(bases["llama"]))
    frame = measure(context, adapter, FEW)
    assert frame["relevant"].isna().all()
    assert frame["task_tokens"].isna().all()
    assert frame["words"].map(len).eq(10).all()
    with pytest.raises(InputError, match="is not a text file"):
        measure(context, adapter, Config(texts=str(tmp_path / "missing.txt")))


def test_options_out_of_range_are_told(context, lora):
    for options in ({"directions": 0}, {"words": 0}, {"random": 0}):
        with pytest.raises(InputError, match=next(iter(options))):
            measure(context, lora, Config(**options))


def test_a_planted_direction_is_relevant_and_a_random_one_is_not(llama):
    """Letters stand for words, and five of them for those of the training text."""
    letters = np.arange(260 - 61, 259)
    scores = WordScores(
        tokens=letters,
        words=tuple(f"word{number}" for number in letters),
        family=np.where(np.arange(259) >= letters[0], np.arange(259) - letters[0], -1),
        scores=np.where(np.arange(60) < 5, 9.0, 0.0),
        bins=(np.arange(60),),
    )
    table = llama.model.get_input_embeddings().weight.detach().double().numpy()
    table = table - table.mean(axis=0)
    table = table / np.linalg.norm(table, axis=1, keepdims=True)
    planted = table[letters[:5]].sum(axis=0)
    other = table[letters[20:25]].sum(axis=0)
    vectors = np.stack([one / np.linalg.norm(one) for one in (planted, other)], axis=1)
    one = np.ones(2)
    component = Component(
        weight="model.layers.2.mlp.up_proj.weight", module="model.layers.2.mlp.up_proj",
        values=one, shares=one / 2, separation=one, reads=vectors, writes=None,
    )  # fmt: skip
    config = Config(words=5, random=10)
    rows = _rows(
        _OneSide(component=component, side="reads", vectors=vectors), llama, scores, config
    )
    frame = _tested(pd.DataFrame(rows), llama, scores, config)
    assert frame["block"].tolist() == [3] * 4
    assert frame["relevant"].tolist() == [True, False, False, False]
    assert set(frame["typical_words"][0]) <= set(scores.words[:5])
    assert len(frame["typical_words"][0]) >= 3
    assert frame["found"].iloc[0] == (frame["p"] <= 0.05).mean()
    assert frame["found_random"].iloc[0] < 0.3
    assert frame["power_at_0.2"].between(0, 1).all()
