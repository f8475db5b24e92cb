"""Table [decisions] of a study file: how a study chooses rates and judges until it is decided."""

import re
from typing import Annotated

from pydantic import Field, field_validator, model_validator

from peftlens.runs.config import StrictModel

_BUDGET = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?")
FIRST_SELECTION_SEED = 1_000_000  # far from the seeds that people write


class Decisions(StrictModel):
    """Contents of the table [decisions].

    Attributes:
        claims: names of the claims to decide; empty for all whose tables the study has.
        looks: highest number of times that the claims are judged.
        first_seeds: number of seeds at the first look.
        seeds_per_look: number of seeds that each further look adds.
        alpha: two-sided level of all looks at a claim together.
        selection_seeds: number of seeds on which the learning rates are raced; 0 for no race, if
            each configuration has a single rate.
        budget: time of training and measuring, such as 6h, 90m or 1h30m; None for no limit.
    """

    claims: tuple[str, ...] = ()
    looks: Annotated[int, Field(ge=1, le=20)] = 6
    first_seeds: Annotated[int, Field(ge=2, le=100)] = 3
    seeds_per_look: Annotated[int, Field(ge=1, le=100)] = 2
    alpha: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    selection_seeds: Annotated[int, Field(ge=0, le=20)] = 2
    budget: str | None = None

    @field_validator("budget")
    @classmethod
    def _check_budget(cls, value: str | None) -> str | None:
        if value is not None:
            budget_seconds(value)
        return value

    @model_validator(mode="after")
    def _check_claims(self) -> "Decisions":
        if repeated := [name for name in self.claims if self.claims.count(name) > 1]:
            raise ValueError(f"claim {repeated[0]} is named twice")
        return self

    def n_seeds(self, look: int) -> int:
        """Return the number of seeds at a look, counted from 1."""
        return self.first_seeds + (look - 1) * self.seeds_per_look

    def confirmation_seeds(self, look: int, first: int) -> list[int]:
        """Return the seeds at a look: from the first one up."""
        return list(range(first, first + self.n_seeds(look)))

    def race_seeds(self, first: int) -> list[int]:
        """Return the seeds of the race, none of which the confirmation ever uses."""
        last = first + self.n_seeds(self.looks) - 1
        race = range(FIRST_SELECTION_SEED, FIRST_SELECTION_SEED + self.selection_seeds)
        overlap = first < race.stop and last >= race.start
        return list(range(self.selection_seeds)) if overlap else list(race)


def budget_seconds(text: str) -> float:
    """Convert a time such as 6h, 90m, 1.5h or 1h30m to seconds.

    Raises:
        ValueError: the text is no such time, or the time is 0.
    """
    match = _BUDGET.fullmatch(text.strip())
    hours, minutes = (float(part or 0) for part in (match.groups() if match else (0, 0)))
    if not (seconds := 3600 * hours + 60 * minutes):
        raise ValueError(f"{text!r} is no time; write it as 6h, 90m or 1h30m")
    return seconds
