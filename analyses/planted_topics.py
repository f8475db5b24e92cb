"""Print whether a topic that was planted by training is found again in unrelated text.

python analyses/planted_topics.py [--methods lora,prompt_tuning] [--topics cooking,ships]
    [--steps 50] [--random-updates 5] [--out FOLDER]

Sentences of function words are filled with the words of one odd topic or, as a control, with any
common words. Adapters of SmolLM2-135M are trained on either text, and the probes
`activation_difference` and `patchscope` look for the topic's words, without those of the sentences,
which both texts have. Each row has the least q-value on general text: at most 0.01 where the topic
was planted, and above where it was not. With two methods and one topic about a quarter of an hour
on two cores.
"""

import argparse
import json
import re
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd

from peftlens.adapters.run_context import RunContext
from peftlens.evaluation.probe_runner import run_probe
from peftlens.io.files import sha256_text
from peftlens.models.base_model import load_base_model
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
    file.write_text("".join(json.dumps({"text": row}) + "\n" for row in rows))
    config = RunConfig(
        method=method,
        task=f"file:{file}",
        task_config={"kind": "language_modeling", "template": "{text}"},
        training=TrainingConfig(max_steps=steps, batch_size=BATCH, max_length=64),
    )
    return train_run(plan_run(config, RunContext()), folder / "runs")


def findings(context: RunContext, run: Run, topic_file: Path, draws: int) -> list[dict]:
    """Return one row per probe: the least q of general text, and the words there."""
    rows = []
    options = {"training_text": str(topic_file), "random_updates": draws}
    for probe, kind in (("activation_difference", "text"), ("patchscope", "source")):
        frame = run_probe(context, run, probe, {probe: options}).frame
        general = frame[frame[kind] == "general"]
        best = general.loc[general["standardized"].idxmax()]
        rows.append(
            {
                "probe": probe,
                "found": bool((general["q"] <= 0.01).any()),
                "q": general["q"].min(),
                "p": general["p"].min(),
                "layers_found": int((general["q"] <= 0.01).sum()),
                "random_found": general["random_found"].iloc[0],
                "words": " ".join(best["words"][:8]),
                "typical": " ".join(best["typical"][:8]),
            }
        )
    return rows


def main() -> None:
    """Train on each topic and its control, and print what is found."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--methods", default="lora,prompt_tuning")
    parser.add_argument("--topics", default="cooking,ships")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--random-updates", type=int, default=5)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    everything = [word for words in TOPICS.values() for word in words.split()]
    context, rows = RunContext(), []
    with TemporaryDirectory() as temporary:
        out = options.out or Path(temporary)
        out.mkdir(parents=True, exist_ok=True)
        for topic in options.topics.split(","):
            words = TOPICS[topic].split()
            planted = texts(words, seed=0)
            control = texts(any_words(len(words), everything), seed=0)
            file = out / f"{topic}_words.txt"
            file.write_text("\n".join(only(words, row) for row in planted))
            for method in options.methods.split(","):
                for name, trained_on in (("planted", planted), ("control", control)):
                    run = train(method, trained_on, options.steps, out)
                    for row in findings(context, run, file, options.random_updates):
                        rows.append({"topic": topic, "method": method, "text": name} | row)
                        print(rows[-1], flush=True)
    print(pd.DataFrame(rows).to_string(index=False))


if __name__ == "__main__":
    main()
