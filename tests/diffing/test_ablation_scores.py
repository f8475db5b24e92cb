import json

import numpy as np
import pytest
import torch
from small_runs import small_trainer

from peftlens.adapters.checkpoint import open_run
from peftlens.data.collate import Collator
from peftlens.diffing.ablation import opened_for_ablation
from peftlens.diffing.ablation_scores import AblationScorer
from peftlens.models.base_model import load_base_model
from peftlens.tasks import task_of


@pytest.fixture(scope="module")
def letters(tmp_path_factory):
    """Rows whose answers are one letter behind a space."""
    rows = [{"text": f"word {n}", "label": "up"[n % 2]} for n in range(60)]
    file = tmp_path_factory.mktemp("data") / "letters.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


@pytest.fixture(scope="module")
def train(bases, letters, tmp_path_factory):
    return small_trainer(
        bases, letters, tmp_path_factory.mktemp("runs"), max_steps=4, learning_rate=0.02
    )


@pytest.fixture(scope="module")
def base(bases):
    return load_base_model(str(bases["llama"]), device="cpu", dtype="float32")


def scored(run, base):
    collator = Collator.of(base, 64)
    items, _ = collator.items(task_of(run).splits["test"][:5])
    return collator, items


def test_scores_are_those_of_plain_forward_passes(train, base):
    run = train("full")
    collator, items = scored(run, base)
    with opened_for_ablation(run, base) as ablation:
        own = AblationScorer(ablation, collator, items).score(()).scores

    def logs(model, row):
        ids = torch.tensor([[*row.prompt, *row.answer[:-1]]])
        with torch.inference_mode():
            last = model(ids).logits[0, -len(row.answer) :]
        return last.double().log_softmax(dim=-1)

    for index, item in enumerate(items):
        row = item.rows[item.correct]
        before = logs(base.model, row)
        with open_run(run, base) as model:
            after = logs(model, row)
        targets = torch.tensor(row.answer)
        loss = -before[torch.arange(len(targets)), targets].mean()
        kl = (after.exp() * (after - before)).sum(dim=1).mean()
        ends = [before[-1, one.answer[-1]].item() for one in item.rows]
        assert own.loss[index] == pytest.approx(loss.item(), abs=1e-4)
        assert own.kl[index] == pytest.approx(kl.item(), abs=1e-4)
        assert own.correct[index] == (np.argmax(ends) == item.correct)
        label_loss = np.logaddexp.reduce(ends) - ends[item.correct]
        assert own.label_loss[index] == pytest.approx(label_loss, abs=1e-4)


@pytest.mark.parametrize("method", ["lora", "full", "loreft", "prefix_tuning"])
def test_passes_that_start_from_another_s_states_are_equal(method, train, base):
    run = train(method)
    with opened_for_ablation(run, base) as ablation:
        scorer = AblationScorer(ablation, *scored(run, base))
        whole = scorer.score(ablation.units)
        assert np.abs(whole.scores.kl).max() < 1e-6
        assert scorer.score_model(ablation.model).loss == pytest.approx(whole.scores.loss)
        for block in (0, 2):
            units = [unit for unit in ablation.units if unit.block != block]
            plain = scorer.score(units)
            started = scorer.score(units, whole)
            assert started.scores.loss == pytest.approx(plain.scores.loss, abs=1e-5)
            assert np.abs(plain.scores.loss - whole.scores.loss).max() > 1e-4
            again = scorer.score(ablation.units, started)  # whose states below are whole's
            assert again.scores.loss == pytest.approx(whole.scores.loss, abs=1e-5)


def test_an_encoder_decoder_is_scored_without_shared_states(train, bases):
    run = train("lora", "t5", rank=2)
    base = load_base_model(str(bases["t5"]), device="cpu", dtype="float32")
    with opened_for_ablation(run, base) as ablation:
        scorer = AblationScorer(ablation, *scored(run, base))
        assert scorer.score(()).states == ()
        assert len({unit.block for unit in ablation.units}) == 4
        assert scorer.score(()).scores.kl.min() > 0
