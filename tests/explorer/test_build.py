import numpy as np
import pytest

import peftlens
from peftlens.errors import InputError
from peftlens.evaluation import probe_runner
from peftlens.explorer import build
from peftlens.explorer.data import KINDS
from peftlens.models.base_model import load_base_model
from peftlens.runs.config import RunConfig
from peftlens.tasks import task_of
from peftlens.vocab.nearest_neighbors import METRICS, nearest
from peftlens.vocab.vocabulary import vocabulary


@pytest.fixture
def explorer_data(context, planted_run):
    return build.build_explorer(context, [planted_run], {planted_run.id: "prompt"}, "pca")


def test_neighbors_are_those_of_the_probe(context, explorer_data, planted_run):
    rows = probe_runner.run_probe(context, planted_run, "soft_prompt_neighbors").frame
    (trail,) = explorer_data.trails
    assert trail.steps == planted_run.steps
    assert set(trail.near) == set(rows["metric"])
    for metric, (ids, similarity) in trail.near.items():
        for s, step in enumerate(trail.steps):
            own = rows[(rows["metric"] == metric) & (rows["step"] == step)]
            for p, row in enumerate(own.to_dict("records")):
                assert ids[s, p].tolist() == list(row["token_ids"])
                assert similarity[s, p].tolist() == list(row["similarities"])
                assert [explorer_data.tokens[token] for token in ids[s, p]] == list(row["tokens"])


def test_vectors_move_on_the_map_from_their_start(explorer_data):
    (trail,) = explorer_data.trails
    assert trail.xy.shape == (2, 6, 2)
    assert (trail.displacement[0] == 0).all()
    assert (trail.displacement[1] > 0).all()
    low, high = explorer_data.points.min(axis=0), explorer_data.points.max(axis=0)
    assert ((trail.xy >= low) & (trail.xy <= high)).all()


def test_the_plane_of_two_vectors(context, planted_run):
    one = build.build_explorer(context, [planted_run], {planted_run.id: "p"}, between=(0, 3))
    (trail,) = one.trails
    assert trail.xy[-1, 0, 1] == pytest.approx(0, abs=1e-6)  # the first axis is the first vector's
    assert one.projection == "a plane in the space"
    with pytest.raises(InputError, match="there is no vector 99"):
        build.build_explorer(context, [planted_run], {planted_run.id: "p"}, between=(0, 99))


def test_nearness_to_labels(context, explorer_data, planted_run):
    base = context.base_model(planted_run)
    labels = task_of(planted_run).labels
    for label in labels:
        ids = base.tokenizer(label, add_special_tokens=False)["input_ids"]
        if len(ids) == 1:
            assert explorer_data.task[ids[0]] == pytest.approx(1, abs=1e-5)
    assert explorer_data.task.min() >= 0


def test_verdicts_are_shown_once_they_were_tested(context, planted_run):
    assert (
        build.build_explorer(context, [planted_run], {planted_run.id: "p"}, "pca")
        .trails[0]
        .verdicts
        == []
    )
    probe_runner.run_probe(context, planted_run, "soft_prompt_null")
    (trail,) = build.build_explorer(context, [planted_run], {planted_run.id: "p"}, "pca").trails
    assert np.shape(trail.verdicts) == np.shape(trail.q) == (2, 6)
    assert trail.verdict


@pytest.mark.parametrize(
    ("token", "kind"),
    [("␣word", "begins a word"), ("ing", "continues a word"), ("␣42", "digits"),
     ("!?", "punctuation and symbols"),
     ("<Ġ>", "part of a character"), ("␣", "punctuation and symbols"), ("é", "continues a word")],
)  # fmt: skip
def test_kinds(token, kind):
    assert KINDS[build._kind(token.removeprefix("␣"), token.startswith("␣"))] == kind


def test_kinds_of_word_pieces(word_pieces):
    base = load_base_model(str(word_pieces), device="cpu", dtype="float32")
    known = vocabulary(base)
    found = dict(zip(known.tokens, (KINDS[kind] for kind in build._kinds(known)), strict=True))
    expected = {
        "good": "begins a word", "##ing": "continues a word", "7": "digits", "##7": "digits",
        ",": "punctuation and symbols",
        "[CLS]": "special", "[MASK]": "special", "[unused1]": "never trained",
    }  # fmt: skip
    assert {token: found[token] for token in expected} == expected


def test_nothing_to_draw(context, planted_base, planted_words, tmp_path):
    config = RunConfig(
        method="lora",
        task=f"file:{planted_words}",
        base_model=str(planted_base),
        device="cpu",
        dtype="float32",
        training={"max_steps": 1, "batch_size": 4},
    )
    run = peftlens.train(config, tmp_path / "runs")
    with pytest.raises(InputError, match="lora: no run has trained vectors"):
        build.build_explorer(context, [run], {run.id: "x"}, "pca")
    (shift,) = build.build_explorer(context, [run], {run.id: "x"}, "pca", logits=True).shifts
    rows = probe_runner.run_probe(context, run, "logit_shift").frame
    raised = rows[rows["direction"] == "raised"]
    assert [token for token, _ in shift.raised] == raised["token_id"].tolist()
    assert build.build_explorer(context, [run], {run.id: "x"}, "pca").shifts == (
        shift,
    )  # it is known now
    placed = build.build_explorer(context, [run], {run.id: "x"}, "pca", directions=True)
    (inside,) = placed.directions
    assert {one.kind for one in inside.points} == {"difference", "reads"}
    assert inside.name == "x"


def test_the_title_of_one_run_is_its_name(planted_run):
    names = {planted_run.id: "prompt"}
    assert build.title("4a6d9e882e5a", [planted_run], names) == "prompt"
    assert build.title("study", [planted_run, planted_run], names) == "study"


def test_the_page_keeps_the_nearest_tokens_of_every_token(context, explorer_data, planted_run):
    table = vocabulary(context.base_model(planted_run)).table
    pairs = explorer_data.neighbors
    assert pairs.metrics == METRICS
    found = {*zip(pairs.low.tolist(), pairs.high.tolist(), strict=True)}
    ids = nearest(table, table, build.KEPT + 1, "euclidean").ids
    for token in range(0, len(table), 7):
        others = [int(one) for one in ids[token] if one != token][: build.KEPT]
        assert {(min(token, one), max(token, one)) for one in others} <= found
    without = build.build_explorer(
        context, [planted_run], {planted_run.id: "p"}, "pca", neighbors=False
    )
    assert without.neighbors is None


def test_vectors_have_places_in_space(explorer_data):
    (trail,) = explorer_data.trails
    assert trail.space.shape == (2, 6, 3)
    low, high = explorer_data.space.min(axis=0), explorer_data.space.max(axis=0)
    assert ((trail.space >= low) & (trail.space <= high)).all()


def test_a_large_vocabulary_keeps_neighbors_by_cosine_alone(context, planted_run, monkeypatch):
    monkeypatch.setattr(build, "MANY", 10)
    data = build.build_explorer(context, [planted_run], {planted_run.id: "p"}, "pca")
    assert (data.neighbors.metrics, data.neighbors.k) == (("cosine",), build.FEW)
