"""What a run learned, on one screen: its trace, where in the network it sits, what it forgot.

Every part is of a table that was measured; a part without its table is left out.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import pandas as pd

from peftlens.diffing.trace_verdict import (
    KINDS,
    TraceVerdict,
    blocks,
    trace_verdict,
    unrelated_rows,
)
from peftlens.numerics.rounding import interval, number
from peftlens.reports.side_by_side import Answers, answers
from peftlens.results.table import Table, last_steps, measured

MARKS = {
    "readable trace": "✓", "trace, not of the task": "~", "trace, training text unknown": "~",
    "no trace found": "✗",
}  # fmt: skip
READ = tuple(KINDS)  # tables with a verdict on the trace
SHOWN = (*READ, "logit_shift", "generations")  # tables that say what a run learned
_WORDS = 12  # words of a list
_TOKENS = 10
_ANSWERS = {"task": 2, "general": 1, "own": 1}  # prompts of each source
_CHARACTERS = 160  # of a prompt's end, and of each text
_BY_CHANCE = 0.05  # p above which random sets of blocks do as well
_FORGETTING = {"forgetting": "", "linear_probes": ", by linear classifiers of the states"}
_TEXTS = {"general": "general text", "own": "your own text"}


@dataclass(frozen=True)
class Word:
    """A raised word, and whether it is typical of the training text."""

    text: str
    typical: bool


@dataclass(frozen=True)
class Bar:
    """One block in a strip: its height between 0 and 1, and whether a trace was found there."""

    block: int
    height: float
    found: bool


@dataclass(frozen=True)
class Strip:
    """Values by block, drawn as a row of bars.

    Attributes:
        title: what the bars are.
        finding: where the largest is, as a sentence.
        bars: one for each block, in order.
    """

    title: str
    finding: str
    bars: tuple[Bar, ...]


@dataclass(frozen=True, kw_only=True)
class Learned:
    """What one run learned.

    Attributes:
        name: configuration of the run.
        seed: its seed, as text; empty for an adapter.
        verdict: verdict on its trace.
        place: text and block at which words and tokens are read.
        words: words raised there, most raised first.
        raised: tokens raised there, most raised first.
        lowered: tokens lowered there.
        strip: relevance by block, or size where no words were tested; None without either.
        facts: what else was measured, as pairs of a question and an answer.
        answers: prompts with the texts of base and run.
        others: seed and verdict of the configuration's other runs.
    """

    name: str
    seed: str
    verdict: TraceVerdict
    place: str
    words: tuple[Word, ...] = ()
    raised: tuple[str, ...] = ()
    lowered: tuple[str, ...] = ()
    strip: Strip | None = None
    facts: tuple[tuple[str, str], ...] = ()
    answers: tuple[Answers, ...] = ()
    others: tuple[tuple[str, TraceVerdict], ...] = ()

    @property
    def mark(self) -> str:
        """Symbol of the outcome."""
        return MARKS.get(self.verdict.outcome, "?")

    @property
    def title(self) -> str:
        """Configuration and seed."""
        return f"{self.name}, seed {self.seed}" if self.seed else self.name

    @property
    def q(self) -> str:
        """Smallest q of the words, as text."""
        return "" if self.verdict.q is None else f"{self.verdict.q:.2g}"

    @property
    def outcomes(self) -> str:
        """Outcomes of the other seeds, with their numbers."""
        counts = Counter(verdict.outcome for _, verdict in self.others)
        return ", ".join(f"{count} {outcome}" for outcome, count in counts.items())


def learned(
    tables: Mapping[str, Table], *, seeds: bool = True, read: Sequence[str] = READ
) -> Iterator[Learned]:
    """Yield what the run with the lowest seed of each configuration learned.

    Args:
        tables: tables over runs, by probe.
        seeds: whether the runs have seeds; an adapter of another program tells none.
        read: names of tables; only runs in one of them are shown.
    """
    frames = {name: measured(one.frame) for name, one in tables.items() if "run" in one.frame}
    shown = [frames[name] for name in read if name in frames and len(frames[name])]
    if not shown:
        return
    columns = ["run", "configuration", "method", "seed"]
    runs = pd.concat([frame[columns] for frame in shown]).drop_duplicates("run")
    runs = runs[runs["method"] != "frozen"]
    for name, rows in runs.groupby("configuration", sort=False):
        ordered = rows.sort_values("seed", kind="stable")
        first, *others = (_of(frames, run) for run in ordered["run"])
        numbers = [f"{seed}" for seed in ordered["seed"]]
        verdicts = [trace_verdict(one) for one in others]
        one = one_run(first, str(name), numbers[0] if seeds else "")
        yield replace(one, others=tuple(zip(numbers[1:], verdicts, strict=True)))


def one_run(frames: Mapping[str, pd.DataFrame], name: str, seed: str = "") -> Learned:
    """Sum up the measured rows of one run, by probe."""
    verdict = trace_verdict(frames)
    one = Learned(
        name=name,
        seed=seed,
        verdict=verdict,
        place="",
        facts=tuple(_facts(frames)),
        answers=tuple(_examples(frames)),
    )
    source = verdict.source or next((one for one in READ if len(unrelated_rows(frames, one))), "")
    rows = unrelated_rows(frames, source)
    rows = rows[rows[KINDS[source]] == (verdict.text or "general")] if len(rows) else rows
    if rows.empty:
        return _with_shift(one, frames)
    tested = rows["q"].notna().any()
    order = ["q", "standardized"] if tested else ["layer"]
    best = rows.sort_values(order, ascending=[True, False] if tested else False).iloc[0]
    typical = set(verdict.typical)
    return replace(
        one,
        place=f"{_TEXTS[verdict.text or 'general']}, after block {best['layer']}",
        words=tuple(Word(word, word in typical) for word in verdict.words[:_WORDS]),
        raised=_listed(best["raised"]),
        lowered=_listed(best["lowered"]),
        strip=_strip(rows, verdict),
    )


def _with_shift(one: Learned, frames: Mapping[str, pd.DataFrame]) -> Learned:
    """Add the tokens whose logits rose and fell most, where no states were read."""
    if "logit_shift" not in frames:
        return one
    rows = frames["logit_shift"]
    tokens = {way: _listed([*part["token"]]) for way, part in rows.groupby("direction")}
    place = f"the output, over the texts of {rows['suite'].iloc[0]}"
    return replace(
        one, place=place, raised=tokens.get("raised", ()), lowered=tokens.get("lowered", ())
    )


def _of(frames: Mapping[str, pd.DataFrame], run: str) -> dict[str, pd.DataFrame]:
    rows = {name: frame[frame["run"] == run] for name, frame in frames.items()}
    return {name: frame for name, frame in rows.items() if len(frame)}


def _listed(tokens: Sequence[str] | None) -> tuple[str, ...]:
    return () if tokens is None else tuple(map(str, tokens[:_TOKENS]))


def _strip(rows: pd.DataFrame, verdict: TraceVerdict) -> Strip | None:
    """Draw the relevance of the words, or the size of the change where none was tested."""
    tested = rows["q"].notna().any()
    column = "standardized" if tested else "relative_norm"
    if column not in rows:
        return None
    values = rows[column].astype(float).fillna(0.0).clip(lower=0.0)
    largest = float(values.max())
    at = int(rows["layer"].to_numpy()[values.to_numpy().argmax()])
    if tested:
        title = "How typical of the training text the raised words are, by block"
        finding = f"Most after block {at}: {largest:.1f} standard deviations above random words."
    else:
        title = "Size of the change, by block"
        finding = f"Largest after block {at}: {largest:.1%} of the states' length."
    bars = (
        Bar(int(block), height / largest if largest else 0.0, int(block) in verdict.layers)
        for block, height in zip(rows["layer"], values, strict=True)
    )
    return Strip(title, finding, tuple(sorted(bars, key=lambda bar: bar.block)))


def _facts(frames: Mapping[str, pd.DataFrame]) -> Iterator[tuple[str, str]]:
    if "layer_ablation" in frames:
        yield from _smallest_set(frames["layer_ablation"])
    parts = [
        part
        for name, how in _FORGETTING.items()
        if name in frames
        for part in _forgotten(measured(frames[name]), how)
    ]
    if parts:
        yield "What it forgot", "; ".join(parts) + "."


def _smallest_set(frame: pd.DataFrame) -> Iterator[tuple[str, str]]:
    rows = frame[frame["active"] == "smallest set"]
    if rows.dropna(subset=["gain_share"]).empty:
        return
    row = rows.iloc[0]
    inside = [int(one) for one in row["blocks"] if one]
    places = [blocks(inside)] if inside else []
    places += ["what is outside of the blocks"] if 0 in row["blocks"] else []
    keep = "keeps" if len(row["blocks"]) == 1 else "keep"
    beside = "random sets of as many do as well" if row["p"] > _BY_CHANCE else "random sets do not"
    named = " and ".join(places)
    yield (
        "Where the gain sits",
        f"{named[0].upper()}{named[1:]} alone {keep} {row['gain_share']:.0%} of the gain "
        f"({beside}, p = {number(row['p'])}).",
    )


def _forgotten(frame: pd.DataFrame, how: str) -> Iterator[str]:
    if "run" not in frame:
        frame = frame.assign(run="")
    for row in last_steps(frame).to_dict("records"):
        if pd.notna(row.get("forgetting")):
            change = interval(row["forgetting"], row["ci_low"], row["ci_high"])
            yield f"{row['suite']}{how}: loss changed by {change} nats per token"
        if pd.notna(row["accuracy_change"]):
            names = ("accuracy_change", "accuracy_ci_low", "accuracy_ci_high")
            points = (None if pd.isna(row[name]) else 100 * row[name] for name in names)
            yield f"{row['suite']}{how}: accuracy changed by {interval(*points)} points"


def _examples(frames: Mapping[str, pd.DataFrame]) -> Iterator[Answers]:
    """Yield the first prompts of each source, shortened; they are not chosen by their texts."""
    if "generations" not in frames:
        return
    frame = frames["generations"]
    identity = {"configuration": "this model", "method": "", "seed": 0}
    table = Table("generations", 1, (), (), frame.assign(**identity))
    for source, those in groupby(answers({"generations": table}), lambda one: one.source):
        for one in [*those][: _ANSWERS.get(source, 0)]:
            yield replace(
                one,
                prompt=_end(one.prompt),
                texts=[
                    replace(text, same=text.same[:_CHARACTERS], other=text.other[:_CHARACTERS])
                    for text in one.texts
                ],
            )


def _end(prompt: str) -> str:
    return prompt if len(prompt) <= _CHARACTERS else f"… {prompt[-_CHARACTERS:]}"
