"""Verdict on a run's trace: whether general text shows that, and on what, the model was tuned.

Rule, over the tables `activation_difference` and `patchscope` of one run, on general text and the
user's own; words that are raised on the task's own text are no trace:

- *readable trace*: the words raised after some block are those of the training text, q ≤ 0.01, and
  random updates do not raise such words more often than one in twenty times (binomial test).
- *trace, not of the task*: they are not, but the change of the states on general text is larger
  than that by every random update of equal norm, after at least half of the blocks.
- *no trace found*: neither; beside it stands the power of the test of words.
- *trace, training text unknown*: the change is larger, and there is no text for a test of words.
- *not tested*: there is neither a test of words nor a larger change.
- *not measured*: neither probe was measured.

The p-values of a probe are corrected over its rows of these texts (Benjamini & Hochberg 1995), as
those of random updates are, and the smallest q by the number of probes (Bonferroni). The power to
find a written direction of an update is low, so the table `update_directions` can only add evidence
for a trace. It reads tables only: no model, no torch.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd
from scipy.stats import binom

from peftlens.numerics.resampling import benjamini_hochberg
from peftlens.numerics.rounding import number
from peftlens.results.table import measured

Outcome = Literal[
    "readable trace", "trace, not of the task", "trace, training text unknown", "no trace found",
    "not tested", "not measured",
]  # fmt: skip
LEVEL = 0.01  # of q-values
COSINE = 0.4  # of the directions whose power stands beside a verdict
KINDS = {"activation_difference": "text", "patchscope": "source"}  # columns of the kind of text
_UNRELATED = ("general", "own")
_RANDOM_FOUND = 0.05  # largest share of random updates with such words beside a readable trace
_CHANCE = 0.05  # level of the test that it is larger; one of five is not
_SHOWN = 5  # words in a sentence
_TEXTS = {"general": "general text", "own": "your own text"}


@dataclass(frozen=True, kw_only=True)
class TraceVerdict:
    """Verdict on one run.

    Attributes:
        outcome: one of the six outcomes.
        sentence: the numbers in plain English.
        source: table with the smallest q; None without a test of words.
        text: kind of text of its row: general or own.
        q: smallest q, corrected over rows and probes.
        layers: numbers of the blocks after which words of the training are raised, counted from 1.
        words: raised words of the row with the smallest q.
        typical: those of them that are typical of the training text.
        larger: number of blocks after which general text's change is larger than by every random
            update; None without random updates.
        power: share found of directions with a cosine of 0.4 to words of the training text, in
            readings through the head; None if unknown.
        random_found: largest share of random updates with such words in a table; None likewise.
    """

    outcome: Outcome
    sentence: str
    source: str | None = None
    text: str | None = None
    q: float | None = None
    layers: tuple[int, ...] = ()
    words: tuple[str, ...] = ()
    typical: tuple[str, ...] = ()
    larger: int | None = None
    power: float | None = None
    random_found: float | None = None


def trace_verdict(tables: Mapping[str, pd.DataFrame]) -> TraceVerdict:
    """Judge one run by its rows of the tables that there are.

    Args:
        tables: rows of one run, by probe; others than the three named above are not read.
    """
    rows = {name: unrelated_rows(tables, name) for name in KINDS}
    rows = {name: frame for name, frame in rows.items() if len(frame)}
    evidence = _evidence(tables)
    if not rows:
        sentence = "Neither activation_difference nor patchscope was measured on this run."
        return TraceVerdict(outcome="not measured", sentence=sentence + evidence)
    size = _Size.of(rows.get("activation_difference", pd.DataFrame()))
    tests = [one for name, frame in rows.items() if (one := _Test.of(name, frame, len(rows)))]
    if not tests:
        return _untested(tables, size, evidence)
    # a test that random updates pass as well shows nothing of this one
    best = next((one for one in tests if one.found), min(tests, key=lambda one: one.q))
    powers = [one.power for one in tests if one.name == "activation_difference"]
    shares = [one.random_found for one in tests if one.random_found is not None]
    outcome, sentence = _judged(best, size, powers[0] if powers else None)
    return TraceVerdict(
        outcome=outcome,
        sentence=sentence + evidence,
        source=best.name,
        text=best.text,
        q=best.q,
        layers=best.layers if outcome == "readable trace" else (),
        words=best.words,
        typical=best.typical,
        larger=size.larger,
        power=powers[0] if powers else None,
        random_found=max(shares) if shares else None,
    )


def unrelated_rows(tables: Mapping[str, pd.DataFrame], name: str) -> pd.DataFrame:
    """Return a table's rows of general and own text, with q over them; none without the table."""
    if name not in tables:
        return pd.DataFrame()
    frame = measured(tables[name])
    frame = frame[frame[KINDS[name]].isin(_UNRELATED)].reset_index(drop=True)
    p = frame["p"].astype(float)
    q = pd.Series(float("nan"), frame.index)
    if p.notna().any():
        q[p.notna()] = benjamini_hochberg(p.dropna().to_numpy())
    return frame.assign(q=q)


@dataclass(frozen=True, kw_only=True)
class _Test:
    """Test of the raised words in one table; fields as in `TraceVerdict`."""

    name: str
    q: float
    text: str
    layers: tuple[int, ...]
    words: tuple[str, ...]
    typical: tuple[str, ...]
    power: float | None
    random_found: float | None
    draws: int

    @classmethod
    def of(cls, name: str, frame: pd.DataFrame, looks: int) -> "_Test | None":
        """Read a table's rows; None if no words were tested."""
        tested = frame.dropna(subset=["q"]).astype({"standardized": float})
        if tested.empty:
            return None
        q = (looks * tested["q"]).clip(upper=1.0)
        best = tested.assign(q=q).sort_values(["q", "standardized"], ascending=[True, False])
        first = best.iloc[0]
        return cls(
            name=name,
            q=float(first["q"]),
            text=str(first[KINDS[name]]),
            layers=tuple(sorted({*map(int, tested["layer"][q <= LEVEL])})),
            words=tuple(map(str, first["words"])),
            typical=tuple(map(str, first["typical"])),
            power=_largest(tested, f"power_at_{COSINE}"),
            random_found=_largest(tested, "random_found"),
            draws=int(_largest(tested, "random_updates") or 0),
        )

    @property
    def found(self) -> bool:
        """Whether the words are the training's, and random updates do not raise such words."""
        return self.q <= LEVEL and not self.by_chance

    @property
    def random(self) -> str:
        """How many random updates raise such words, in words."""
        if self.random_found is None:
            return "no random update was tried"
        return f"{round(self.random_found * self.draws)} of {self.draws} random updates do as well"

    @property
    def by_chance(self) -> bool:
        """Whether random updates raise words of the training as well."""
        if self.random_found is None:
            return False
        found = round(self.random_found * self.draws)
        return float(binom.sf(found - 1, self.draws, _RANDOM_FOUND)) <= _CHANCE


@dataclass(frozen=True)
class _Size:
    """Blocks in which the change on general text is larger than by all n random updates."""

    larger: int | None
    blocks: int
    draws: int

    @classmethod
    def of(cls, frame: pd.DataFrame) -> "_Size":
        """Read the rows of activation_difference."""
        frame = frame.reindex(columns=["text", "random_larger", "random_updates"])
        shares = frame["random_larger"][frame["text"] == "general"].dropna()
        if shares.empty:
            return cls(None, 0, 0)
        return cls(int((shares == 0).sum()), len(shares), int(frame["random_updates"].max()))

    @property
    def is_larger(self) -> bool:
        """Whether it is in half of the blocks: in one of many blocks it often is by chance."""
        return self.larger is not None and 2 * self.larger >= self.blocks > 0

    def __str__(self) -> str:
        if self.larger is None:
            return "there is no random update to compare with"
        return (
            f"the states change more than by each of {self.draws} random updates of equal norm "
            f"after {self.larger} of {self.blocks} blocks"
        )


def _judged(best: _Test, size: _Size, power: float | None) -> tuple[Outcome, str]:
    if best.found:
        return "readable trace", _readable(best)
    known = "unknown" if power is None else number(power)
    if best.q <= LEVEL:
        words = f"Words of the training text are raised, but {best.random}"
    else:
        words = "No words of the training text were found"
    words += f" (smallest q = {best.q:.2g}; power {known} at cosine {COSINE})"
    if size.is_larger:
        return "trace, not of the task", f"{words}. But {size} on general text."
    return "no trace found", f"{words}. Of the size: {size}."


def _readable(best: _Test) -> str:
    words = ", ".join((best.typical or best.words)[:_SHOWN])
    frame = ", put into a neutral frame," if best.name == "patchscope" else ""
    return (
        f"On {_TEXTS[best.text]} the change of the states{frame} "
        f"raises words of the training: {words} (q = {best.q:.2g}; after "
        f"{blocks(best.layers)}; {best.random})."
    )


def blocks(numbers: Sequence[int]) -> str:
    """Name blocks by their numbers, with ranges: block 3, blocks 1 to 4 and 7."""
    parts = [f"{one}" if one == last else f"{one} to {last}" for one, last in _ranges(numbers)]
    listed = " and ".join(filter(None, [", ".join(parts[:-1]), *parts[-1:]]))
    return f"block{'' if len(numbers) == 1 else 's'} {listed}"


def _ranges(numbers: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield the first and last of each run of at least three numbers, and the others alone."""
    ordered = sorted(numbers)
    start = 0
    for end in range(1, len(ordered) + 1):
        if end == len(ordered) or ordered[end] != ordered[end - 1] + 1:
            part = ordered[start:end]
            yield from [(part[0], part[-1])] if len(part) > 2 else zip(part, part, strict=True)
            start = end


def _untested(tables: Mapping[str, pd.DataFrame], size: _Size, evidence: str) -> TraceVerdict:
    """Judge by size alone, where no words could be tested."""
    of_task = any(
        (measured(tables[name])[column] == "task").any()
        for name, column in KINDS.items()
        if name in tables
    )
    why = (
        "no token of the vocabulary is a word that could be compared with the training text"
        if of_task
        else "its training text is unknown, give training_text"
    )
    if size.is_larger and not of_task:
        outcome: Outcome = "trace, training text unknown"
        sentence = f"A trace: {size} on general text; {why}."
    else:
        outcome = "not tested"
        sentence = f"{why[0].upper()}{why[1:]}; {size}."
    return TraceVerdict(outcome=outcome, sentence=sentence + evidence, larger=size.larger)


def _evidence(tables: Mapping[str, pd.DataFrame]) -> str:
    """Say where an update's directions mean words of the training more often than random ones."""
    if "update_directions" not in tables:
        return ""
    rows = measured(tables["update_directions"]).dropna(subset=["found", "found_random"])
    more = []
    for side, group in rows.groupby("side", sort=False):
        share, random = (float(group[name].iloc[0]) for name in ("found", "found_random"))
        if group["relevant"].any() and share > random:
            more.append(
                f"{share:.0%} of the directions that it {side} mean words of the training text, "
                f"{random:.0%} of random ones"
            )
    return f" Read from the weights, {'; '.join(more)}." if more else ""


def _largest(frame: pd.DataFrame, name: str) -> float | None:
    values = frame.reindex(columns=[name])[name].dropna()
    return None if values.empty else float(values.max())
