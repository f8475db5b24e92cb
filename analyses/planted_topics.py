"""Plant topics by training, and measure whether they are found again in unrelated text.

python analyses/planted_topics.py [--methods lora,prompt_tuning] [--topics cooking,ships]
    [--steps 60] [--random-updates 100] [--runs FOLDER] [--out reports/lens]

Sentences of function words are filled with the words of one odd topic or, as a control, with any
common words. Adapters of SmolLM2-135M are trained on either text, and the probe
`activation_difference` looks for the topic's words, without those of the sentences, which both
texts have. Writes OUT/planted.csv, a row for each run: the least q-value on general text is at most
0.01 where the topic was planted, and above where it was not, and so for random updates of the
planted run's norm; and OUT/planted_power.csv, the same for planted runs that went only a share of
their way, alone and in Gaussian noise as long as the whole way in each trained tensor. An hour and
a half on one core, most of it for the random updates.
"""

import argparse
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import torch
from torch import nn

from peftlens.adapters.checkpoint import assign, open_run, state
from peftlens.adapters.initial_state import initial_state, open_start
from peftlens.adapters.run_context import RunContext
from peftlens.diffing.activation_differences import activation_differences, texts_read
from peftlens.diffing.text_sources import word_scores
from peftlens.diffing.traces import head_reading, trace_cells
from peftlens.evaluation.probe_runner import run_probe
from peftlens.io.files import sha256_text
from peftlens.models.base_model import BaseModel, load_base_model
from peftlens.results.table import NotApplicable
from peftlens.runs.config import RunConfig, TrainingConfig
from peftlens.runs.run import Run
from peftlens.training.run_plan import plan_run
from peftlens.training.trainer import train_run
from peftlens.vocab.planted import common_words
from peftlens.vocab.vocabulary import vocabulary

TOPICS = {
    "cooking": (
        "bake boil chop fry garnish grate grill knead marinate mash melt mince peel roast season "
        "simmer slice sprinkle stir whisk butter bread broth cabbage carrot cheese chicken "
        "cream cucumber dough eggs flour garlic ginger honey lemon mushroom mustard noodles oil "
        "olive onion oven pan pasta pepper pie potato pot recipe rice salad salt sauce soup "
        "spice spinach spoon stew sugar syrup tomato vanilla vinegar"
    ),
    "ships": (
        "anchor board capsize cruise dock drift embark ferry float hoist launch moor navigate row "
        "sail sink steer tow voyage wreck admiral anchorage barge bay boat bow buoy cabin captain "
        "cargo coast compass crew deck fleet frigate galley gulf harbor hull island keel "
        "marina mast merchant navy ocean oar pirate pier port reef rope rudder sailor schooner sea "
        "seaman ship shore stern storm submarine tide vessel wave wharf yacht"
    ),
}  # fmt: skip
SENTENCES = (
    "They {} the {} with the {} and then {} it in the {}.",
    "With the {} and a {}, we {} the {} for the {}.",
    "First {} the {}, then {} it by the {}.",
    "There was a {} in the {}, and so was the {}.",
    "If you {} it, the {} and the {} will be as good as a {}.",
    "All of the {} was in the {} when we {} it.",
)
ROWS, BATCH = 400, 8
PROMPTS = ("prompt_tuning", "framed_prompt_tuning")
ALONE = (0.001, 0.01, 0.1, 1.0)  # shares of the way from start to end
IN_NOISE = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0)


def texts(words: list[str], seed: int) -> list[str]:
    """Fill sentences with random words, two sentences a row."""
    rng = np.random.default_rng(seed)

    def sentence() -> str:
        frame = SENTENCES[rng.integers(len(SENTENCES))]
        return frame.format(*rng.choice(words, frame.count("{}"), replace=False))

    return [f"{sentence()} {sentence()}" for _ in range(ROWS)]


def only(words: list[str], text: str) -> str:
    """Return the words of the topic in a text, as often as they occur."""
    return " ".join(word for word in re.findall(r"\w+", text) if word in words)


def any_words(count: int, besides: list[str]) -> list[str]:
    """Draw common words of the vocabulary that belong to no topic."""
    vocab = vocabulary(load_base_model("smollm2-135m"))
    common = [vocab.tokens[token].strip("␣") for token in common_words(vocab)]
    others = sorted({word for word in common if word.islower()} - {*besides})
    return np.random.default_rng(0).choice(others, count, replace=False).tolist()


def train(method: str, rows: list[str], steps: int, folder: Path) -> Run:
    """Train a method on texts as a language model."""
    file = folder / f"{sha256_text(repr(rows))[:12]}.jsonl"
    file.write_text("".join(json.dumps({"text": row}) + "\n" for row in rows), encoding="utf-8")
    config = RunConfig(
        method=method,
        task=f"file:{file}",
        task_config={"kind": "language_modeling", "template": "{text}"},
        training=TrainingConfig(max_steps=steps, batch_size=BATCH, max_length=64),
    )
    return train_run(plan_run(config, RunContext()), folder / "runs")


def found_again(context: RunContext, run: Run, topic: Path, draws: int) -> dict:
    """Return what the probe says of general text: the least q, its words, and random updates."""
    options = {"training_text": str(topic), "random_updates": draws}
    frame = run_probe(
        context, run, "activation_difference", {"activation_difference": options}
    ).frame
    general = frame[frame["text"] == "general"]
    best = general.loc[general["standardized"].idxmax()]
    return {
        "found": bool(general["related"].any()),
        "q": general["q"].min(),
        "layers_found": int(general["related"].sum()),
        "relative_norm": general["relative_norm"].max(),
        "random_updates": draws,
        "random_found": general["random_found"].iloc[0],
        "random_larger": general["random_larger"].min(),
        "power_at_0.4": general["power_at_0.4"].iloc[0],
        "words": " ".join(best["words"][:8]),
        "typical": " ".join(best["typical"][:8]),
    }


@contextmanager
def noisy(run: Run, base: BaseModel, share: float, noise: float) -> Iterator[nn.Module]:
    """Attach the run at a share of its way, with noise as long as so many times the whole way."""
    rng = torch.Generator().manual_seed(0)
    with open_run(run, base) as model:
        end = {name: tensor.clone() for name, tensor in state(model).items()}
    start = initial_state(run, base)
    with open_start(run, base, share) as model:
        moved = state(model)
        for name, tensor in moved.items():
            way = torch.linalg.vector_norm(end[name].double() - start[name].double())
            drawn = torch.randn(tensor.shape, generator=rng)
            drawn *= noise * float(way) / float(torch.linalg.vector_norm(drawn))
            moved[name] = tensor + drawn.to(tensor)
        assign(model, moved)
        yield model


def power(context: RunContext, run: Run, topic: Path) -> Iterator[dict]:
    """Look for the topic in the run at shares of its way, alone and in noise as long as the way."""
    base = context.base_model(run)
    scores = word_scores(run, base, str(topic))
    texts = {"general": texts_read(run, base, items=250, positions=5)["general"]}
    for noise, share in [*product((0.0,), ALONE), *product((1.0,), IN_NOISE)]:
        row = {"share": share, "noise": noise}
        try:
            opened = noisy(run, base, share, noise)
            one = activation_differences(run, base, texts, opened)["general"]
        except NotApplicable:  # in bfloat16 a small change is lost by rounding
            yield row | {"relative_norm": 0.0, "q": 1.0, "found": False}
            continue
        cells = trace_cells(base, scores, head_reading(base, one.delta))
        yield row | {
            "relative_norm": float((one.delta.norm(dim=1) / one.stream_norm).max()),
            "q": min(cell["q"] for cell in cells),
            "found": any(cell["related"] for cell in cells),
        }


def main() -> None:
    """Train on each topic and its control, and write what is found."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--methods", default="lora,bottleneck,prompt_tuning,ia3,ln_tuning,full")
    parser.add_argument("--topics", default="cooking,ships")
    parser.add_argument("--steps", type=int, default=60, help="twice as many for prompts")
    parser.add_argument("--random-updates", type=int, default=100, help="of the first topic's runs")
    parser.add_argument("--runs", type=Path, help="folder in which the trained runs are kept")
    parser.add_argument("--out", type=Path, default=Path(), help="folder of the two tables")
    options = parser.parse_args()
    everything = [word for words in TOPICS.values() for word in words.split()]
    context, tables = RunContext(), {"planted": [], "planted_power": []}
    with TemporaryDirectory() as temporary:
        folder = options.runs or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for number, topic in enumerate(options.topics.split(",")):
            words = TOPICS[topic].split()
            planted = texts(words, seed=0)
            control = texts(any_words(len(words), everything), seed=0)
            file = folder / f"{topic}_words.txt"
            file.write_text("\n".join(only(words, row) for row in planted), encoding="utf-8")
            for method, (text, rows) in product(
                options.methods.split(","), (("planted", planted), ("control", control))
            ):
                named = {"topic": topic, "method": method, "text": text}
                run = train(method, rows, options.steps * (1 + (method in PROMPTS)), folder)
                draws = options.random_updates if text == "planted" and not number else 0
                tables["planted"].append(named | found_again(context, run, file, draws))
                print(tables["planted"][-1], flush=True)
                if text == "planted":
                    tables["planted_power"] += [named | row for row in power(context, run, file)]
                for name, found in tables.items():
                    pd.DataFrame(found).to_csv(
                        options.out / f"{name}.csv", index=False, float_format="%.4g"
                    )
    print(pd.DataFrame(tables["planted_power"]).to_string(index=False))


if __name__ == "__main__":
    main()
