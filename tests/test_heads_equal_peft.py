"""Runs with a head, loaded by plain transformers and peft: their logits are ours."""

import json

import peft
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModel, AutoModelForSequenceClassification

import peftlens
from peftlens import registry
from peftlens.adapters.checkpoint import open_run
from peftlens.adapters.merging import merge
from peftlens.adapters.run_context import RunContext
from peftlens.api.run import Run as ApiRun
from peftlens.data.collate import Collator
from peftlens.diffing.ablation import opened_for_ablation
from peftlens.diffing.hidden_states import text_rows, text_states
from peftlens.errors import InputError
from peftlens.evaluation.head_scores import head_logits
from peftlens.runs.config import RunConfig
from peftlens.runs.run import Run
from peftlens.tasks import task_of

TRAINING = {"max_steps": 3, "batch_size": 4, "learning_rate": 1e-2, "checkpoint_steps": [0]}


@pytest.fixture
def trained(encoders, bases, words, tmp_path):
    """Train a run with a head on the file of words; the learning rate is high, to move logits."""

    def train(base, method="lora", seed=0, **options) -> Run:
        task = {"head": "classification"} if base in bases else {}
        config = RunConfig(
            method=method, task=f"file:{words}", base_model=str((encoders | bases)[base]),
            task_config=task, method_config=options, training=TRAINING, seed=seed,
            device="cpu", dtype="float32",
        )  # fmt: skip
        return Run(peftlens.train(config, tmp_path / "runs").path)

    return train


def ours(run: Run, rows: slice) -> torch.Tensor:
    """Logits of the run's own model for its first test examples."""
    base = RunContext().base_model(run)
    collator = Collator.of(base, 64)
    items, _ = collator.items(task_of(run).splits["test"][rows])
    with open_run(run, base) as model, torch.inference_mode():
        return head_logits(model, collator.batch([item.rows[0] for item in items]))


@pytest.mark.parametrize(
    ("base", "method"),
    [
        *((base, "lora") for base in ("bert", "roberta", "deberta", "modernbert", "llama", "gpt2")),
        ("bert", "ia3"),
        ("bert", "prompt_tuning"),
    ],
)
def test_plain_peft_loads_a_run_and_gives_its_logits(trained, encoders, bases, base, method):
    run = trained(base, method)
    plain = AutoModelForSequenceClassification.from_pretrained(
        (encoders | bases)[base], num_labels=2
    )
    model = peft.PeftModel.from_pretrained(plain, run.adapter()).eval()
    collator = Collator.of(RunContext().base_model(run), 64)
    tokenizer = collator.example_tokenizer.tokenizer
    texts = [example.prompt for example in task_of(run).splits["test"][:5]]
    for rows in (slice(0, 5), slice(0, 1)):  # padded, and not
        batch = tokenizer(texts[rows], padding=True, padding_side="right", return_tensors="pt")
        inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
        with torch.inference_mode():
            expected = model(**inputs).logits
        torch.testing.assert_close(ours(run, rows), expected, atol=1e-5, rtol=0)
    assert len({*map(len, texts)}) > 1  # so that some are padded


def test_texts_of_one_batch_do_not_change_each_other(trained):
    run = trained("llama")
    together = ours(run, slice(0, 6))
    alone = torch.cat([ours(run, slice(at, at + 1)) for at in range(6)])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)


@pytest.mark.parametrize("base", ["llama", "gpt2"])
def test_behind_a_prompt_a_decoder_s_head_reads_the_last_token_of_each_text(trained, bases, base):
    """Of padded texts; plain peft reads it where a text is alone, and padding elsewhere."""
    run = trained(base, "prompt_tuning", num_virtual_tokens=3)
    plain = AutoModelForSequenceClassification.from_pretrained(bases[base], num_labels=2)
    model = peft.PeftModel.from_pretrained(plain, run.adapter()).eval()
    tokenizer = RunContext().base_model(run).tokenizer
    with torch.inference_mode():
        rows = [tokenizer(one.prompt, return_tensors="pt") for one in task_of(run).splits["test"]]
        expected = torch.cat([
            model(input_ids=one["input_ids"], attention_mask=one["attention_mask"]).logits
            for one in rows[:5]
        ])  # fmt: skip
    assert len({one["input_ids"].shape for one in rows[:5]}) > 1
    torch.testing.assert_close(ours(run, slice(0, 5)), expected, atol=1e-5, rtol=0)


def head_at_start(run: Run) -> dict[str, torch.Tensor]:
    tensors = load_file(run.adapter(0) / "adapter_model.safetensors")
    return {
        name.removeprefix("base_model.").removeprefix("model."): tensor
        for name, tensor in tensors.items()
        if "classifier" in name or "pooler" in name
    }


def test_every_method_starts_from_the_head_of_the_seed(trained):
    methods = ("lora", "full", "head", "bitfit", "bottleneck", "ia3", "prompt_tuning")
    first, *others = [head_at_start(trained("bert", method)) for method in methods]
    assert len(first) == 4
    for method, other in zip(methods[1:], others, strict=True):
        assert other.keys() == first.keys(), method
        assert all(torch.equal(first[name], other[name]) for name in first), method
    other = head_at_start(trained("bert", seed=1))
    assert not torch.equal(first["classifier.weight"], other["classifier.weight"])


def test_parameters_are_told_with_and_without_the_head(trained):
    run = trained("bert", rank=2)
    pooler, classifier = 32 * 32 + 32, 32 * 2 + 2
    assert run.record.results["trainable_in_head"] == pooler + classifier
    # queries and values of two blocks
    assert run.record.results["trainable_parameters"] == 2 * 2 * 2 * (32 + 32) + pooler + classifier
    config = json.loads((run.adapter() / "adapter_config.json").read_text())
    assert config["task_type"] == "SEQ_CLS"
    assert {"classifier", "pooler"} <= {*config["modules_to_save"]}


@pytest.mark.parametrize("method", ["lora", "full", "head", "bitfit", "bottleneck"])
def test_a_head_is_trained_and_saved_with_every_method(trained, method):
    run = trained("bert", method)
    saved = load_file(run.adapter() / "adapter_model.safetensors")
    start = head_at_start(run)
    for name, tensor in start.items():
        end = saved.get(name, saved.get(f"base_model.model.{name}"))
        assert not torch.equal(end, tensor), name


@pytest.mark.parametrize("method", ["fish_mask", "compacter", "mam", "unipelt", "loreft"])
def test_methods_of_our_own_train_beside_a_head(trained, method):
    run = trained("bert", method)
    base = RunContext().base_model(run)
    config = registry.configure("methods", method, run.config.method_config)
    without = registry.load("methods", method).trainable_parameters(config, base.shapes)
    results = run.record.results
    assert results["trainable_parameters"] - results["trainable_in_head"] == without > 0
    assert ours(run, slice(0, 3)).isfinite().all()


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("trainable_tokens", "saves no head along with it; use embeddings"),
        ("cpt", "predict text only; use prompt_tuning"),
        ("adaption_prompt", "saves no head along with it; use another method"),
        ("few_shot", "a new head has to be trained; use head"),
        ("hard_prompt", "a new head has to be trained; use head"),
        ("framed_prompt_tuning", "frames are for a prompt .* as text; use prompt_tuning"),
        ("peft:TRAINABLE_TOKENS", "saves no head along"),
        ("peft:ADAPTION_PROMPT", "saves no head along"),
    ],
)
def test_methods_that_take_no_head_say_so(trained, method, message):
    with pytest.raises(InputError, match=message):
        trained("bert", method)


def test_nothing_is_trained_in_a_frozen_base_with_its_head(trained):
    run = trained("bert", "frozen")
    assert run.record.results["trainable_parameters"] == 0
    assert run.record.results["trainable_in_head"] == 0
    again = trained("bert", "frozen", seed=1)
    assert not torch.equal(ours(run, slice(0, 3)), ours(again, slice(0, 3)))


@pytest.mark.parametrize(
    ("base", "method"),
    [
        ("bert", "lora"),
        ("bert", "loha"),
        ("bert", "full"),
        ("bert", "head"),
        ("llama", "lora"),
        ("gpt2", "ia3"),
    ],
)
def test_a_merged_run_is_a_classifier_of_plain_transformers(trained, tmp_path, base, method):
    run = trained(base, method)
    merge(run.path, tmp_path / "merged")
    merged = AutoModelForSequenceClassification.from_pretrained(tmp_path / "merged").eval()
    assert merged.config.id2label == {0: "down", 1: "up"}
    model, tokenizer = ApiRun(run.path).load(device="cpu")
    example = task_of(run).splits["test"][0]
    inputs = tokenizer(example.prompt, return_tensors="pt")
    with torch.inference_mode():
        logits = model(**inputs).logits
        torch.testing.assert_close(merged(**inputs).logits, logits, atol=1e-5, rtol=0)
    torch.testing.assert_close(logits, ours(run, slice(0, 1)), atol=1e-5, rtol=0)


@pytest.mark.parametrize("method", ["lora", "full", "bottleneck"])
def test_the_adapter_of_a_run_is_inspected_with_its_head(trained, encoders, method):
    run = trained("bert", method)
    found = peftlens.inspect_adapter(run.path, str(encoders["bert"]))
    assert not found.broken
    assert dict(found.about)["task"] == "SEQ_CLS, 2 outputs"


def test_random_words_on_an_encoder_are_no_causal_task(encoders, tmp_path, run):
    """A decoder learns nothing of them; an encoder would read each word that it is to predict."""
    rows = [
        {"text": " ".join(f"w{(n * 37 + k * 101) % 250}" for k in range(20))} for n in range(30)
    ]
    file = tmp_path / "random.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    options = ["--task-set", "kind=language_modeling", "--task-set", "template={text}"]
    code, _, err = run(
        "train", "lora", "--task", f"file:{file}", "--base", encoders["bert"], *options
    )
    assert code == 2
    (line,) = err.strip().splitlines()
    assert "is an encoder, which predicts no next token" in line


def test_an_ablation_keeps_the_head_and_drops_the_update(trained, encoders):
    """Without any block, the logits are those of plain peft with its B set to zero."""
    run = trained("bert")
    plain = AutoModelForSequenceClassification.from_pretrained(encoders["bert"], num_labels=2)
    model = peft.PeftModel.from_pretrained(plain, run.adapter()).eval()
    base = RunContext().base_model(run)
    ids = torch.arange(3, 19).reshape(2, 8)
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    with opened_for_ablation(run, base) as ablation, torch.inference_mode():
        whole = model(**inputs).logits
        with ablation.active(ablation.units) as active:
            torch.testing.assert_close(active(**inputs).logits, whole, atol=1e-5, rtol=0)
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.zero_()
        expected = model(**inputs).logits
        assert not torch.allclose(expected, whole, atol=1e-4)
        with ablation.active(()) as active:
            torch.testing.assert_close(active(**inputs).logits, expected, atol=1e-5, rtol=0)


def test_states_of_a_text_are_those_of_plain_transformers(trained, encoders):
    run = trained("bert")
    base = RunContext().base_model(run)
    rows = text_rows(Collator.of_states(base, 64), ["good", "much longer words"])
    plain = AutoModel.from_pretrained(encoders["bert"], output_hidden_states=True).eval()
    for places, states in text_states(base.model, base, rows):
        for (row, position), ours in zip(places, states.unbind(1), strict=True):
            with torch.inference_mode():
                expected = plain(input_ids=torch.tensor([rows[row].prompt])).hidden_states[1:]
            for block, state in zip(expected, ours, strict=True):
                torch.testing.assert_close(state, block[0, position], atol=1e-5, rtol=0)
    assert {row for row, _ in places} == {0, 1}
