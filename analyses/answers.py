"""Write reports/answers: exact match and F1 of written answers, and a memorized training set.

peftlens study analyses/answers_asdiv.toml --out studies/answers_asdiv
peftlens study analyses/answers_nq_open.toml --out studies/answers_nq_open
python analyses/answers.py studies/answers_asdiv studies/answers_nq_open

scores.csv has every configuration's scores and their differences from the base model, paired by
seeds and items. The base begins its answers with a line break, at which the task's stop string cuts
them, so that all are empty; compared is therefore the first line of its text that is not empty.

texts.csv has the answers side by side. memorized.csv is the control that the score
can move: LoRA is trained on a few of the same rows for many epochs, and asked for them.
reports/answers.html is the report of both studies.
"""

import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
from measured import read

import peftlens as pl
from peftlens.evaluation.answer_scores import score
from peftlens.evaluation.answers import references
from peftlens.numerics.mixed_model import crossed_estimate
from peftlens.reports import page
from peftlens.tasks import load_task

OUT = Path(__file__).parent.parent / "reports" / "answers"
MEMORIZED = 24  # rows, in batches of 8
EPOCHS = 40


def task_of(study: Path):
    """Load the task of a study's runs."""
    config = next(iter(pl.load_study(study).runs)).config
    return load_task(config.task, config.task_config)


def scored(study: Path, name: str) -> dict[str, pd.DataFrame]:
    """Score the written answers of each configuration: seeds by items."""
    items = read(study, "task_items")
    right = [references(example) for example in task_of(study).splits["test"]]
    values = [
        score(name, answer or "", right[item])
        for answer, item in zip(items["answer"], items["item"], strict=True)
    ]
    groups = items.assign(value=values).groupby("configuration", sort=False)
    return {
        str(configuration): group.pivot(index="seed", columns="item", values="value")
        for configuration, group in groups
    }


def base_texts(study: Path) -> list[str]:
    """Let the base answer the test prompts with 64 tokens each."""
    frozen = next(run for run in pl.load_study(study).runs if run.config.method == "frozen")
    prompts = [one.prompt for one in task_of(study).splits["test"]]
    return [*frozen.generate(prompts, max_new_tokens=64, stop=["###"])["base"]]


def first_line(text: str) -> str:
    """Return the first line of a text that is not empty."""
    return next((line for line in text.splitlines() if line.strip()), "")


def compared(study: Path) -> pd.DataFrame:
    """Compare every configuration with the base model, paired by seed and item."""
    task, rows = task_of(study), []
    texts = base_texts(study)
    lines = [first_line(text) for text in texts]
    right = [references(example) for example in task.splits["test"]]
    for name in dict.fromkeys(["exact_match", "f1", task.answers.score]):
        wide = scored(study, name)
        base, whole = (
            pd.DataFrame([[score(name, *one) for one in zip(written, right, strict=True)]])
            for written in (lines, texts)
        )
        for configuration, values in {
            "base, first line": base, "base, 64 tokens": whole, **wide
        }.items():  # fmt: skip
            change = crossed_estimate(values - base.iloc[0][values.columns])
            mean = crossed_estimate(values)
            rows.append(
                {
                    "task": task.name,
                    "score": name,
                    "configuration": configuration,
                    "mean": mean.value,
                    "ci_low": mean.low,
                    "ci_high": mean.high,
                    "change": change.value,
                    "change_ci_low": change.low,
                    "change_ci_high": change.high,
                    "p_value": change.p_value,
                    "n_seeds": values.shape[0],
                    "n_items": values.shape[1],
                }
            )
    return pd.DataFrame(rows)


def memorized(study: Path) -> dict[str, object]:
    """Train LoRA on a few rows of a study's task for many epochs, and ask for the same rows."""
    task = task_of(study)
    rows = task.splits["train"][: MEMORIZED + 2]
    with TemporaryDirectory() as folder:
        file = Path(folder, "rows.jsonl")
        lines = [json.dumps({"text": r.prompt, "answer": r.answers[0].strip()}) for r in rows]
        file.write_text("\n".join(lines), encoding="utf-8")
        columns = {
            "kind": "generation",
            "template": "{text}",
            "label": "answer",
            "score": task.answers.score,
            "max_new_tokens": task.answers.max_new_tokens,
            "stop": list(task.answers.stop),
            "split": {"validation": 0.04, "test": 0.04},
        }
        config = pl.RunConfig(
            method="lora",
            task=f"file:{file}",
            task_config=columns,
            base_model="smollm2-135m",
            dtype="bfloat16",
            training={"max_steps": EPOCHS * MEMORIZED // 8, "batch_size": 8},
        )
        run = pl.train(config, Path(folder, "runs"))
        trained = load_task(config.task, config.task_config).splits["train"]
        texts = run.generate(
            [one.prompt for one in trained], max_new_tokens=16, stop=task.answers.stop
        )
    row: dict[str, object] = {"task": task.name, "n_rows": len(trained), "epochs": EPOCHS}
    for name in ("exact_match", "f1"):
        for model in ("base", "tuned"):
            values = [
                score(name, text.strip(), references(one))
                for text, one in zip(texts[model], trained, strict=True)
            ]
            row[f"{model}_{name}"] = sum(values) / len(values)
    return row


def main() -> None:
    """Write the folder."""
    studies = [Path(one) for one in sys.argv[1:]]
    OUT.mkdir(parents=True, exist_ok=True)
    tables = {
        "scores": pd.concat([compared(study) for study in studies]),
        "memorized": pd.DataFrame([memorized(study) for study in studies]),
        "texts": pd.concat([texts(study) for study in studies]),
    }
    for name, frame in tables.items():
        frame.to_csv(OUT / f"{name}.csv", index=False, float_format="%.4g")
    page.write(studies, OUT.with_suffix(".html"), assets=True)


def texts(study: Path) -> pd.DataFrame:
    """Return the texts of the first seed, side by side with the base's first lines."""
    frame = read(study, "generations")
    lines = pd.Series([first_line(text) for text in base_texts(study)])
    own = frame["source"] == "task"
    frame.loc[own, "base"] = frame.loc[own, "item"].map(lines)
    frame = frame[frame["method"] != "frozen"]
    columns = ["source", "item", "configuration", "prompt", "reference", "base", "tuned"]
    return frame[frame["seed"] == frame["seed"].min()][columns]


if __name__ == "__main__":
    main()
