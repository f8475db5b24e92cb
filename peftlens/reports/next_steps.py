"""Next steps of a run: commands that measure what its page does not show yet."""

import shlex
from collections.abc import Iterator
from dataclasses import dataclass

from peftlens.results.study_results import StudyResults
from peftlens.runs.run import Run

_PROBES = (
    ("task_items", "task_accuracy", "Score on the test split"),
    ("forgetting", "forgetting", "How much general text it forgot"),
    ("activation_difference", "activation_difference", "Words of its training on unrelated text"),
    ("generations", "generations", "Example answers beside the base model's"),
)
_NEED_TEXT = ("forgetting", "activation_difference", "generations")  # not of a model with a head
_HEADS = ("validation_macro_f1", "validation_spearman", "validation_entity_f1")


@dataclass(frozen=True)
class NextStep:
    """A command.

    Attributes:
        purpose: what it gives.
        command: the command line.
    """

    purpose: str
    command: str


def next_steps(one: StudyResults) -> Iterator[NextStep]:
    """Yield the commands for a run that is alone on its page.

    The folder is written relative to the folder that holds the folder of runs.

    Args:
        one: results of a run, of a folder of runs or of a study.
    """
    if one.index["runs"] or len(one.runs) != 1 or not isinstance(one.runs[0], Run):
        return
    (run,) = one.runs
    path = run.path.resolve()
    folder = f"{path.parent.name}/{path.name}"
    has_head = any(score in run.record.results for score in _HEADS)
    for table, probe, purpose in _PROBES:
        if table not in one.tables and not (has_head and probe in _NEED_TEXT):
            yield NextStep(purpose, shlex.join(["peftlens", "probe", probe, folder]))
    yield NextStep("This page with their results", shlex.join(["peftlens", "report", folder]))
    if not has_head:
        yield NextStep(
            "Map of the vocabulary, to explore", shlex.join(["peftlens", "explore", folder])
        )
