"""Lens: what a run or an adapter learned, on one screen, for notebooks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from peftlens.adapters.external import ExternalAdapter
from peftlens.api.session import session_context
from peftlens.api.table import Table
from peftlens.api.target import Target, open_target
from peftlens.diffing.text_sources import own_texts
from peftlens.diffing.trace_verdict import KINDS
from peftlens.errors import InputError
from peftlens.evaluation import probe_runner
from peftlens.io import html
from peftlens.reports.learned import READ, Learned, learned
from peftlens.reports.learned_text import lines
from peftlens.results import table

_BESIDE = ("update_directions", "layer_ablation", "forgetting", "linear_probes", "generations")
_TRAINING_TEXT = {name: "training_text" for name in KINDS} | {
    "update_directions": "texts", "layer_ablation": "texts",
}  # fmt: skip  # names of the option for a file with training text


@dataclass(frozen=True)
class Lens:
    """What runs learned; a notebook displays it, and `print` writes it as text.

    Example:
        ```python
        lens = pl.lens(run)
        lens.verdicts
        lens.learned[0].verdict.typical  # raised words that are typical of the training text
        lens.tables["activation_difference"].to_frame()
        ```

    Attributes:
        learned: what the run with the lowest seed of each configuration learned.
        tables: tables that it was read from, by probe.
    """

    learned: tuple[Learned, ...]
    tables: dict[str, Table]

    @property
    def verdicts(self) -> pd.DataFrame:
        """Outcome and sentence of each configuration."""
        rows = [(one.name, one.verdict.outcome, one.verdict.sentence) for one in self.learned]
        return pd.DataFrame(rows, columns=["configuration", "verdict", "sentence"])

    def __str__(self) -> str:
        return "\n\n".join("\n".join(lines(one)) for one in self.learned)

    def _repr_html_(self) -> str:
        style = html.source("peftlens.reports", "learned.css")
        return html.fragment(
            "peftlens.reports", "learned_fragment.html", blocks=self.learned, style=style
        )


def lens(  # noqa: PLR0913  # one argument per source of text, and the rest as in `probe`
    target: Target,
    *,
    probes: Sequence[str] = ("activation_difference",),
    training_text: str = "",
    texts: str = "",
    base_model: str | None = None,
    trust_remote_code: bool = False,
) -> Lens:
    """Tell what runs or adapters learned: their trace in general text, as words with a verdict.

    Measured is what `probes` names and the runs' folders lack. What they have of forgetting, layer
    ablation, update directions, patchscope and generations is shown as well.

    Example:
        ```python
        pl.lens(run)
        print(pl.lens("adapter", base_model="org/model", training_text="train.txt"))
        pl.lens(run, probes=["activation_difference", "patchscope"]).tables["patchscope"].frame
        ```

    Args:
        target: a run, a list of runs, a study, an adapter, or a folder of any of these.
        probes: probes to measure: activation_difference, patchscope, update_directions,
            layer_ablation, forgetting, linear_probes, generations.
        training_text: file with text of the training, one a line; by default that of the run's
            task, and unknown for an adapter of another program.
        texts: file with texts of your own, one a line, on which the trace is read as well.
        base_model: base model of an adapter's folder; by default the one that the adapter names.
        trust_remote_code: whether Python code from a base model's folder may run.

    Raises:
        InputError: there is no run, a file can't be read, a probe does not belong here, or no run
            changes the states of its base.
    """
    if others := [one for one in probes if one not in (*READ, *_BESIDE)]:
        shown = ", ".join((*READ, *_BESIDE))
        raise InputError(f"probes {others} are not shown by lens; choose of {shown}")
    for file in filter(None, (training_text, texts)):
        own_texts(file)  # before a model is loaded
    results = open_target(target, base_model, trust_remote_code=trust_remote_code)
    context = session_context(trust_remote_code=trust_remote_code)
    found = probe_runner.saved_tables(results.runs, (*READ, *_BESIDE), results.configurations)
    for name in dict.fromkeys(probes):
        options = _options(name, training_text, texts)
        # what was measured with other options is as good, unless these are asked for
        measure = probe_runner.collect if options else probe_runner.saved_or_collected
        given = {name: options}
        found[name] = measure(context, results.runs, name, results.configurations, given)
    external = all(isinstance(run, ExternalAdapter) for run in results.runs)
    blocks = tuple(learned(found, seeds=not external))
    if not blocks:
        raise InputError(f"{results.name} has no trace to read: {_reason(found)}")
    return Lens(blocks, {name: Table.of(one) for name, one in found.items()})


def _options(name: str, training_text: str, texts: str) -> dict[str, str]:
    """Return the values of a probe's options, which has other names for the same files."""
    options = {}
    if training_text and name in _TRAINING_TEXT:
        options[_TRAINING_TEXT[name]] = training_text
    if texts and name in KINDS:
        options["texts"] = texts
    return options


def _reason(tables: Mapping[str, table.Table]) -> str:
    """Return why a probe does not apply, or what to measure."""
    reasons = [tables[name].frame["reason"].dropna() for name in READ if name in tables]
    return next((one.iloc[0] for one in reasons if len(one)), f"name one of the probes {READ}")
