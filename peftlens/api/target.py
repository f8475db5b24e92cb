"""Target of a call: opens the runs of a run, a list of runs, a study, an adapter, or a folder."""

from collections.abc import Sequence
from pathlib import Path

from peftlens.adapters.external import ExternalAdapter
from peftlens.api.run import Run
from peftlens.api.study import Study
from peftlens.errors import InputError
from peftlens.io.progress import say
from peftlens.results import study_results
from peftlens.results.study_results import StudyResults
from peftlens.runs import run
from peftlens.runs.configuration_names import configurations
from peftlens.runs.trained_model import TrainedModel

One = run.Run | ExternalAdapter | str | Path
Target = Study | One | Sequence[One]


def open_target(
    target: Target, base_model: str | None = None, *, trust_remote_code: bool = False
) -> StudyResults:
    """Read the runs of a target; damaged runs are reported and left out.

    Args:
        target: a run, a list of runs, a study, an adapter, or a folder of any of these.
        base_model: base model of an adapter's folder; by default the one that the adapter names.
        trust_remote_code: whether an adapter's configuration may name Python code to import.

    Raises:
        InputError: there is no run.
    """
    results = _results(target, base_model, trust_remote_code)
    for line in results.warnings:
        say(line)
    if not results.runs:
        raise InputError(f"{results.folder} holds no finished run; train one with `peftlens.train`")
    return results


def _results(target: Target, base_model: str | None, trust_remote_code: bool) -> StudyResults:
    if isinstance(target, Study):
        return target.results
    if isinstance(target, str | Path) and not (Path(target) / "adapter_config.json").exists():
        return study_results.read(target)
    listed = [target] if isinstance(target, run.Run | ExternalAdapter | str | Path) else target
    if not isinstance(listed, Sequence):
        raise InputError(
            f"a {type(target).__name__} is no run, study or adapter; save a model with "
            "save_pretrained, and give the folder"
        )
    runs = [_run(one, base_model, trust_remote_code) for one in listed]
    if not runs:
        raise InputError("the list holds no run")
    labels = configurations(one.record for one in runs)
    name = ", ".join(dict.fromkeys(labels.values()))
    return study_results.of_runs(runs[0].path.parent, name, runs, labels, [])


def _run(one: One, base_model: str | None, trust_remote_code: bool) -> TrainedModel:
    if isinstance(one, run.Run | ExternalAdapter):
        return one
    if (Path(one) / "adapter_config.json").exists():
        return ExternalAdapter(Path(one), base_model, trust_remote_code)
    return Run(one)
