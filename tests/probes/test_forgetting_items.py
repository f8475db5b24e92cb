import pandas as pd
import pytest
import torch
from torch.nn.functional import cross_entropy

import peftlens
from peftlens.evaluation import probe_runner
from peftlens.probes import forgetting, forgetting_items
from peftlens.probes.forgetting_items import Config, measure
from peftlens.results.item_changes import item_changes
from peftlens.runs.config import RunConfig
from peftlens.tasks import load_task

CONFIG = Config(suites=("passages_short", "openbookqa"), items=40)


@pytest.fixture
def run(bases, words, tmp_path):
    return peftlens.train(
        RunConfig(
            method="prompt_tuning", task=f"file:{words}", base_model=str(bases["llama"]),
            device="cpu", dtype="float32", training={"max_steps": 4, "checkpoint_steps": [0]},
        ),
        tmp_path,
    )  # fmt: skip


def test_an_item_is_a_text_or_a_question(context, run, bases):
    frame = measure(context, run, CONFIG)
    counts = frame.groupby(["step", "suite"])["item"].nunique()
    assert counts.unstack().to_numpy().tolist() == [[39, 30]] * 2  # one question is too long
    texts = frame[(frame["suite"] == "passages_short") & (frame["step"] == 4)]
    assert texts["right"].isna().all()
    assert frame[frame["suite"] == "openbookqa"]["tokens"].isna().all()
    model = run.load()[0]
    tokenizer = context.base_models.get(
        str(bases["llama"]), device="cpu", dtype="float32"
    ).tokenizer
    for row in texts.head(5).to_dict("records"):
        text = load_task("passages_short", {}).splits["test"][row["item"]].answers[0]
        ids = tokenizer(text, return_tensors="pt")["input_ids"][:, :64]  # half of the context
        with torch.inference_mode():
            logits = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
        loss = cross_entropy(logits[0, -ids.shape[1] : -1], ids[0, 1:], reduction="sum").item()
        assert (row["tokens"], row["loss"]) == (ids.shape[1] - 1, pytest.approx(loss, abs=1e-3))


def test_forgetting_aggregates_it_without_scoring_again(context, run, monkeypatch):
    options = {"forgetting": {"suites": CONFIG.suites, "items": CONFIG.items}}
    items = probe_runner.run_probe(context, run, "forgetting_items", options).frame
    monkeypatch.setattr(forgetting_items, "scores", lambda *_: pytest.fail("scored again"))
    found = probe_runner.run_probe(context, run, "forgetting", options).frame
    changes = item_changes(items.assign(run="r"))
    means = changes.groupby(["step", "suite"])[["forgetting", "accuracy_change"]].mean()
    whole = found.set_index(["step", "suite"])[means.columns].astype(float)
    pd.testing.assert_frame_equal(whole.sort_index(), means)
    assert found["ci_low"].notna().sum() == 2


def test_a_reason_is_passed_on(context, run, monkeypatch):
    from peftlens.results.table import NotApplicable

    def refuse(*_):
        raise NotApplicable("no suite")

    monkeypatch.setattr(forgetting_items, "measure", refuse)
    with pytest.raises(NotApplicable, match="no suite"):
        forgetting.measure(context, run, CONFIG)


def test_an_encoder_has_the_same_table_of_masked_tokens(context, word_pieces, words, tmp_path):
    run = peftlens.train(
        RunConfig(
            method="full", task=f"file:{words}", base_model=str(word_pieces), device="cpu",
            dtype="float32",
            training={"max_steps": 4, "checkpoint_steps": [0], "learning_rate": 1e-2},
        ),
        tmp_path,
    )  # fmt: skip
    options = {"forgetting": {"suites": ("passages_short", "openbookqa")}}
    items = probe_runner.run_probe(context, run, "forgetting_items", options).frame
    assert set(items["suite"]) == {"passages_short, masked tokens"}
    assert items["tokens"].tolist() == [16] * 60
    assert items["right"].isna().all()
    start, end = items[items["step"] == 0], items[items["step"] == 4]
    assert (start["loss"] == start["base_loss"]).all()
    assert (start["kl"] == 0).all()
    assert (end["kl"] > 0).all()
    found = probe_runner.run_probe(context, run, "forgetting", options).frame
    change = (end["loss"] - end["base_loss"]).sum() / (16 * 30)
    assert found["forgetting"].tolist() == [0, pytest.approx(change)]
    assert (found["ci_low"] <= found["forgetting"]).all()
