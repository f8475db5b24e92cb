"""Tasks whose answers are written: trained, answered and scored by way of the public functions."""

import json

import pytest
import torch

import peftlens
from peftlens.data.collate import Collator
from peftlens.evaluation.answers import answer, references
from peftlens.probes import task_accuracy, task_items
from peftlens.tasks import load_task, task_of

TEMPLATE = "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }};{% endfor %}" \
           "{% if add_generation_prompt %}<assistant>{% endif %}"  # fmt: skip


@pytest.fixture
def sums(tmp_path):
    """Questions with one right answer of few, learned by heart in a few steps."""
    rows = [{"question": f"{a}{b}", "answer": [str(a), f"{a}."]}
            for a in range(5) for b in range(8)]  # fmt: skip
    file = tmp_path / "sums.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


@pytest.fixture
def chats(tmp_path):
    (tmp_path / "t.jinja").write_text(TEMPLATE)
    rows = [{"messages": [{"role": "user", "content": f"{a}{b}"},
                          {"role": "assistant", "content": str(a)},
                          {"role": "user", "content": "again"},
                          {"role": "assistant", "content": str(a)}]}
            for a in range(5) for b in range(8)]  # fmt: skip
    file = tmp_path / "chats.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def trained(bases, tmp_path, file, task_config, steps=120, kind="llama"):
    return peftlens.train(
        peftlens.RunConfig(
            method="full", task=f"file:{file}", task_config=task_config,
            base_model=str(bases[kind]), device="cpu", dtype="float32",
            training={"max_steps": steps, "batch_size": 8, "learning_rate": 0.01},
        ),
        tmp_path / "runs",
    )  # fmt: skip


QUESTIONS = {"kind": "generation", "template": "{question}=", "label": "answer",
             "max_new_tokens": 4}  # fmt: skip


def test_written_answers_are_scored_and_counted(bases, context, sums, tmp_path):
    run = trained(bases, tmp_path, sums, QUESTIONS)
    frame = task_items.measure(context, run)
    assert frame["chosen"].isna().all()
    task = task_of(run)
    for row, example in zip(frame.to_dict("records"), task.splits["test"], strict=True):
        assert row["score"] == float(row["answer"] in example.references)
    assert frame["score"].mean() > 0.8  # the first digit: easily learned
    whole = task_accuracy.combine(
        {"task_items": frame.assign(configuration="full", method="full", run="r", seed=0)}
    ).iloc[0]
    assert whole["accuracy"] == pytest.approx(frame["score"].mean())
    assert whole["loss"] == pytest.approx(frame["loss"].mean())
    assert "validation_accuracy" not in run.results


def test_the_end_is_learned_with_the_answer(bases, sums, tmp_path):
    run = trained(bases, tmp_path, sums, QUESTIONS)
    model, tokenizer = run.load()
    ids = tokenizer("31=", return_tensors="pt")
    with torch.inference_mode():
        told = model.generate(**ids, max_new_tokens=8, do_sample=False)[0]
    assert told[-1] == tokenizer.eos_token_id


def test_conversations_are_trained_on_the_assistant_s_tokens(bases, chats, context, tmp_path):
    options = {"kind": "chat", "chat_template": str(tmp_path / "t.jinja")}
    task = load_task(f"file:{chats}", options)
    assert task.notes == ("the rows are conversations in the layout of `messages` (role, content)",)
    base = peftlens.load_base_model(str(bases["llama"]), device="cpu", dtype="float32")
    encoder = Collator.of(base, 256)
    items, dropped = encoder.items(task.splits["train"])
    assert dropped == {}
    for item in items:
        (row,) = item.rows
        digit = task.splits["train"][item.index].messages[1]["content"]
        assert base.tokenizer.decode(row.targets) == f"{digit};" * 2
    batch = encoder.batch([items[0].rows[0], items[1].rows[0]])
    assert batch.targets.tolist() == [*items[0].rows[0].targets, *items[1].rows[0].targets]
    run = trained(bases, tmp_path, chats, options, steps=60)
    frame = task_items.measure(context, run)
    assert frame["score"].isna().all()
    assert frame["loss"].mean() < 1.0


def test_the_loss_of_a_conversation_is_that_of_labels(bases, chats, tmp_path):
    """Equal to transformers' own loss with -100 wherever the assistant does not speak."""
    from peftlens.evaluation.log_likelihood import answer_loss

    task = load_task(f"file:{chats}", {"kind": "chat", "chat_template": str(tmp_path / "t.jinja")})
    base = peftlens.load_base_model(str(bases["llama"]), device="cpu", dtype="float32")
    encoder = Collator.of(base, 256)
    items, _ = encoder.items(task.splits["train"][:3])
    rows = [item.rows[0] for item in items]
    total = 0.0
    for row in rows:
        ids = torch.tensor([[*row.prompt, *row.answer]])
        mask = row.mask or (True,) * len(row.answer)
        kept = [token if there else -100 for token, there in zip(row.answer, mask, strict=True)]
        labels = torch.tensor([[-100] * len(row.prompt) + kept])
        with torch.inference_mode():
            total += float(base.model(input_ids=ids, labels=labels).loss) * row.scored
    with torch.inference_mode():
        found = float(answer_loss(base.model, encoder.batch(rows)))
    assert found == pytest.approx(total, rel=1e-5)


def test_the_last_turn_of_conversations_is_answered(bases, chats, tmp_path):
    options = {"kind": "generation", "chat_template": str(tmp_path / "t.jinja"), "stop": [";"],
               "max_new_tokens": 6}  # fmt: skip
    run = trained(bases, tmp_path, chats, options, steps=150)
    task = task_of(run)
    model, _ = run.load()
    base = peftlens.load_base_model(str(bases["llama"]), device="cpu", dtype="float32")
    encoder = Collator.of(base, 256)
    items, _ = encoder.items(task.splits["test"])
    told = answer(model, encoder, task, items)
    untrained = answer(base.model, encoder, task, items)
    means = [sum(score for score, _ in one) / len(one) for one in (told, untrained)]
    assert means[0] > 0.6
    assert means[1] == 0
    assert references(task.splits["test"][0]) == (task.splits["test"][0].messages[-1]["content"],)


def test_a_conversation_cut_before_its_answer_is_counted(bases, chats, tmp_path):
    task = load_task(f"file:{chats}", {"kind": "chat", "chat_template": str(tmp_path / "t.jinja")})
    base = peftlens.load_base_model(str(bases["llama"]), device="cpu", dtype="float32")
    _, dropped = Collator.of(base, 12).items(task.splits["train"][:3])
    assert dropped == {"conversation cut before its answer": 3}
    items, dropped = Collator.of(base, 30).items(task.splits["train"][:3])
    assert dropped == {"conversation cut to max_length": 3}
    assert len(items) == 3
