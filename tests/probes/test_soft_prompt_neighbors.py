import planted
import pytest
import torch

import peftlens
from peftlens.models.base_model import load_base_model
from peftlens.probes import soft_prompt_neighbors
from peftlens.runs.config import RunConfig
from peftlens.vocab.vocabulary import vocabulary


def test_an_untrained_prompt_is_nearest_to_the_tokens_it_started_from(
    context, bases, words, tmp_path
):
    run = peftlens.train(
        RunConfig(method="prompt_tuning", task=f"file:{words}", base_model=str(bases["llama"]),
                  device="cpu", dtype="float32",
                  method_config={"num_virtual_tokens": 3, "init": "text", "init_text": "cab"},
                  training={"max_steps": 5, "checkpoint_steps": [0], "learning_rate": 0.3}),
        tmp_path,
    )  # fmt: skip
    frame = soft_prompt_neighbors.measure(context, run)
    assert len(frame) == 2 * 3 * 5  # steps, virtual tokens, metrics
    start = frame[(frame["step"] == 0) & (frame["metric"] == "cosine")]
    assert [tokens[0] for tokens in start["tokens"]] == ["c", "a", "b"]
    assert start["start_token"].tolist() == ["c", "a", "b"]
    assert start["nearest_unchanged"].all()
    assert start["similarity"].min() > 0.9999
    assert (start["relative_displacement"] == 0).all()
    assert (start["off_vocabulary"] == 0).all()  # no token is as near to another
    end = frame[(frame["step"] == 5) & (frame["metric"] == "cosine")]
    assert (end["relative_displacement"] > 0).all()
    assert (end["start_token"] == start["start_token"].to_numpy()).all()


def test_movement_and_places_by_hand(context, planted_run, planted_base):
    known = vocabulary(load_base_model(str(planted_base), device="cpu", dtype="float32"))
    rows = known.table[[50, 60, 70, 80, 90, 2]]
    planted.put(planted_run, 3 * rows)
    frame = soft_prompt_neighbors.measure(context, planted_run)
    last = frame[(frame["step"] == 2) & (frame["metric"] == "cosine")].reset_index()
    assert [ids[0] for ids in last["token_ids"]] == [50, 60, 70, 80, 90, 2]
    assert [values[0] for values in last["similarities"]] == last["similarity"].tolist()
    assert (last["norm_percentile"] == 1).all()  # three times as long as a token
    assert last["flags"][5].startswith("<unk>: special")
    start = frame[(frame["step"] == 0) & (frame["metric"] == "cosine")]
    first = known.table[[ids[0] for ids in start["token_ids"]]]
    cosines = torch.cosine_similarity(rows, first, dim=1)  # whatever the length
    assert last["start_cosine"].tolist() == pytest.approx(cosines.tolist(), abs=1e-4)
    assert start["start_cosine"].tolist() == pytest.approx([1.0] * 6, abs=1e-4)
    expected = (3 * rows - first).norm(dim=1) / first.norm(dim=1)
    assert last["relative_displacement"].tolist() == pytest.approx(expected.tolist(), rel=1e-4)


def test_fewer_families_than_neighbors_are_counted(context, planted_run, planted_base):
    base = load_base_model(str(planted_base), device="cpu", dtype="float32")
    planted.put(planted_run, planted.around(0, 6, spread=0.01))
    frame = soft_prompt_neighbors.measure(context, planted_run)
    last = frame[frame["step"] == 2]
    assert {*last["families"]} == {5}  # made-up words: each is a family of its own
    inside = set(range(3, 3 + planted.MEMBERS))
    cosine = last[last["metric"] == "cosine"]
    assert all({*ids} <= inside for ids in cosine["token_ids"])
    unit = torch.nn.functional.normalize(vocabulary(base).table)
    ids = cosine["token_ids"].iloc[0]
    pairs = (unit[ids] @ unit[ids].T).triu(1).sum() / 10
    assert cosine["tightness"].iloc[0] == pytest.approx(float(pairs), rel=1e-4)


def test_random_steps_are_as_long_as_the_training(context, planted_run, planted_base):
    base = load_base_model(str(planted_base), device="cpu", dtype="float32")
    planted.put(planted_run, planted.around(0, 6, spread=0.01))
    frame = soft_prompt_neighbors.measure(context, planted_run)
    start, last = frame[frame["step"] == 0], frame[frame["step"] == 2]
    # without a step there is the start, which is at tokens
    assert start["random_step_similarity"].min() > 0.999
    assert (last.groupby("position")["random_step_similarity"].nunique() == 1).all()
    # a step of length m |p0| at a right angle leaves a cosine of 1 / sqrt(1 + m²) to the start
    one = last[last["metric"] == "cosine"]
    expected = 1 / (1 + one["relative_displacement"] ** 2) ** 0.5
    width = vocabulary(base).table.shape[1]
    assert (one["random_step_similarity"] > expected - 3 / width**0.5).all()
    assert one["random_step_similarity"].max() < 1
    again = soft_prompt_neighbors.measure(context, planted_run)
    assert again["random_step_similarity"].equals(frame["random_step_similarity"])
