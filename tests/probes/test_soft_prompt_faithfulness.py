import peft
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import peftlens
from peftlens.data.collate import Collator
from peftlens.evaluation.log_likelihood import choose
from peftlens.probes import soft_prompt_faithfulness as probe
from peftlens.results.table import NotApplicable
from peftlens.runs.config import RunConfig
from peftlens.tasks import task_of
from peftlens.vocab.trained_vectors import trained_vectors


@pytest.fixture(params=["llama", "t5"])
def run(request, bases, words, tmp_path):
    return peftlens.train(
        RunConfig(
            method="prompt_tuning",
            task=f"file:{words}",
            base_model=str(bases[request.param]),
            device="cpu",
            dtype="float32",
            method_config={"num_virtual_tokens": 3},
            training={"max_steps": 5, "learning_rate": 0.3},
        ),
        tmp_path,
    )


def test_each_prompt_is_scored_as_a_model_that_has_it(context, run):
    frame = probe.measure(context, run).set_index("prompt")
    base = context.base_model(run)
    encoder = Collator.of(base, 256)
    items, _ = encoder.items(task_of(run).splits["test"])
    for name, model in {
        "trained": run.load(device="cpu")[0],
        "none": base.model,
    }.items():
        expected = choose(model, encoder, items)
        assert frame.loc[name, "loss"] == pytest.approx(expected.loss.mean(), abs=1e-6)
        accuracy = (expected.by_sum == expected.correct).mean()
        assert frame.loc[name, "accuracy"] == pytest.approx(accuracy)
        assert frame.loc[name, "n_items"] == len(items)
    assert frame.loc["trained", "gap"] == 0
    gap = frame.loc["none", "loss"] - frame.loc["trained", "loss"]
    assert frame.loc["none", "gap"] == pytest.approx(gap)
    assert frame.loc["none", "gap_ci_low"] <= gap <= frame.loc["none", "gap_ci_high"]


def test_the_trained_head_of_an_encoder_reads_every_prompt(context, encoders, words, tmp_path):
    """Losses are those of plain peft with the prompt, and of its trained head without one."""
    run = peftlens.train(
        RunConfig(
            method="prompt_tuning", task=f"file:{words}", base_model=str(encoders["bert"]),
            device="cpu", dtype="float32", method_config={"num_virtual_tokens": 3},
            training={"max_steps": 5, "learning_rate": 0.3},
        ),
        tmp_path,
    )  # fmt: skip
    frame = probe.measure(context, run).set_index("prompt")
    plain = AutoModelForSequenceClassification.from_pretrained(encoders["bert"], num_labels=2)
    model = peft.PeftModel.from_pretrained(plain, run.path / "adapter").eval()
    tokenizer = AutoTokenizer.from_pretrained(encoders["bert"])
    inside = model.get_base_model()
    losses = {"trained": [], "none": []}
    for one in task_of(run).splits["test"]:
        inputs = {k: v for k, v in tokenizer(one.prompt, return_tensors="pt").items()
                  if k != "token_type_ids"}  # fmt: skip
        with torch.inference_mode():
            for name, read in (("trained", model), ("none", inside)):
                logs = read(**inputs).logits.log_softmax(dim=-1)
                losses[name].append(-logs[0, one.correct].item())
    for name, values in losses.items():
        assert frame.loc[name, "loss"] == pytest.approx(sum(values) / len(values), abs=1e-5)
    assert abs(frame.loc["none", "gap"]) > 1e-4
    assert frame["n_items"].iloc[0] == len(values)


def test_a_model_that_reads_a_second_prompt_is_refused(context, bases, words, tmp_path):
    run = peftlens.train(
        RunConfig(
            method="multitask_prompt_tuning",
            task=f"file:{words}",
            base_model=str(bases["t5"]),
            device="cpu",
            dtype="float32",
            method_config={"num_virtual_tokens": 3},
            training={"max_steps": 5, "learning_rate": 0.3},
        ),
        tmp_path,
    )
    with pytest.raises(NotApplicable, match="reads more than its prompt"):
        probe.measure(context, run)


def test_every_vector_is_left_out_once(context, run):
    frame = probe.measure(context, run)
    without = frame[frame["prompt"] == "without one"]
    assert without["omitted_position"].tolist() == [0, 1, 2]
    assert without["gap"].abs().min() > 0


def test_replaced_by_tokens_a_prompt_of_tokens_loses_nothing(context, run):
    base = context.base_model(run)
    found = trained_vectors(run, context.base_model(run), 5)
    tokens = probe._tokens(found.start, found.table, "cosine")
    assert torch.equal(tokens, found.start)
    encoder = Collator.of(base, 256)
    items, _ = encoder.items(task_of(run).splits["test"])
    one, other = (probe._score(base, {}, encoder, p, items, "") for p in (found.start, tokens))
    assert (one.loss == other.loss).all()
