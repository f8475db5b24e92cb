import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from peftlens.adapters.external import ExternalAdapter
from peftlens.data.collate import Collator
from peftlens.diffing.ablation import OUTSIDE, Unit
from peftlens.diffing.random_updates import open_random_update
from peftlens.errors import InputError
from peftlens.probes import layer_ablation
from peftlens.probes.layer_ablation import Config, _smallest, measure
from peftlens.results.table import NotApplicable
from peftlens.tasks import task_of

FEW = Config(items=4, draws=3)


def rows(frame, active):
    return frame[frame["active"] == active]


def test_all_is_the_run_and_none_the_base(context, trained):
    frame = measure(context, trained("full", learning_rate=0.02), FEW)
    none, whole = rows(frame, "none").iloc[0], rows(frame, "all").iloc[0]
    assert none["gain"] == 0
    assert none["kl"] > 0
    assert whole["kl"] == pytest.approx(0, abs=1e-6)
    assert whole["gain"] == pytest.approx(none["loss"] - whole["loss"])
    assert whole["gain_share"] == pytest.approx(1)
    assert whole["blocks"] == [0, 1, 2, 3]
    alone = rows(frame, "this block alone")
    assert alone["block"].tolist()[:3] == [1, 2, 3]
    assert alone["block"].isna().tolist() == [False] * 3 + [True]  # embeddings and the last norm
    assert len(rows(frame, "all but this block")) == 4
    assert set(rows(frame, "this kind alone")["kind"]) == {"attention", "feed_forward", "other"}
    assert len(rows(frame, "random set")) == 3
    assert rows(frame, "smallest set")["p"].between(0.25, 1).all()


def test_a_run_of_one_block_sits_in_that_block(context, trained):
    frame = measure(context, trained("last_layers", learning_rate=0.02, blocks=1), FEW)
    (smallest,) = rows(frame, "smallest set")["blocks"]
    assert smallest == [3]
    assert rows(frame, "this block alone")["block"].tolist() == [3]
    assert rows(frame, "this block alone")["gain_share"].iloc[0] == pytest.approx(1)
    assert rows(frame, "all but this block")["gain_share"].iloc[0] == pytest.approx(0, abs=1e-6)


def plain_loss(model, item):
    """Loss of the right answer, nats per token, by one plain forward pass."""
    row = item.rows[item.correct]
    logs = model(torch.tensor([[*row.prompt, *row.answer[:-1]]])).logits[0].log_softmax(dim=1)
    targets = torch.tensor(row.answer)
    return -logs[-len(targets) :].gather(1, targets[:, None]).mean().item()


def test_random_updates_are_scored_as_plain_forward_passes(context, trained):
    run = trained("lora", rank=2, learning_rate=0.1)
    frame = measure(context, run, Config(items=4, draws=1, random_updates=2))
    base, null, whole = context.base_model(run), rows(frame, "random update"), rows(frame, "all")
    items, _ = Collator.of(base, 64).items(task_of(run).splits["test"][:4])
    for seed, row in enumerate(null.itertuples()):
        with open_random_update(run, base, seed) as model, torch.inference_mode():
            losses = [plain_loss(model, item) for item in items]
        assert row.loss == pytest.approx(np.mean(losses), abs=1e-4)
        assert row.gain == pytest.approx(rows(frame, "none")["loss"].iloc[0] - row.loss)
    assert null["gain"].nunique() == 2
    # training found more than any change of this size gives
    assert (null["gain"] < whole["gain"].iloc[0] / 2).all()
    assert (null["kl"] > 0.01).all()
    assert null["blocks"].isna().all()


def test_no_random_updates_where_the_start_is_unknown(context, trained):
    run = trained("pissa", rank=2)
    texts = Path(__file__)  # any text
    adapter = ExternalAdapter(run.adapter(), run.config.base_model)
    for one, n in ((run, 3), (adapter, 0)):
        frame = measure(context, one, Config(items=2, draws=1, texts=str(texts)))
        assert len(rows(frame, "random update")) == n
    frame = measure(context, run, Config(items=2, draws=1, random_updates=0))
    assert rows(frame, "random update").empty


class Planted:
    """Scorer of a run whose gain is a function of its active blocks."""

    def __init__(self, gain):
        self.gain = gain
        self.ablation = SimpleNamespace(
            units=tuple(Unit(block, "attention") for block in (0, 1, 2, 3, OUTSIDE))
        )

    def score(self, units, _=None):
        active = {unit.block for unit in units}
        loss = np.full(4, 10 - self.gain(active))
        return SimpleNamespace(units=frozenset(units), scores=SimpleNamespace(loss=loss))


def test_the_smallest_set_of_planted_gains():
    gains = {0: 5.0, 1: 0.1, 2: 0.0, 3: 4.8, OUTSIDE: 0.1}
    found = _smallest(Planted(lambda active: sum(gains[block] for block in active)), 0.95)
    assert {unit.block for unit in found} == {0, 3}
    # of two blocks that do the same, one is enough
    found = _smallest(Planted(lambda active: 3.0 * bool(active & {1, 2}) + (3 in active)), 0.95)
    assert 3 in {unit.block for unit in found}
    assert len(found) == 2
    assert _smallest(Planted(lambda _: 0.0), 0.95) is None
    assert _smallest(Planted(lambda active: -float(len(active))), 0.95) is None


def test_neighbors_are_switched_together_in_a_deep_model(context, trained, monkeypatch):
    run = trained("full", learning_rate=0.02)
    one_by_one = measure(context, run, FEW)
    monkeypatch.setattr(layer_ablation, "GROUPS", 2)
    frame = measure(context, run, FEW)
    alone = rows(frame, "this block alone")
    assert alone["block"].fillna(0).tolist() == [1, 3, 0]
    assert [blocks if isinstance(blocks, list) else None for blocks in alone["blocks"]] == [
        [1, 2], None, None,
    ]  # fmt: skip
    # the third block is a group of its own, and measured as before
    single = rows(one_by_one, "this block alone")
    for column in ("loss", "gain", "kl"):
        assert alone[column].iloc[1] == pytest.approx(single[column].iloc[2], abs=1e-6)
    sets = pd.concat([rows(frame, "smallest set"), rows(frame, "random set")])["blocks"]
    assert all((1 in blocks) == (2 in blocks) for blocks in sets)
    sizes = {len({2 if block == 1 else block for block in blocks}) for blocks in sets}
    assert len(sizes) == 1  # as many groups in each


def test_an_adapter_of_unknown_task_is_scored_on_texts_of_the_user_s(
    context, trained, bases, tmp_path
):
    run = trained("lora", rank=2, learning_rate=0.02)
    folder = shutil.copytree(run.adapter(), tmp_path / "adapter")
    adapter = ExternalAdapter(folder, str(bases["llama"]))
    with pytest.raises(NotApplicable, match="task"):
        measure(context, adapter, FEW)
    file = tmp_path / "texts.txt"
    file.write_text("".join(f"good {n} up\n" for n in range(8)))
    frame = measure(context, adapter, Config(items=4, draws=2, texts=str(file)))
    assert set(frame["n_items"]) == {4}
    assert rows(frame, "none")["kl"].iloc[0] > 0
    assert frame["accuracy"].isna().all()
    file.write_text("one\ntwo\n")
    with pytest.raises(InputError, match="fewer than four texts"):
        measure(context, adapter, Config(texts=str(file)))


def test_options_out_of_range_are_told(context, lora):
    for options in ({"items": 1}, {"kept": 1.5}, {"draws": 0}, {"random_updates": -1}):
        with pytest.raises(InputError, match=next(iter(options))):
            measure(context, lora, Config(**options))


def test_a_soft_prompt_has_no_blocks(context, trained):
    with pytest.raises(NotApplicable, match="nothing inside the model's blocks"):
        measure(context, trained("prompt_tuning", num_virtual_tokens=2), FEW)
