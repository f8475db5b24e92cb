"""Sequences of tasks with a head each, against a loop of plain transformers, peft and torch."""

import json
import shutil
from functools import cache

import peft
import pytest
import torch
from safetensors.torch import load_file
from tiny import _NARROW, SIZES, byte_tokenizer
from transformers import AutoModelForSequenceClassification, BertConfig, BertForMaskedLM

import peftlens
from peftlens.adapters.initial_state import initial_state
from peftlens.adapters.run_context import RunContext
from peftlens.adapters.task_heads import earlier_runs, open_on_task
from peftlens.data.collate import Collator
from peftlens.data.head_tokenization import head_for
from peftlens.errors import InputError
from peftlens.evaluation.head_scores import head_logits
from peftlens.models.heads import head_seed
from peftlens.probes.sequence_items import Config, measure
from peftlens.runs.config import RunConfig
from peftlens.runs.run import Run
from peftlens.tasks import load_task

STEPS, RATE, SEED = 6, 5e-3, 3
CLASSES = {"vowels": 2, "lengths": 3, "ends": 2}
HEAD = {"head": "classification"}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A tiny BERT without dropout; its file has no pooler, so the pooler is a part of the head."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("bert")
    config = BertConfig(
        **SIZES, **_NARROW, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0
    )
    model = BertForMaskedLM(config)
    for parameter in model.parameters():
        parameter.data *= 3  # so that a few steps change answers
    model.save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def tasks(tmp_path_factory):
    """Three tasks on the same words, by name; two of them have two classes."""
    folder = tmp_path_factory.mktemp("tasks")
    words = [a + b + c for a in "bdgklm" for b in ("a", "e", "oo", "ii") for c in ("", "n", "st")]
    label = {
        "vowels": lambda word: "open" if "a" in word or "o" in word else "closed",
        "lengths": lambda word: ["short", "middle", "long"][min(len(word), 4) - 2],
        "ends": lambda word: "yes" if word.endswith(("n", "t")) else "no",
    }
    names = {}
    for name, of in label.items():
        file = folder / f"{name}.jsonl"
        rows = [{"text": word, "label": of(word)} for word in words]
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        names[name] = f"file:{file}"
    return names


@pytest.fixture(scope="module")
def sequence(base, tasks, tmp_path_factory):
    """Train a method on the three tasks, one after the other; all rows are in every batch."""

    @cache
    def train(method, *order) -> list[Run]:
        runs, out = [], tmp_path_factory.mktemp(method)
        for name in order or CLASSES:
            config = RunConfig(
                method=method, task=tasks[name], base_model=str(base), device="cpu",
                dtype="float32", seed=SEED, continue_from=runs[-1].id if runs else None,
                training={"max_steps": STEPS, "batch_size": 200, "learning_rate": RATE,
                          "lr_scheduler_type": "constant", "warmup_ratio": 0,
                          "checkpoint_steps": [0]},
            )  # fmt: skip
            runs.append(Run(peftlens.train(config, out).path))
        return runs

    return train


def of_head(name):
    return "classifier" in name or "pooler" in name


class Plain:
    """The same sequence by plain transformers and peft: a body, and a head for each task."""

    def __init__(self, base, method, tasks):
        self.base, self.method, self.tasks = base, method, tasks
        self.body, self.heads, self.tokenizer = {}, {}, byte_tokenizer()

    def model(self, name):
        model = AutoModelForSequenceClassification.from_pretrained(
            self.base, num_labels=CLASSES[name]
        )
        torch.manual_seed(head_seed(SEED, load_task(self.tasks[name], HEAD).sha256))
        for layer in (model.bert.pooler.dense, model.classifier):
            layer.weight.data = torch.empty_like(layer.weight).normal_(0, 0.02)
            layer.bias.data = torch.zeros_like(layer.bias)
        if self.method == "lora":
            torch.manual_seed(SEED)
            config = peft.LoraConfig(
                task_type="SEQ_CLS", r=8, lora_alpha=16, target_modules=["query", "value"],
                modules_to_save=["pooler"],
            )  # fmt: skip
            model = peft.get_peft_model(model, config)
        if self.method == "head":
            for key, parameter in model.named_parameters():
                parameter.requires_grad_(of_head(key))
        for key, parameter in self.trained(model):
            known = self.heads.get(name, {}) if of_head(key) else self.body
            parameter.data = known.get(key, parameter).detach().clone()
        return model.eval()

    def trained(self, model):
        return [(key, p) for key, p in model.named_parameters() if p.requires_grad]

    def inputs(self, examples):
        texts = [example.prompt for example in examples]
        found = self.tokenizer(texts, padding=True, return_tensors="pt")
        return {key: found[key] for key in ("input_ids", "attention_mask")}

    def train(self, name):
        model, examples = self.model(name), load_task(self.tasks[name], HEAD).splits["train"]
        parameters = [parameter for _, parameter in self.trained(model)]
        optimizer = torch.optim.AdamW(parameters, lr=RATE, weight_decay=0)
        labels = torch.tensor([example.correct for example in examples])
        for _ in range(STEPS):
            loss = torch.nn.functional.cross_entropy(model(**self.inputs(examples)).logits, labels)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            optimizer.zero_grad()
        ends = {key: parameter.detach() for key, parameter in self.trained(model)}
        self.body = {key: one for key, one in ends.items() if not of_head(key)}
        self.heads[name] = {key: one for key, one in ends.items() if of_head(key)}

    @torch.no_grad()
    def logits(self, name):
        examples = load_task(self.tasks[name], HEAD).splits["test"]
        return self.model(name)(**self.inputs(examples)).logits


def logits(run, task):
    """Logits of a run for all test examples of a task, with the task's head."""
    context, data = RunContext(), load_task(task, HEAD)
    base = context.base_model_with(run, head_for(data))
    collator = Collator.of(base, 64)
    items, _ = collator.items(data.splits["test"])
    with open_on_task(run, base, data) as model, torch.inference_mode():
        return head_logits(model, collator.batch([item.rows[0] for item in items]))


@pytest.mark.parametrize("method", ["full", "lora", "head"])
def test_a_sequence_is_that_of_a_plain_loop(base, tasks, sequence, context, method):
    plain, matrix, expected = Plain(base, method, tasks), [], []
    config = Config(tasks=tuple({"name": name} for name in tasks.values()), items=0)
    for name, run in zip(CLASSES, sequence(method), strict=True):
        plain.train(name)
        by_task = [plain.logits(other) for other in CLASSES]
        for other, found in zip(CLASSES, by_task, strict=True):
            torch.testing.assert_close(logits(run, tasks[other]), found, atol=2e-4, rtol=0)
        right = measure(context, run, config).groupby("task", sort=False)["right"].mean()
        matrix.append(right.tolist())
        correct = [
            torch.tensor([one.correct for one in load_task(task, HEAD).splits["test"]])
            for task in tasks.values()
        ]
        expected.append(
            [
                (found.argmax(dim=1) == labels).double().mean().item()
                for found, labels in zip(by_task, correct, strict=True)
            ]
        )
    assert matrix == [pytest.approx(row) for row in expected]
    if method == "full":  # so that learning and forgetting are there to be seen
        assert matrix[0] != matrix[1]
        assert matrix[2][0] < matrix[0][0]


def test_head_only_forgets_nothing(sequence, tasks):
    first, _, last = sequence("head")
    assert torch.equal(logits(first, tasks["vowels"]), logits(last, tasks["vowels"]))


def test_each_task_starts_from_a_head_of_its_own(sequence, tasks, base, context):
    """Two tasks of two classes start apart; the base has the head with which a task will start."""
    first, _, last = sequence("lora")
    before = logits(first, tasks["ends"])
    plain = Plain(base, "lora", tasks)
    config = Config(tasks=({"name": tasks["ends"]},), items=0)
    labels = [one.correct for one in load_task(tasks["ends"], HEAD).splits["test"]]
    found = measure(context, first, config)
    untrained = plain.logits("ends").argmax(dim=1).tolist()
    assert found["base_right"].tolist() == [
        int(a == b) for a, b in zip(untrained, labels, strict=True)
    ]
    start = initial_state(last, context.base_model(last))
    key = "base_model.model.classifier.weight"
    torch.manual_seed(head_seed(SEED, load_task(tasks["ends"], HEAD).sha256))
    torch.empty(32, 32).normal_(0, 0.02)  # the pooler's
    assert torch.equal(start[key], torch.empty(2, 32).normal_(0, 0.02))
    assert not torch.equal(start[key], initial_state(first, context.base_model(first))[key])
    assert before.isfinite().all()


def test_a_task_that_comes_again_goes_on_with_its_head(sequence, context):
    first, middle, again = sequence("head", "vowels", "lengths", "vowels")
    assert [one.id for one in earlier_runs(again)] == [middle.id, first.id]
    start = initial_state(again, context.base_model(again))
    end = load_file(first.adapter() / "adapter_model.safetensors")
    assert start.keys() == end.keys()
    assert all(torch.equal(start[name], end[name]) for name in end)
    at_zero = load_file(again.adapter(0) / "adapter_model.safetensors")
    assert all(torch.equal(at_zero[name], end[name]) for name in end)


def continued(base, run, task, **options):
    config = RunConfig(
        method=run.config.method, task=task, base_model=str(base), device="cpu", dtype="float32",
        task_config=options, continue_from=run.id, training={"max_steps": 1},
    )  # fmt: skip
    return Run(peftlens.train(config, run.path.parent).path)


def test_a_sequence_of_numbers_and_classes(base, sequence, tmp_path):
    file = tmp_path / "numbers.jsonl"
    file.write_text("".join(json.dumps({"text": f"w{n}", "label": n}) + "\n" for n in range(9)))
    run = sequence("head", "vowels")[0]
    same_type = continued(base, run, f"file:{file}", kind="regression")
    assert same_type.record.results["trainable_in_head"] == 32 * 32 + 32 + 32 + 1
    file.write_text(
        "".join(json.dumps({"w": [f"w{n}", "b"], "t": ["X", "Y"]}) + "\n" for n in range(9))
    )
    options = {"kind": "token_classification", "words": "w", "label": "t"}
    with pytest.raises(InputError, match="trained with a head of type SEQ_CLS, and .* TOKEN_CLS"):
        continued(base, run, f"file:{file}", **options)


def test_a_task_whose_classes_have_changed(base, sequence, tmp_path):
    file = tmp_path / "words.jsonl"
    rows = [{"text": f"w{n}", "label": "up" if n % 2 else "down"} for n in range(12)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    first = continued(base, sequence("head", "vowels")[0], f"file:{file}")
    rows = [row | {"label": row["label"].upper()} for row in rows]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(InputError, match=r"other classes of 'file:.*\(down, up\).*\(DOWN, UP\)"):
        continued(base, first, f"file:{file}")


def test_a_run_whose_earlier_runs_are_elsewhere(sequence, tasks, tmp_path, context):
    *_, last = sequence("head", "vowels", "lengths")
    alone = Run(tmp_path / last.id)
    shutil.copytree(last.path, alone.path)
    config = Config(tasks=({"name": tasks["vowels"]},))
    with pytest.raises(InputError, match=f"continues from run {last.config.continue_from}, which"):
        measure(context, alone, config)
    config = Config(tasks=({"name": tasks["lengths"]},))
    assert len(measure(context, alone, config))  # its own head is in its own folder
