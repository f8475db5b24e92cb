"""Everything that the pages of the docs take for granted, in one folder, with tiny models.

Folders stand for ids of the hub, as `org/model` may be either; a run's name is put in for RUN.
"""

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import theirs
import torch
from tiny import SIZES, build, byte_tokenizer
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

import peftlens as pl

STUDY = """
name = "my study"
base_model = "./my-model"
dtype = "float32"
device = "cpu"
probes = ["task_items", "task_accuracy", "parameter_count", "rank_chart"]

[task]
name = "file:reviews.csv"

[training]
max_steps = 2

[[runs]]
method = "frozen"

[[runs]]
method = "lora"
config = { rank = 2 }

[[runs]]
method = "prompt_tuning"
config = { num_virtual_tokens = 8 }
"""
CHAT = (
    '{"messages": [{"role": "user", "content": "Hi %d"}, {"role": "assistant", "content": "Yo"}]}\n'
)
PAIR = '{"prompt": "Say it %d:", "chosen": " yes", "rejected": " no"}\n'
PASSAGES = ["The harbor was quiet that morning.", "Rain fell on the hills all day."]


NAMES = {"claims": "rank", "methods": "lora", "probe": "task_accuracy"}
# What a page's placeholders and large things are here.
BASES = {"smollm2-135m": "my-model", "org/name": "org/model", "BASE": "org/model"}
LOCAL = {"$SLURM_ARRAY_TASK_ID/8": "1/8", "[...]": "adapter", "DIR":
         "studies/my-study", "items=0": "items=4", "items=50": "items=4", "items=200": "items=4",
         'suites=["passages", "file:mine.csv"]': 'suites=["file:mine.csv"]',
         'tasks=["boolq", "file:mine.csv"]': 'tasks=["file:reviews.csv"]'}  # fmt: skip


@dataclass(frozen=True)
class World:
    """The folder, and what was trained in it: a LoRA, one with a head, and a soft prompt."""

    folder: Path
    run: pl.Run
    classifier: pl.Run
    prompt: pl.Run


def make(folder: Path) -> World:
    """Write the files and train the runs; the current folder is `folder`."""
    models(folder)
    files(folder)
    for number, name in enumerate(("ADAPTER", "OTHER", "org/name", "org/other", "adapter",
                                   "my-adapter")):  # fmt: skip
        adapter(folder / name, number)
    run, prompt = train("lora", rank=2), train("prompt_tuning", num_virtual_tokens=8)
    classifier = train("lora", rank=3, task_config={"head": "classification"})
    for study in ("my-study", "one", "two"):
        pl.run_study("my-study.toml", f"studies/{study}", workers=0)
    return World(folder, run, classifier, prompt)


def models(folder: Path) -> None:
    for name in ("my-model", "org/model"):
        build("llama").save_pretrained(folder / name)
        tokenizer().save_pretrained(folder / name)
    shutil.copytree(folder / "org" / "model", folder / "fine_tuned")
    tuned = build("llama")
    with torch.no_grad():
        for parameter in tuned.parameters():
            parameter += 0.01 * torch.randn(parameter.shape)
    tuned.save_pretrained(folder / "fine_tuned")
    shutil.copytree(folder / "fine_tuned", folder / "MODEL")
    torch.manual_seed(0)
    wide = LlamaConfig(**SIZES, hidden_size=128, intermediate_size=256, num_hidden_layers=2,
                       num_attention_heads=4, max_position_embeddings=512,
                       tie_word_embeddings=True)  # fmt: skip
    LlamaForCausalLM(wide).save_pretrained(folder / "wide")
    tokenizer().save_pretrained(folder / "wide")


def tokenizer() -> PreTrainedTokenizerFast:
    """Every byte is a token, and conversations have a template."""
    made = byte_tokenizer()
    made.chat_template = (
        "{% for m in messages %}{{ m.role }}: {{ m.content }}{{ eos_token }}{% endfor %}"
        "{% if add_generation_prompt %}assistant: {% endif %}"
    )
    return made


def files(folder: Path) -> None:
    rows = [f'"Number {number}: it {word}.",{stars}' for number in range(20)
            for word, stars in (("works", "good"), ("broke", "bad"))]  # fmt: skip
    (folder / "reviews.csv").write_text("\n".join(["review,stars", *rows]) + "\n")
    (folder / "my-study.toml").write_text(STUDY)
    (folder / "chat.jsonl").write_text("".join(CHAT % number for number in range(20)))
    (folder / "pairs.jsonl").write_text("".join(PAIR % number for number in range(20)))
    answers = [f"How many legs have {number} dogs?,{4 * number}" for number in range(20)]
    (folder / "qa.csv").write_text("\n".join(["question,answer", *answers]) + "\n")
    texts = [f"{PASSAGES[number % 2]} {number}" for number in range(20)]
    for name in ("train.txt", "my_texts.txt", "my_prompts.txt"):
        (folder / name).write_text("\n".join(texts) + "\n")
    (folder / "mine.csv").write_text("\n".join(["text", *texts]) + "\n")


def adapter(folder: Path, number: int) -> None:
    theirs.save(theirs.wrapped("LORA", r=9 + number), folder, "org/model")


def train(method: str, task_config: dict[str, str] | None = None, **options: int) -> pl.Run:
    config = pl.RunConfig(
        method=method, task="file:reviews.csv", base_model="my-model", device="cpu",
        dtype="float32", method_config=options, task_config=task_config or {},
        training={"max_steps": 2, "batch_size": 4, "checkpoint_steps": [0]},
    )  # fmt: skip
    return pl.train(config, "runs")


def python_of(text: str, world: World) -> str:
    """Return an example as it stands, with tiny models and data for the large ones."""
    run = world.classifier if "SequenceClassification" in text else world.run
    text = re.sub(r"runs/(RUN|[0-9a-f]{12})", f"runs/{run.id}", text)
    text = text.replace('"smollm2-135m"', '"my-model"').replace("num_labels=5", "num_labels=2")
    text = text.replace('task="bbc_topic"', 'task="file:reviews.csv"')
    text = re.sub(r"max_steps\W+60", lambda found: found[0].replace("60", "2"), text)
    return text.replace("RunConfig(", 'RunConfig(base_model="my-model", device="cpu", ')


def command_of(words: list[str], world: World) -> list[str]:
    """Return the arguments of a command as they stand, with tiny models and data."""
    prompt = any(word.startswith(("soft_prompt", "--between")) for word in words)
    run = str((world.prompt if prompt else world.run).path)
    words = [re.sub(r"^(studies/my-study/)?(runs/)?RUN$", run, word) for word in words]
    words = [LOCAL.get(word, word).replace("/shared/", "shared/") for word in words]
    words = [NAMES[words[0]] if word == "NAME" else word for word in words]
    after_base = [place + 1 for place, word in enumerate(words) if word == "--base"]
    for place in after_base:
        words[place] = BASES.get(words[place], words[place])
    if words[0] == "study" and words[1] not in ("validate", "status", "verify"):
        return [*words, "--workers", "0"]  # cli/test_study.py starts processes
    if words[0] != "train":
        return words
    if "--base" not in words:
        words = [*words, "--base", "wide"]
    given = " ".join(words)
    task = ["--task", "file:reviews.csv"]
    if "file:" not in given:
        at = words.index("--task") if "--task" in words else len(words)
        words = [*words[:at], *task, *words[at + 2 :]]
    return [*words, "--steps", "4", "--no-untrained", "--out", "trained"]
