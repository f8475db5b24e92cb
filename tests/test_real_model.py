"""The main job's promises, on the real model and the real headlines, shortened."""

from functools import partial

import numpy as np
import peft
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import peftlens
from peftlens import registry
from peftlens.adapters.checkpoint import attach, open_run
from peftlens.adapters.merging import TOLERANCE
from peftlens.data.collate import Collator
from peftlens.evaluation.log_likelihood import choose
from peftlens.evaluation.retention import reference, suite
from peftlens.models.base_model import load_base_model, locate
from peftlens.models.snapshot import restored_after
from peftlens.probes import soft_prompt_null
from peftlens.reports import page as report
from peftlens.results import table
from peftlens.runs.config import RunConfig
from peftlens.studies import runner
from peftlens.studies.runner import StudyOptions
from peftlens.tasks import task_of
from peftlens.vocab.null_tests import neighborhoods

pytestmark = pytest.mark.slow

STUDY = """
name = "real"
probes = [
  "task_accuracy", "parameter_count", "forgetting", "soft_prompt_neighbors", "soft_prompt_null",
]
[probe_options.forgetting]
suites = ["wiki", "openbookqa"]
items = 4
[task]
name = "bbc_topic"
split = { max_validation = 8, max_test = 100 }
[training]
max_steps = 0
checkpoint_steps = [0]
[[runs]]
method = "frozen"
[[runs]]
method = "lora"
training = { max_steps = 16 }
[[runs]]
method = "prompt_tuning"
training = { max_steps = 2 }
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The study in this process, where the null has a tenth of its draws: no verdict needs more."""
    folder = tmp_path_factory.mktemp("real")
    file = folder / "real.toml"
    file.write_text(STUDY)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(soft_prompt_null, "neighborhoods", partial(neighborhoods, draws=100))
        outcome = runner.run_study(file, folder / "out", StudyOptions(workers=0))
    assert outcome.failed == ()
    return outcome


def read(finished, name):
    return table.read(finished.folder / "tables" / f"{name}.parquet").frame


def run_of(finished, method):
    return next(run for run in finished.runs if run.config.method == method)


def test_lora_is_clearly_above_zero_shot(finished):
    rows = read(finished, "task_accuracy").set_index("configuration")
    assert rows.loc["lora rank=8", "items_ci_low"] > rows.loc["frozen", "items_ci_high"]


def test_nothing_is_forgotten_at_step_0_by_what_starts_as_the_identity(finished):
    rows = read(finished, "forgetting")
    start = rows[(rows["step"] == 0) & (rows["method"] != "prompt_tuning")]
    assert set(start["method"]) == {"lora", "frozen"}
    text, questions = (start[start["suite"] == name] for name in ("wiki", "openbookqa"))
    assert len(text) == len(questions) == 2
    for name in ("forgetting", "ci_low", "ci_high", "kl"):
        assert (text[name] == 0).all()
    assert (questions["accuracy_change"] == 0).all()
    end = rows[(rows["method"] == "lora") & (rows["step"] == 16) & (rows["suite"] == "wiki")]
    assert (end["kl_ci_low"] > 0).all()


def test_counts_are_those_of_the_real_model(finished):
    counts = read(finished, "parameter_count").set_index("method")["trainable_parameters"]
    assert counts["lora"] == 30 * 8 * ((576 + 576) + (576 + 192))
    assert counts["prompt_tuning"] == 20 * 576


@pytest.mark.parametrize(
    ("method", "count"),
    [
        ("ln_tuning", 61 * 576),
        ("bottleneck", 30 * (2 * 576 * 32 + 32 + 576)),
        ("full", 134_515_008),
    ],
)
def test_the_start_is_the_real_model(method, count):
    """Attached to the base: what saving and loading keep, tests/methods/test_contract.py asks."""
    base = load_base_model("smollm2-135m")
    inputs = base.tokenizer("The capital of France is", return_tensors="pt").to(base.model.device)
    with torch.inference_mode():
        expected = base.model(**inputs).logits
    with restored_after(base.model):
        wrapped = attach(base.model, method, registry.configure("methods", method, {})).eval()
        assert sum(p.numel() for p in wrapped.parameters() if p.requires_grad) == count
        with torch.inference_mode():
            assert torch.equal(wrapped(**inputs).logits, expected)


def test_an_untrained_prompt_is_nearest_to_real_tokens(finished):
    rows = read(finished, "soft_prompt_neighbors").query("status == 'measured'")
    start = rows[(rows["step"] == 0) & (rows["metric"] == "cosine")]
    assert len(start) == 20
    assert start["similarity"].min() > 0.999
    verdicts = read(finished, "soft_prompt_null").query("status == 'measured'")
    assert {*verdicts[verdicts["step"] == 0]["verdict"]} == {"start kept"}


@pytest.mark.parametrize("method", ["lora", "prompt_tuning"])
def test_plain_peft_gives_the_same_logits(finished, method):
    run = run_of(finished, method)
    ours = peftlens.Run(run.path).load()[0]
    plain = AutoModelForCausalLM.from_pretrained(locate("smollm2-135m"), dtype=ours.dtype)
    theirs = peft.PeftModel.from_pretrained(plain.to(ours.device), run.path / "adapter").eval()
    tokenizer = AutoTokenizer.from_pretrained(locate("smollm2-135m"))
    inputs = tokenizer("Headline: Rain stops play at Lord's\nTopic:", return_tensors="pt")
    inputs = inputs.to(ours.device)
    with torch.inference_mode():
        assert torch.equal(theirs(**inputs).logits, ours(**inputs).logits)


def test_the_same_seed_gives_the_same_bytes(tmp_path):
    config = RunConfig(
        method="lora",
        task="bbc_topic",
        task_config={"split": {"max_validation": 8}},
        training={"max_steps": 3, "logging_steps": 1},
    )
    first, again = (peftlens.train(config, tmp_path / name) for name in "ab")
    for name in ("metrics.jsonl", "adapter/adapter_model.safetensors"):
        assert (first.path / name).read_bytes() == (again.path / name).read_bytes()


def test_the_page_shows_these_numbers(finished):
    page = report.write(finished.folder).read_text()
    accuracy = read(finished, "task_accuracy").set_index("configuration").loc["frozen", "accuracy"]
    assert f"The untrained base model has an accuracy of {accuracy:.0%}" in page
    assert "smollm2-135m" in page


def test_a_merged_run_is_a_plain_model_with_the_runs_answers(finished, tmp_path):
    run = run_of(finished, "lora")
    error = peftlens.merge(run.path, tmp_path / "merged")
    assert error <= TOLERANCE[run.config.dtype]
    examples = task_of(run).splits["test"]
    base = load_base_model("smollm2-135m", device=run.config.device, dtype=run.config.dtype)
    with open_run(run, base) as attached:
        own = answers(attached, base, examples)
    merged = load_base_model(
        str(tmp_path / "merged"), device=run.config.device, dtype=run.config.dtype
    )
    found, untrained = (answers(one.model, one, examples) for one in (merged, base))
    # rounded weights may answer otherwise where two answers are nearly as likely
    assert (found.by_sum == own.by_sum).mean() >= 0.9
    right = [(one.by_sum == one.correct).mean() for one in (found, own, untrained)]
    assert right[0] == pytest.approx(right[1], abs=0.05)
    assert right[0] > right[2] + 0.1


def answers(model, base, examples):
    encoder = Collator.of(base, 256)
    return choose(model, encoder, encoder.items(examples)[0])


def test_general_text_is_long_and_ordinary():
    """At least 50,000 tokens; the perplexity of the shortened text is that of running text."""
    base = load_base_model("smollm2-135m")
    texts, short = (suite(base, name, {}, None) for name in ("passages", "passages_short"))
    assert sum(item.rows[0].scored for item in texts.items) >= 50_000
    found = reference(base, short).scores
    assert 15 < np.exp(found.loss.sum() / found.tokens.sum()) < 40
