import json
from pathlib import Path

import peft
import pytest
import torch
from safetensors.torch import load_file
from tiny import byte_tokenizer
from transformers import AutoModelForCausalLM

import peftlens
from peftlens.errors import InputError
from peftlens.runs.config import RunConfig
from peftlens.tasks import load_task
from peftlens.training.orthogonal_steps import Projection


def test_nothing_is_left_along_the_directions():
    torch.manual_seed(0)
    gradients = torch.randn(5, 40)
    gradients[3] = 2 * gradients[1] - gradients[0]  # within the span of the others
    gradients[4] = 0
    projection = Projection.off(gradients)
    assert projection.directions.shape == (3, 40)
    parts = [torch.randn(4, 5), torch.randn(20)]
    before = torch.cat([part.flatten() for part in parts])
    projection.apply(parts)
    after = torch.cat([part.flatten() for part in parts])
    assert (gradients @ after).abs().max() < 1e-4
    solution = torch.linalg.lstsq(gradients[:3].T, before[:, None]).solution[:, 0]
    assert torch.allclose(after, before - gradients[:3].T @ solution, atol=1e-5)


def test_a_direction_that_comes_twice_hides_no_other():
    gradients = torch.tensor([[1.0, 0, 0], [1.0, 0, 0], [0, 1.0, 0]])
    projection = Projection.off(gradients)
    assert len(projection.directions) == 2
    step = torch.tensor([3.0, 4.0, 5.0])
    projection.apply([step])
    assert torch.allclose(step, torch.tensor([0.0, 0.0, 5.0]), atol=1e-6)


def test_without_a_direction_a_step_stays():
    projection = Projection.off(torch.zeros(2, 3))
    step = torch.tensor([3.0, 4.0, 5.0])
    projection.apply([step])
    assert step.tolist() == [3.0, 4.0, 5.0]


@pytest.fixture
def tasks(tmp_path):
    """Three small tasks with other words, of at most 64 training rows: all have a direction."""
    files = []
    for number, words in enumerate(("sun moon star", "dog cat cow", "red blue green")):
        rows = [
            {"text": f"{word} {n}", "label": "up" if n % 2 else "down"}
            for word in words.split() for n in range(4)
        ]  # fmt: skip
        file = tmp_path / f"task{number}.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        files.append(f"file:{file}")
    return files


@pytest.fixture
def sequence(bases, tasks, tmp_path):
    def train(keep, method="lora"):
        runs = []
        for task in tasks:
            config = RunConfig(
                method=method, task=task, base_model=str(bases["llama"]), device="cpu",
                dtype="float32", continue_from=runs[-1].id if runs else None,
                training={"max_steps": 3, "batch_size": 4, "max_length": 32, "keep": keep},
            )  # fmt: skip
            runs.append(peftlens.train(config, tmp_path / "runs"))
        return runs

    return train


def tensors(run):
    return load_file(run.path / "adapter/adapter_model.safetensors")


def gradients(run, bases, task):
    """Gradients of the right answer's logits after a run, by plain peft and transformers."""
    plain = AutoModelForCausalLM.from_pretrained(bases["llama"])
    model = peft.PeftModel.from_pretrained(plain, run.path / "adapter", is_trainable=True)
    names = [name for name, p in model.named_parameters() if p.requires_grad]
    parameters = [dict(model.named_parameters())[name] for name in names]
    tokenizer = byte_tokenizer()
    for one in load_task(task, {}).splits["train"]:
        prompt, answer = (tokenizer(t)["input_ids"]
                          for t in (one.prompt, one.answers[one.correct]))  # fmt: skip
        logits = model(torch.tensor([[*prompt, *answer]])).logits[0]
        value = sum(logits[len(prompt) - 1 + at, token] for at, token in enumerate(answer))
        found = torch.autograd.grad(value, parameters)
        yield {n.replace(".default", ""): g for n, g in zip(names, found, strict=True)}


def largest_cosine(change, directions):
    length = sum((one**2).sum() for one in change.values()) ** 0.5
    return max(
        abs(sum((g * change[name]).sum() for name, g in direction.items()).item())
        / (length * sum((g**2).sum() for g in direction.values()) ** 0.5).item()
        for direction in directions
    )


def test_a_later_task_moves_no_right_answer_of_earlier_ones(sequence, bases, tasks):
    cosines = {}
    for name, keep in (("none", None), ("orthogonal", {"kind": "orthogonal"})):
        runs = sequence(keep)
        change = {n: t - tensors(runs[1])[n] for n, t in tensors(runs[2]).items()}
        directions = [g for at in (0, 1) for g in gradients(runs[at], bases, tasks[at])]
        cosines[name] = largest_cosine(change, directions)
    assert cosines["orthogonal"] < 1e-3
    assert cosines["none"] > 0.05
    assert runs[0].record.results["keep"]["directions"] == 0
    assert 9 <= runs[1].record.results["keep"]["directions"] <= 10
    assert runs[2].record.results["keep"]["directions"] > 16
    assert "keep_loss" not in runs[2].metrics()[0]


@pytest.mark.parametrize("method", ["full", "bottleneck", "prompt_tuning"])
def test_any_method_can_be_projected(sequence, method):
    first, *later = sequence({"kind": "orthogonal"}, method)
    assert all(run.record.status == "finished" for run in (first, *later))
    assert later[0].record.results["keep"]["directions"] > 0


def test_an_earlier_task_that_has_changed_is_refused(sequence, tasks, tmp_path):
    _, second, _ = sequence({"kind": "orthogonal"})
    with Path(tasks[0].removeprefix("file:")).open("a") as file:
        file.write('{"text": "more", "label": "up"}\n{"text": "still more", "label": "down"}\n')
    again = second.record.config.model_copy(update={"seed": 1})
    with pytest.raises(InputError, match="was trained on other data"):
        peftlens.train(again, tmp_path / "runs")
