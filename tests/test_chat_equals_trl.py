"""Loss and gradients on conversations against TRL's SFTTrainer on the same rows."""

import json

import pytest
import torch

from peftlens.data.collate import Collator
from peftlens.evaluation.log_likelihood import answer_loss
from peftlens.models.base_model import load_base_model
from peftlens.tasks import load_task

TEMPLATE = (
    "{% if tools %}t:{{ tools[0]['function']['name'] }};{% endif %}"
    "{% for m in messages %}<{{ m['role'][0] }}>"
    "{% if m['role'] == 'assistant' %}{% generation %}{{ m['content'] }}"
    "{% if m.get('tool_calls') %}c {{ m['tool_calls'][0]['function']['name'] }}{% endif %}"
    "|{% endgeneration %}{% else %}{{ m['content'] }};{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<a>{% endif %}"
)
TOOL = {"type": "function", "function": {"name": "add", "description": "adds", "parameters": {
    "type": "object", "properties": {}}}}  # fmt: skip
CALL = {"type": "function", "function": {"name": "add", "arguments": {}}}


def conversation(number):
    """Turns of the system, the user, a tool and the assistant, who speaks several times."""
    messages = [
        {"role": "system", "content": f"r{number}"},
        {"role": "user", "content": f"{number}+{number}?"},
        {"role": "assistant", "content": "", "tool_calls": [CALL]},
        {"role": "tool", "name": "add", "content": str(2 * number)},
        {"role": "assistant", "content": f"it {2 * number}"},
        {"role": "user", "content": "ok" * (number % 3)},
        {"role": "assistant", "content": "bye"},
    ]
    keep = messages if number % 3 else messages[1:2] + messages[4:5]
    return {"messages": keep, "tools": [TOOL]}


def gradients(model):
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_loss_and_gradients_are_those_of_trl(bases, tmp_path, kind):
    import trl
    from datasets import Dataset

    rows = [conversation(number) for number in range(1, 31)]
    file, jinja = tmp_path / "chat.jsonl", tmp_path / "chat.jinja"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    jinja.write_text(TEMPLATE)
    base = load_base_model(str(bases[kind]), device="cpu", dtype="float32")
    task = load_task(f"file:{file}", {"kind": "chat", "chat_template": str(jinja)})
    encoder = Collator.of(base, 128)
    examples = task.splits["train"][:8]
    items, dropped = encoder.items(examples)
    assert dropped == {}
    batch = encoder.batch([item.rows[0] for item in items])
    base.model.requires_grad_(True)
    loss = answer_loss(base.model, batch) / len(batch.targets)
    loss.backward()
    ours = gradients(base.model)

    model = load_base_model(str(bases[kind]), device="cpu", dtype="float32").model
    model.requires_grad_(True)
    tokenizer = base.tokenizer
    tokenizer.chat_template = TEMPLATE
    data = Dataset.from_list([
        {"messages": [dict(one) for one in example.messages], "tools": list(example.tools)}
        for example in examples
    ])  # fmt: skip
    trainer = trl.SFTTrainer(
        model=model,
        args=trl.SFTConfig(
            output_dir=str(tmp_path / "trl"), assistant_only_loss=True, max_length=None,
            per_device_train_batch_size=8, report_to="none", use_cpu=True, bf16=False,
            activation_checkpointing=False, dataset_num_proc=None,
        ),
        train_dataset=data,
        processing_class=tokenizer,
    )  # fmt: skip
    inputs = next(iter(trainer.get_train_dataloader()))
    assert (inputs["labels"] != -100).sum() == len(batch.targets)
    theirs = trainer.compute_loss(model, inputs, num_items_in_batch=None)
    theirs.backward()
    assert loss.item() == pytest.approx(theirs.item(), rel=1e-4)
    for name, gradient in gradients(model).items():
        torch.testing.assert_close(ours[name], gradient, rtol=1e-4, atol=1e-6)
