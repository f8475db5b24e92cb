"""Tables of a study on disk, and the check of whether they are up to date."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peftlens.errors import InputError
from peftlens.results import table
from peftlens.results.configurations import CONFIGURATIONS
from peftlens.runs.config import StrictModel


class ProbeSpec(StrictModel):
    """Probe of a study, with everything besides the runs that determines its results, and when.

    Attributes:
        name: name of the probe.
        each_run: whether the probe measures one run at a time.
        version: VERSION of the probe.
        config: values of the probe's Config.
        measured_with: probe that computes what this one uses too, if any.
    """

    name: str
    each_run: bool
    version: int
    config: dict[str, Any]
    measured_with: str | None = None


@dataclass(frozen=True)
class TableCache:
    """Folder of tables.

    Attributes:
        folder: folder with a Parquet file for each probe.
        probes: probes of the study.
    """

    folder: Path
    probes: Sequence[ProbeSpec]

    def measured(self) -> dict[str, set[str]]:
        """Return the ids of the runs in each up-to-date table of a probe that measures each run.

        Runs on which the probe failed are not among them.
        """
        tables = {probe.name: self._current(probe) for probe in self.probes if probe.each_run}
        return {
            name: set(one.frame["run"]) - table.failures(one.frame).keys()
            for name, one in tables.items()
            if one
        }

    def stale(self, labels: Mapping[str, str]) -> list[tuple[str, Path]]:
        """List the probes with outdated tables and their files, in the order of computation.

        A table with a failed run is outdated, and one over other tables as soon as any of these is.
        One of configurations stays when runs of the same configurations join, such as more seeds.

        Args:
            labels: names of the finished runs' configurations, by run id in the order of the rows.
        """
        names = [
            probe.name
            for probe in self.probes
            if probe.each_run and _rows(self._current(probe)) != list(labels.items())
        ]
        for probe in self.probes:
            if not probe.each_run:
                saved = self._current(probe, labels)
                if not saved or (names and saved.configurations is None):
                    names.append(probe.name)
        return [(name, self._file(name)) for name in names]

    def write(self, one: table.Table) -> None:
        """Write a table that was computed in this process."""
        self.folder.mkdir(exist_ok=True)
        table.write(one, self._file(one.name))

    def drop(self, names: Iterable[str]) -> None:
        """Delete the tables with these names, if there are any."""
        for name in names:
            self._file(name).unlink(missing_ok=True)

    def drop_of(self, runs: Collection[str]) -> None:
        """Delete the tables with rows of these runs, before the runs are trained again.

        Another training of a run has the same id, and other timings.
        """
        dropped = {
            probe.name
            for probe in self.probes
            if (saved := self._current(probe)) and not set(runs).isdisjoint(saved.run_ids or ())
        }
        if dropped:  # tables over other tables too, which need not tell their runs
            self.drop(dropped | {probe.name for probe in self.probes if not probe.each_run})

    def drop_others(self) -> None:
        """Delete tables of probes that are no longer in the study file."""
        names = {CONFIGURATIONS, *(probe.name for probe in self.probes)}
        files = (file for file in self.folder.glob("*.parquet") if file.is_file())
        self.drop(file.stem for file in files if file.stem not in names)

    def _current(
        self, probe: ProbeSpec, labels: Mapping[str, str] | None = None
    ) -> table.Table | None:
        """Read a probe's table; None if it is from another version, other options or other runs."""
        with suppress(InputError):  # missing, damaged or changed: it will be written again
            saved = table.read(self._file(probe.name))
            of_runs = labels is None or saved.is_of(labels)
            identity = (probe.name, probe.version, probe.config)
            if probe.each_run and "run" not in saved.frame:
                return None  # the table of a single run
            if of_runs and (saved.name, saved.version, saved.config) == identity:
                return saved
        return None

    def _file(self, name: str) -> Path:
        return self.folder / f"{name}.parquet"


def _rows(saved: table.Table | None) -> list[tuple[str, str]] | None:
    """Return the runs of a table without failures, with the names of their configurations."""
    if saved is None or table.failures(saved.frame):
        return None
    return list(dict.fromkeys(zip(saved.frame["run"], saved.frame["configuration"], strict=True)))
