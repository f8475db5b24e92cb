"""Seconds to score one checkpoint on the default suites, with and without shared prompts.

python analyses/performance/retention.py

Each suite in turn, three times, in one process; medians of seconds. For questions, the same rows
scored one answer after another, beside answers behind one reading of their prompt.
"""

import statistics

from measurements import in_turn, seconds, write

from peftlens.data.collate import Collator
from peftlens.evaluation.log_likelihood import log_probabilities
from peftlens.evaluation.retention import MAX_LENGTH, SuiteOptions, reference, scores, suites
from peftlens.models.base_model import load_base_model

REPEATS = 3


def main() -> None:
    """Write reports/performance/retention.csv."""
    base = load_base_model("smollm2-135m")
    encoder = Collator.of(base, MAX_LENGTH)
    found = []
    for scored in suites(base, SuiteOptions()):
        known = reference(base, scored)
        rows = [row for item in scored.items for row in item.rows]
        ways = {
            "own": lambda a=scored, k=known: seconds(lambda: scores(base.model, base, a, k)),
            "plain": lambda r=rows: seconds(lambda: log_probabilities(base.model, encoder, r, "")),
        }
        if scored.texts:
            del ways["plain"]
        took = {way: statistics.median(times) for way, times in in_turn(ways, REPEATS).items()}
        plain = took.get("plain")
        found.append(
            {"suite": scored.name, "items": len(scored.items),
             "seconds": round(took["own"], 1),
             "each_answer_by_itself": "" if plain is None else round(plain, 1),
             "ratio": "" if plain is None else round(plain / took["own"], 2)}
        )  # fmt: skip
    write(__file__, found)


if __name__ == "__main__":
    main()
