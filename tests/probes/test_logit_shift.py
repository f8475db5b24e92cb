import pytest
import torch

import peftlens
from peftlens.probes.logit_shift import Config, measure
from peftlens.runs.config import RunConfig
from peftlens.tasks import load_task


@pytest.fixture
def trained(bases, words, tmp_path):
    def train(method, **training):
        return peftlens.train(
            RunConfig(
                method=method, task=f"file:{words}", base_model=str(bases["llama"]), device="cpu",
                dtype="float32", training={"max_steps": 5, "learning_rate": 0.01} | training,
            ),
            tmp_path / "runs",
        )  # fmt: skip

    return train


def test_changes_are_those_of_a_plain_forward_pass(context, trained, bases):
    run = trained("full")
    frame = measure(context, run, Config(items=1, tokens=5))
    assert frame["direction"].tolist() == ["raised"] * 5 + ["lowered"] * 5
    base = peftlens.load_base_model(str(bases["llama"]), device="cpu", dtype="float32")
    text = load_task("passages_short", {}).splits["test"][0].answers[0]
    ids = base.tokenizer(text, return_tensors="pt")["input_ids"][:, :64]  # half of what it reads
    with torch.inference_mode():
        logits = [model(ids).logits[0, :-1] for model in (base.model, run.load()[0])]
    means = [(one - one.mean(dim=-1, keepdim=True)).mean(dim=0) for one in logits]
    change = means[1] - means[0]
    for row in frame.to_dict("records"):
        assert row["change"] == pytest.approx(change[row["token_id"]].item(), abs=1e-4)
    assert frame["token_id"].iloc[0] == int(change.argmax())
    assert frame["token_id"].iloc[5] == int(change.argmin())
    assert frame["n_tokens"].iloc[0] == len(ids[0]) - 1


def test_what_starts_as_the_base_shifts_nothing(context, trained):
    frame = measure(context, trained("lora", max_steps=0), Config(items=2))
    assert frame["change"].abs().max() == 0


def test_answers_of_a_task_are_read_too(context, trained, words):
    run = trained("lora")
    frame = measure(context, run, Config(suite=f"file:{words}", items=4, tokens=2))
    assert len(frame) == 4
    assert frame["change"].abs().max() > 0
