"""Direct preference optimization against its formula, and against TRL's trainer."""

import json

import pytest
import torch

import peftlens
from peftlens.data.collate import Collator
from peftlens.errors import InputError
from peftlens.models.base_model import load_base_model
from peftlens.tasks import load_task
from peftlens.training.preference_loss import PreferencePairs


@pytest.fixture
def pairs_file(tmp_path):
    rows = [{"prompt": f"q{a}{b}:", "chosen": f"{a}", "rejected": f"{(a + 1) % 5}x"}
            for a in range(5) for b in range(8)]  # fmt: skip
    file = tmp_path / "pairs.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def task_of(file):
    return load_task(f"file:{file}", {"kind": "preference"})


def log_probability(model, prompt, answer):
    ids = torch.tensor([[*prompt, *answer]])
    logs = model(ids).logits[0].log_softmax(-1)
    return sum(logs[len(prompt) + at - 1, token] for at, token in enumerate(answer))


def test_the_loss_is_that_of_the_paper(bases, pairs_file):
    base = load_base_model(str(bases["llama"]), device="cpu", dtype="float32")
    tuned = load_base_model(str(bases["llama"]), device="cpu", dtype="float32").model
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in tuned.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    collator = Collator.of(base, 64)
    items, _ = collator.items(task_of(pairs_file).splits["train"][:6])
    pairs = PreferencePairs.of(base.model, collator, items, beta=0.3)
    expected = 0.0
    with torch.inference_mode():
        for item in items:
            gains = [
                log_probability(tuned, row.prompt, row.answer)
                - log_probability(base.model, row.prompt, row.answer)
                for row in item.rows
            ]
            expected -= torch.nn.functional.logsigmoid(0.3 * (gains[0] - gains[1])).item()
        found = pairs.loss(tuned, collator, [item.rows[0] for item in items])
    assert found.item() == pytest.approx(expected, rel=1e-4)
    with torch.inference_mode():  # the base itself prefers nothing: log 2 a pair
        start = pairs.loss(base.model, collator, [item.rows[0] for item in items])
    assert start.item() == pytest.approx(6 * 0.693147, rel=1e-4)


TEMPLATE = (
    "{% for m in messages %}<{{ m['role'][0] }}>{{ m['content'] }}|{% endfor %}"
    "{% if add_generation_prompt %}<a>{% endif %}"
)


def as_messages(row):
    roles = {"prompt": "user", "chosen": "assistant", "rejected": "assistant"}
    return {name: [{"role": role, "content": row[name]}] for name, role in roles.items()}


def whole(row):
    """Without a prompt: it is what both answers begin with."""
    return {name: row["prompt"] + " " + row[name] for name in ("chosen", "rejected")}


def as_written(row):
    """Joined as they are, since the answers begin with white space."""
    return {name: text if name == "prompt" else f"\n{text}" for name, text in row.items()}


def row_prompt(row):
    """Text of a row's prompt."""
    prompt = row["prompt"] if "prompt" in row else row["chosen"].partition(" ")[0]
    return prompt if isinstance(prompt, str) else prompt[0]["content"]


@pytest.mark.parametrize("layout", [as_written, whole, as_messages])
def test_loss_and_gradients_are_those_of_trl(layout, bases, tmp_path):
    import trl
    from datasets import Dataset

    rows = [layout({"prompt": f"q{n}:", "chosen": f"{n} yes", "rejected": f"{n} no"})
            if layout is not whole else
            layout({"prompt": f"q{n}:", "chosen": "yes", "rejected": "no"})
            for n in range(20)]  # fmt: skip
    file, jinja = tmp_path / "pairs.jsonl", tmp_path / "chat.jinja"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    jinja.write_text(TEMPLATE)
    task = load_task(f"file:{file}", {"kind": "preference", "chat_template": str(jinja)})
    base = load_base_model(str(bases["llama"]), device="cpu", dtype="float32")
    tuned, theirs = (
        load_base_model(str(bases["llama"]), device="cpu", dtype="float32").model for _ in range(2)
    )
    for model in (tuned, theirs):
        torch.manual_seed(0)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.05 * torch.randn_like(parameter))
        model.requires_grad_(True)
    collator = Collator.of(base, 64)
    examples = task.splits["train"][:8]
    items, _ = collator.items(examples)
    pairs = PreferencePairs.of(base.model, collator, items, beta=0.1)
    loss = pairs.loss(tuned, collator, [item.rows[0] for item in items]) / 8
    loss.backward()

    tokenizer = base.tokenizer
    tokenizer.chat_template = TEMPLATE
    prompts = [one.prompt.removeprefix("user: ") for one in examples]
    own = {row_prompt(row): row for row in rows}  # as they are in the file
    data = Dataset.from_list([own[prompt] for prompt in prompts])
    trainer = trl.DPOTrainer(
        model=theirs,
        ref_model=base.model,
        args=trl.DPOConfig(
            output_dir=str(tmp_path / "trl"), per_device_train_batch_size=8, report_to="none",
            use_cpu=True, bf16=False, activation_checkpointing=False, beta=0.1,
        ),
        train_dataset=data,
        processing_class=tokenizer,
    )  # fmt: skip
    inputs = next(iter(trainer.get_train_dataloader()))
    told = trainer.compute_loss(theirs, inputs)
    told.backward()
    assert told.item() == pytest.approx(loss.item(), rel=1e-4)
    gradients = dict(theirs.named_parameters())
    for name, parameter in tuned.named_parameters():
        torch.testing.assert_close(parameter.grad, gradients[name].grad, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("method", ["lora", "prompt_tuning", "full", "bottleneck"])
def test_training_widens_the_margin(bases, pairs_file, tmp_path, method):
    run = peftlens.train(
        peftlens.RunConfig(
            method=method, task=f"file:{pairs_file}", task_config={"kind": "preference"},
            base_model=str(bases["llama"]), device="cpu", dtype="float32",
            training={"max_steps": 80, "batch_size": 8, "loss": "dpo", "learning_rate": 0.02},
        ),
        tmp_path / "runs",
    )  # fmt: skip
    first, *_, last = [row["loss"] for row in run.metrics() if "loss" in row]
    assert first == pytest.approx(0.693, abs=0.2 if method == "prompt_tuning" else 0.01)
    assert last < (0.4 if method == "full" else first - 0.01)
    if method == "full":
        assert run.results["validation_accuracy"] > 0.8
    assert run.record.configuration.endswith("loss=dpo")


def test_one_answer_is_no_preference(bases, tmp_path):
    file = tmp_path / "texts.jsonl"
    file.write_text("".join(json.dumps({"text": f"line {n} of it"}) + "\n" for n in range(20)))
    with pytest.raises(InputError, match="needs a right and a rejected answer"):
        peftlens.train(
            peftlens.RunConfig(
                method="lora", task=f"file:{file}", base_model=str(bases["llama"]), device="cpu",
                task_config={"kind": "language_modeling", "template": "{text}"}, dtype="float32",
                training={"max_steps": 1, "loss": "dpo"},
            ),
            tmp_path / "runs",
        )  # fmt: skip


def test_sft_is_trained_on_the_chosen_answers_alone(bases, pairs_file, tmp_path):
    """The control: the first loss is that of the chosen answers' tokens, with their end token."""
    run = peftlens.train(
        peftlens.RunConfig(
            method="full", task=f"file:{pairs_file}", task_config={"kind": "preference"},
            base_model=str(bases["llama"]), device="cpu", dtype="float32",
            training={"max_steps": 1, "batch_size": 28, "learning_rate": 1e-3, "logging_steps": 1},
        ),
        tmp_path / "runs",
    )  # fmt: skip
    examples = task_of(pairs_file).splits["train"]
    assert len(examples) == 28
    base = load_base_model(str(bases["llama"]), device="cpu", dtype="float32")
    tokenizer, total, count = base.tokenizer, 0.0, 0
    with torch.inference_mode():
        for example in examples:
            prompt, answer = (tokenizer(text, add_special_tokens=False).input_ids
                              for text in (example.prompt, example.answers[0]))  # fmt: skip
            answer = [*answer, tokenizer.eos_token_id]
            total -= log_probability(base.model, prompt, answer).item()
            count += len(answer)
    first = next(line["loss"] for line in run.metrics() if "loss" in line)
    assert first == pytest.approx(total / count, rel=1e-4)
    assert "loss=" not in run.record.configuration


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"chosen": "a b", "reject": "a c"}] * 9, "has no column 'rejected'|rejected"),
        ([{"prompt": f"q{n}", "chosen": "a", "rejected": "a"} for n in range(9)],
         "0 usable examples .*equal answers': 9"),
        ([{"prompt": f"q{n}", "chosen": ["a"], "rejected": ["b"]} for n in range(9)],
         "0 usable examples .*a message is not an object': 9"),
        ([{"prompt": f"q{n}", "completion": "a", "label": True} for n in range(9)],
         "has no column 'chosen'"),
    ],
)  # fmt: skip
def test_broken_layouts_are_one_line(rows, message, tmp_path):
    file = tmp_path / "pairs.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(InputError, match=message) as caught:
        task_of(file)
    assert "\n" not in str(caught.value)
