from dataclasses import dataclass

import numpy as np
import pytest
import sacrebleu

import peftlens
from peftlens.evaluation import probe_runner
from peftlens.probes import corpus_scores
from peftlens.probes.corpus_scores import Config
from peftlens.tasks import load_task


@dataclass
class Written:
    text: str


OPTIONS = {"kind": "generation", "score": "bleu", "max_new_tokens": 12, "label": "answer",
           "template": "{text}:"}  # fmt: skip


@pytest.fixture
def runs(bases, words, tmp_path, monkeypatch):
    """Two runs of a task with written answers, and one of a classification."""
    file = tmp_path / "rows.csv"
    file.write_text(
        "text,answer\n" + "".join(f"say {n},one two three four {n}\n" for n in range(30))
    )
    rng = np.random.default_rng(0)

    def write(*given, **_):
        """Most of the words of an answer; other ones at each call."""
        return [Written(" ".join(rng.permutation(["one two three", "four", str(n), "five"])))
                for n in range(len(given[2]))]  # fmt: skip

    monkeypatch.setattr("peftlens.evaluation.answers.generate", write)

    def train(task, seed, **config):
        return peftlens.train(
            peftlens.RunConfig(
                method="ln_tuning", task=task, seed=seed, base_model=str(bases["llama"]),
                device="cpu", dtype="float32", training={"max_steps": 1}, **config,
            ),
            tmp_path / "runs",
        )  # fmt: skip

    written = [train(f"file:{file}", seed, task_config=OPTIONS) for seed in (0, 1)]
    return [*written, train(f"file:{words}", 0)]


def test_the_stored_answers_are_scored_as_a_corpus(context, runs, monkeypatch):
    items = [probe_runner.run_probe(context, run, "task_items").frame for run in runs[:2]]
    monkeypatch.setattr("peftlens.probes.task_items.measure", lambda *_: pytest.fail("written"))
    found = probe_runner.collect(context, runs, "corpus_scores").frame.set_index("metric")
    examples = load_task(runs[0].config.task, OPTIONS).splits["test"]
    for name, metric in (("bleu", sacrebleu.BLEU()), ("chrf", sacrebleu.CHRF())):
        scores = [
            metric.corpus_score(
                [*frame["answer"]], [[examples[item].answers[0].strip() for item in frame["item"]]]
            ).score
            for frame in items
        ]
        row = found.loc[name]
        assert row["score"] == pytest.approx(sum(scores) / 2)
        assert scores[0] != scores[1]
        assert row["score"] > 1
        assert row["items_ci_low"] <= row["score"] <= row["items_ci_high"]
        assert row["signature"] == str(metric.get_signature())
        assert (row["n_items"], row["n_seeds"]) == (len(items[0]), 2)


def test_runs_without_written_answers_have_no_row(context, runs):
    assert corpus_scores.compare(context, {runs[2]: "full"}, Config()).empty
