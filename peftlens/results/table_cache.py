"""The tables of a study that are on disk: which are still what would be made now."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peftlens.errors import InputError
from peftlens.results import table
from peftlens.results.configurations import CONFIGURATIONS
from peftlens.runs.config import StrictModel


class ProbeSpec(StrictModel):
    """A probe of a study, and everything beside the runs that decides its numbers.

    Attributes:
        name: the probe's name.
        each_run: whether it measures one run at a time.
        version: version of its numbers.
        config: values of its Config.
    """

    name: str
    each_run: bool
    version: int
    config: dict[str, Any]


@dataclass(frozen=True)
class TableCache:
    """A folder of tables.

    Attributes:
        folder: with a Parquet file for each probe.
        probes: the study's probes.
    """

    folder: Path
    probes: Sequence[ProbeSpec]

    def measured(self) -> dict[str, set[str]]:
        """Runs whose measurements a table holds, by probe; of the probes that measure each run."""
        known = {probe.name: self._current(probe) for probe in self.probes if probe.each_run}
        return {name: set(one.frame["run"]) for name, one in known.items() if one}

    def stale(self, labels: Mapping[str, str]) -> list[tuple[str, Path]]:
        """Probes whose tables have to be made, with the file of each, in the order to make them.

        A table over others' tables is as old as the oldest of all.

        Args:
            labels: of the runs that there are, in the order that tables should have.
        """
        names = [
            probe.name
            for probe in self.probes
            if probe.each_run and _rows(self._current(probe)) != list(labels.items())
        ]
        for probe in self.probes:
            if not probe.each_run and (names or not self._current(probe)):
                names.append(probe.name)
        return [(name, self._file(name)) for name in names]

    def write(self, one: table.Table) -> None:
        """Write a table of this process's."""
        self.folder.mkdir(exist_ok=True)
        table.write(one, self._file(one.name))

    def drop(self, names: Iterable[str]) -> None:
        """Delete tables, where there are any of these names."""
        for name in names:
            self._file(name).unlink(missing_ok=True)

    def drop_others(self) -> None:
        """Delete tables of other probes: an earlier study file asked for them."""
        names = {CONFIGURATIONS, *(probe.name for probe in self.probes)}
        self.drop(file.stem for file in self.folder.glob("*") if file.stem not in names)

    def _current(self, probe: ProbeSpec) -> table.Table | None:
        """A probe's table, unless another version or other options made it."""
        with suppress(InputError):  # none yet, or damaged: made anew
            known = table.read(self._file(probe.name))
            if (known.version, known.config) == (probe.version, probe.config):
                return known
        return None

    def _file(self, name: str) -> Path:
        return self.folder / f"{name}.parquet"


def _rows(known: table.Table | None) -> list[tuple[str, str]] | None:
    """The runs of a table in its order, with the names of their configurations."""
    if known is None:
        return None
    return list(dict.fromkeys(zip(known.frame["run"], known.frame["configuration"], strict=True)))
