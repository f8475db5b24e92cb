"""Soft prompts do not coincide with any real token.

A prompt that starts at random is near no token before it is trained: it is evidence only if
training brings it to tokens. So the population are prompts that start at tokens (most vectors,
before training, with a cosine of 0.99 or more to a token), and those that end at tokens. Rule: a
prompt has left the tokens if, at the last step, most vectors have a cosine below 0.9 to every
token, and replacing all vectors by their nearest tokens costs more than 0.05 nats per token (lower
end of the 95 % interval over examples). Supported if the 95 % interval of the share of such prompts
lies above one half, contradicted if below.
"""

from collections.abc import Mapping

import pandas as pd

from peftlens.claims import ONE_SIDED, Outcome, by_half, trained_prompts

CLAIM = "Soft prompts do not coincide with any real token."
SOURCE = "Bailey et al. 2023, Soft prompting might be a bug, not a feature"
NEEDS = ("soft_prompt_neighbors", "soft_prompt_faithfulness")
TO_MEASURE = (
    "train prompt_tuning from tokens with six seeds or more and a checkpoint at step 0, and "
    "measure soft_prompt_neighbors and soft_prompt_faithfulness"
)
ANALYSIS = "soft_prompts"
COINCIDES = 0.99  # cosine
AWAY = 0.9  # cosine; 26 degrees
MARGIN = 0.05  # nats per token


def verdict(tables: Mapping[str, pd.DataFrame], alpha: float = ONE_SIDED) -> tuple[Outcome, str]:
    """Judge by the cosine of each vector to its nearest token, and by the loss at these tokens."""
    near = tables["soft_prompt_neighbors"]
    near = near[(near["metric"] == "cosine") & (near["space"] == "embedding")]
    if "kind" in near:
        near = near[near["kind"] == "soft prompt"]
    last = trained_prompts(near)
    if last.empty:
        return "not measured", "No prompt was trained."
    first = near[near["step"] == 0]
    started = _share(first["similarity"] >= COINCIDES, first)
    ended = _share(last["similarity"] >= COINCIDES, last)
    away = _share(last["similarity"] < AWAY, last)
    loss = tables["soft_prompt_faithfulness"]
    gap = loss[loss["prompt"] == "nearest tokens (cosine)"].set_index("run")["gap_ci_low"]
    runs = [
        run for run in away.index if run in gap and (started.get(run, 0) > 0.5 or ended[run] > 0.5)
    ]
    if not runs:
        return "not measured", (
            "No prompt is known to have started at tokens, and none ends at tokens."
        )
    left = away[runs].where(gap[runs] > MARGIN, 0.0)
    outcome, sentence = by_half(
        left, "most vectors left the tokens, which lack their effect", alpha
    )
    shown = last[last["run"].isin(runs)]["similarity"].median()
    return outcome, (
        f"{sentence} The median cosine to the nearest token is {shown:z.2f}; the nearest tokens "
        f"cost {gap[runs].median():z.2f} nats per token or more in the median prompt. "
        f"{len(away) - len(runs)} prompts that neither started nor ended at tokens do not count."
    )


def _share(holds: pd.Series, rows: pd.DataFrame) -> pd.Series:
    return holds.groupby(rows["run"]).mean()
