"""Performance goals: run all measurements, and write the table of goals reached and missed.

python -m pip install faiss-cpu
python analyses/performance/goals.py               # four hours on two otherwise idle cores
python analyses/performance/goals.py pages start   # only these; the other tables stay
python analyses/performance/goals.py --no-run      # none
"""

import csv
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from measurements import FOLDER

SCRIPTS = (
    "steps",
    "rank_study",
    "top_layers",
    "batched_training",
    "compiled",
    "breakdown",
    "spectra",
    "neighbors",
    "pages",
    "start",
    "growth",
    "retention",
    "maps",
    "study_overhead",
    "workers",
    "generation",
    "lens_probes",
    "probe_times",
    "scale",
)
Rows = Sequence[Mapping[str, str]]
COLUMNS = ("what", "against", "goal", "measured", "outcome", "in_the_way", "table")
MARKS = ("<!-- goals -->\n", "<!-- /goals -->\n")


@dataclass(frozen=True)
class Goal:
    """A performance goal.

    Attributes:
        what: name of the measurement.
        against: reference of a ratio, or empty.
        table: table that holds the measurement.
        measured: function that finds the value in the table's rows.
        least: lower bound of the goal, or None.
        most: upper bound of the goal, or None.
        unit: unit after the numbers.
        in_the_way: reason for missing the goal.
    """

    what: str
    against: str
    table: str
    measured: Callable[[Rows], float]
    least: float | None = None
    most: float | None = None
    unit: str = ""
    in_the_way: str = ""

    def row(self, rows: Rows) -> dict[str, str]:
        """Make a row of the table of goals."""
        value = self.measured(rows)
        reached = value >= self.least if self.least is not None else value <= (self.most or 0)
        wanted = f"at least {self.least:g}" if self.least is not None else f"at most {self.most:g}"
        return {
            "what": self.what,
            "against": self.against,
            "goal": f"{wanted}{self.unit}",
            "measured": f"{value:g}{self.unit}",
            "outcome": "reached" if reached else "missed",
            "in_the_way": "" if reached else self.in_the_way,
            "table": f"{self.table}.csv",
        }


def of(column: str, **where: str) -> Callable[[Rows], float]:
    """Make a function that finds a column's value in the one row with these values."""

    def find(rows: Rows) -> float:
        (row,) = (row for row in rows if all(row[key] == value for key, value in where.items()))
        return float(row[column])

    return find


def slowest(rows: Rows) -> float:
    """Return the time of the slowest search by peftlens."""
    ours = [row for row in rows if row["queries"] == "100" and "," not in row["search"]]
    return max(float(row["seconds"]) for row in ours)


def ahead(library: str) -> Callable[[Rows], float]:
    """Make a function that finds a library's time over that of the same search by peftlens."""

    def find(rows: Rows) -> float:
        by_name = {row["search"]: float(row["seconds"]) for row in rows}
        return round(by_name[library] / by_name[library.rpartition(", ")[2]], 2)

    return find


_PARTS = "the parts of a step are in breakdown.csv"
_TOP = (
    "the gradient of attention in the trained blocks, and batches of small products; and the "
    "faster the processor multiplies, the less there is to save below"
)

GOALS = (
    *(
        Goal(f"training step, {text}, {way}", f"peft + Trainer, {dtype}", "steps",
             of(column, task=task, way=f"peft + Trainer, {dtype}, its batches"), least=least,
             unit=" times", in_the_way=_PARTS)
        for task, text, leasts in (("bbc_topic", "headlines", (3, 2.5)),
                                   ("boolq", "passages", (3, 3)))
        for dtype, least in zip(("float32", "bfloat16"), leasts, strict=True)
        for way, column in (("plain", "ratio"), ("compiled", "ratio_compiled"))
    ),
    *(
        Goal("a rank study, runs per hour", f"peft + Trainer, {dtype}, one process per run",
             "rank_study", of("ratio", way=f"peft + Trainer, {dtype}"), least=4, unit=" times",
             in_the_way="the gain is that of a step above, plus each process's start; on two "
             "cores parallel runs gain little more (workers.csv)")
        for dtype in ("float32", "bfloat16")
    ),
    *(
        Goal(f"{what}, after the first epoch", "states below recomputed", "top_layers",
             of("later_ratio", what=what), least=3, unit=" times", in_the_way=_TOP)
        for what in ("the last two blocks", "LoRA in the top six of 30 blocks",
                     "the last six blocks")
    ),
    *(
        Goal(f"share of the floor, {text}, {dtype}, {text_of_way}", "", "compiled",
             of("share_of_floor", task=task, dtype=dtype, way=way), least=0.7, in_the_way=_PARTS)
        for task, text in (("bbc_topic", "headlines"), ("boolq", "passages"))
        for dtype in ("float32", "bfloat16")
        for way, text_of_way in (("plain", "plain"), ("compiled, from disk", "compiled"))
    ),
    Goal("spectra of a 7B model's adapter, query and value, rank 16", "", "spectra",
         of("seconds", what="query and value of 7B"), most=1, unit=" s"),
    Goal("spectra of a 7B model's adapter, all linear layers, rank 64", "", "spectra",
         of("seconds", what="all linear layers of 7B"), most=1, unit=" s",
         in_the_way="224 QR decompositions of 64 columns and more rows than 4,096, on two cores"),
    Goal("100 prompts against 262,144 x 640, slowest metric", "", "neighbors", slowest, most=1,
         unit=" s"),
    Goal("the same by cosine", "scikit-learn", "neighbors", ahead("scikit-learn, cosine"),
         least=1, unit=" times"),
    Goal("the same by product", "faiss, exact", "neighbors", ahead("faiss, dot"), least=1,
         unit=" times"),
    Goal("report of 200 runs, the whole command", "", "pages",
         of("seconds", page="report of 200 runs"), most=5, unit=" s"),
    Goal("report of 200 runs", "", "pages", of("megabytes", page="report of 200 runs"), most=8,
         unit=" MB"),
    *(
        Goal(f"explorer of {size} tokens, {name} without a GPU", "", "pages",
             of("seconds", page=f"explorer of {size} tokens", of=name), most=most, unit=" s")
        for size, name, most in (
            ("262,144", "first drawing", 5),
            ("262,144", "click", 0.1),
            ("49,152", "longest frame", 0.1),
        )
    ),
    *(
        Goal(f"explorer of {size} tokens", "", "pages",
             of("megabytes", page=f"explorer of {size} tokens", of="first drawing"), most=most,
             unit=" MB")
        for size, most in (("49,152", 6), ("262,144", 12))
    ),
    *(
        Goal(f"answers written in batches of 16, {method}", "one by one", "generation",
             of("ratio", method=method), least=3, unit=" times",
             in_the_way="the batch's prompts are read in one pass, which takes as long as one by "
             "one, and the answers are short")
        for method in ("lora", "prompt_tuning")
    ),
    Goal("six probes of what a LoRA changed inside", "", "lens_probes",
         of("seconds", probe="all"), most=180, unit=" s",
         in_the_way="most of it are forward passes of random updates and of ablations"),
    Goal("first preparation of a vocabulary of 49,152 tokens", "", "probe_times",
         of("preparation_seconds", probe="vocabulary"), most=60, unit=" s",
         in_the_way="the steps of the preparation are in the table"),
    Goal("the same, from disk", "", "probe_times", of("seconds", probe="vocabulary"), most=2,
         unit=" s",
         in_the_way="words of tokens, names of clusters and their coherence are made anew"),
    Goal("peftlens --help, processor time", "", "start",
         of("processor_seconds", command="peftlens --help"), most=0.3, unit=" s"),
    Goal("a rank study, runs per hour, on one GPU", "peft + Trainer, one process per run",
         "rank_study_gpu", of("ratio", way="peft + Trainer, bfloat16"), least=8, unit=" times",
         in_the_way="twelve runs of 40 steps end in 70 s, of which some 20 are their steps, "
         "by the times in docs/log.md; a longer study was not measured"),
)  # fmt: skip


def table() -> list[dict[str, str]]:
    """Evaluate every goal with the existing tables."""
    return [goal.row(read(goal.table)) for goal in GOALS]


def read(name: str) -> list[dict[str, str]]:
    """Read the rows of a table in reports/performance."""
    with (FOLDER / f"{name}.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def markdown(rows: Sequence[Mapping[str, str]]) -> str:
    """Format the table of goals as Markdown."""
    head = [column.replace("_", " ") for column in COLUMNS]
    lines = [head, ["---"] * len(head), *([row[column] for column in COLUMNS] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def chosen(arguments: Sequence[str]) -> Sequence[str]:
    """Return the names of the scripts to run: all without arguments, and else the given ones.

    Raises:
        SystemExit: there is no such script.
    """
    if unknown := {*arguments} - {*SCRIPTS, "--no-run"}:
        names = ", ".join(sorted(unknown))
        raise SystemExit(f"no measurement {names}; choose from {', '.join(SCRIPTS)}")
    if "--no-run" in arguments:
        return []
    return [name for name in SCRIPTS if not arguments or name in arguments]


def main() -> None:
    """Measure what the arguments name; write goals.csv and the table in README.md."""
    for script in chosen(sys.argv[1:]):
        print(f"== {script}", flush=True)
        subprocess.run([sys.executable, Path(__file__).with_name(f"{script}.py")], check=True)
    rows = table()
    with (FOLDER / "goals.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    page = FOLDER / "README.md"
    before, _, rest = page.read_text(encoding="utf-8").partition(MARKS[0])
    after = rest.partition(MARKS[1])[2]
    page.write_text(f"{before}{MARKS[0]}{markdown(rows)}{MARKS[1]}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
