"""Loss on every text, and answer to every question, of the retention suites at each saved step.

Both models are scored in the same batches, so before the first step a method that starts as the
identity has exactly the base's numbers. Padding, virtual tokens and the first token of a text,
which is not predicted, are excluded. Of an encoder's texts masked tokens are predicted, 16 of each
text. `forgetting` and its comparisons aggregate this table.
"""

import numpy as np
import pandas as pd

from peftlens.adapters.run_context import RunContext
from peftlens.evaluation.keep_text import require_apart
from peftlens.evaluation.retention import (
    AnySuite,
    Scores,
    Suite,
    reference,
    scores,
    suites,
    unchanged_scores,
)
from peftlens.evaluation.retention import SuiteOptions as Config
from peftlens.results.table import Chart, Column
from peftlens.runs.trained_model import TrainedModel

REQUIRES = frozenset()
VERSION = 2
OPTIONS_OF = "forgetting"
COLUMNS = (
    Column("step", "number of optimizer steps taken"),
    Column("suite", "name of the suite: general text, or questions with candidate answers"),
    Column("item", "index of the text or question in the suite"),
    Column("base_loss", "loss of the base: of a text, summed over its tokens; of a question, of "
           "the right answer per token; missing for documents of lm-evaluation-harness", "nats",
           "lower"),
    Column("loss", "loss of the tuned model, in the same way", "nats", "lower"),
    Column("tokens", "number of predicted tokens of a text; missing for questions"),
    Column("base_right", "1 if the base's answer is right, 0 if not; for a document of "
           "lm-evaluation-harness the base's score; missing for texts", "1", "higher"),
    Column("right", "1 if the tuned model's answer is right, 0 if not", "1", "higher"),
    Column("base_right_per_byte", "base_right by log-probability per byte", "1", "higher"),
    Column("right_per_byte", "right by log-probability per byte", "1", "higher"),
    Column("options", "number of candidate answers of a question; missing for texts and for "
           "documents of lm-evaluation-harness"),
    Column("kl", "KL(base || tuned) of the next token, summed over the tokens of a text", "nats",
           "lower"),
)  # fmt: skip
CHARTS: tuple[Chart, ...] = ()


def measure(context: RunContext, run: TrainedModel, config: Config) -> pd.DataFrame:
    """Return one row per saved step, suite and item."""
    base = context.base_model(run)
    require_apart(run, {name: config.suite_options.get(name, {}) for name in config.suites})
    scored = suites(base, config)
    references = [reference(base, one) for one in scored]
    frames = []
    for step in run.steps:
        pairs = list(zip(scored, references, strict=True))
        if run.is_base:
            tuned = [unchanged_scores(*pair) for pair in pairs]
        else:
            with context.open_run(run, step) as model:
                tuned = [scores(model, base, *pair) for pair in pairs]
        frames += [
            _rows(one, before.scores, after).assign(step=step)
            for one, before, after in zip(scored, references, tuned, strict=True)
        ]
    frame = pd.concat(frames, ignore_index=True)[[column.name for column in COLUMNS]]
    floats = [column.name for column in COLUMNS if column.unit is not None]
    return frame.astype({"tokens": "Int64", "options": "Int64"} | dict.fromkeys(floats, "Float64"))


def _rows(one: AnySuite, before: Scores, after: Scores) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "suite": one.name,
            "item": np.arange(len(before.tokens)),
            "base_loss": before.loss,
            "loss": after.loss,
            "tokens": before.tokens if one.texts else None,
            "base_right": before.right,
            "right": after.right,
            "base_right_per_byte": before.right_per_byte,
            "right_per_byte": after.right_per_byte,
            "options": _options(one),
            "kl": after.kl,
        }
    )


def _options(one: AnySuite) -> list[int] | None:
    """Return the number of candidate answers of each question."""
    if not isinstance(one, Suite) or one.texts:
        return None
    return [len(item.rows) for item in one.items]
