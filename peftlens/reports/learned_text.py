"""What a run learned, as lines of plain text for a terminal."""

from collections.abc import Iterable, Iterator
from textwrap import wrap

from peftlens.io.escaping import visible
from peftlens.reports.learned import Learned, Strip
from peftlens.reports.side_by_side import Answers

WIDTH = 80
_HEIGHTS = " ▁▂▃▄▅▆▇█"


def lines(one: Learned) -> Iterator[str]:
    """Yield lines of at most 80 characters; characters that a terminal would obey are escaped."""
    yield f"What did it learn? {visible(one.title)}: {one.mark} {one.verdict.outcome}"
    yield from _wrapped("", one.verdict.sentence)
    if one.words:
        marked = (f"*{word.text}" if word.typical else word.text for word in one.words)
        yield from _wrapped("Words it raises", ", ".join(marked))
        note = "*typical of the training text" if any(word.typical for word in one.words) else ""
        yield from _wrapped("", "; ".join(filter(None, [f"Read on {one.place}", note])) + ".")
    yield from _tokens("Tokens raised", one.raised)
    yield from _tokens("Tokens lowered", one.lowered)
    if one.strip:
        yield from _strip(one.strip)
    for name, value in one.facts:
        yield from _wrapped(name, value)
    for example in one.answers:
        yield from _example(example)
    for seed, verdict in one.others:
        yield from _wrapped(f"Seed {seed}", f"{verdict.outcome}. {verdict.sentence}")


def _wrapped(name: str, text: str) -> list[str]:
    head = f"{name}: " if name else ""
    return wrap(visible(f"{head}{text}", keep=""), WIDTH, subsequent_indent="  " if name else "")


def _tokens(name: str, tokens: Iterable[str]) -> list[str]:
    listed = " ".join(tokens)
    return _wrapped(name, listed) if listed else []


def _strip(one: Strip) -> Iterator[str]:
    yield from _wrapped("", f"{one.title}:")
    heights = "".join(_HEIGHTS[round(bar.height * (len(_HEIGHTS) - 1))] for bar in one.bars)
    yield f"  {one.bars[0].block} |{heights}| {one.bars[-1].block}"
    if any(bar.found for bar in one.bars):
        found = "".join("^" if bar.found else " " for bar in one.bars)
        yield f"  {' ' * len(str(one.bars[0].block))}  {found}  ^ words of the training"
    yield from _wrapped("", one.finding)


def _example(one: Answers) -> Iterator[str]:
    yield from _wrapped("After", " ".join(one.prompt.split()))
    for text in one.texts:
        said = " ".join(f"{text.same}{text.other}".split()) or "(no text)"
        yield from (f"  {line}" for line in wrap(visible(f"{text.model}: {said}"), WIDTH - 2))
