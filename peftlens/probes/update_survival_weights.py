"""What rounding to the precision of serving leaves of the update of each weight.

With D = Q(W + ΔW) − Q(W): its share along ΔW, its noise in other directions, and the values that
ΔW changes and D does not. Rounding to few levels acts like dithering, so the share along ΔW is near
1 on average, however small the update is; the noise tells whether it can be made out. Zero share
and all values unmoved mean that nothing of it is left.
"""

from dataclasses import asdict, dataclass

import pandas as pd

from peftlens.adapters.rounded_weights import updated_weights
from peftlens.adapters.run_context import RunContext
from peftlens.errors import InputError
from peftlens.io.progress import track
from peftlens.models.base_model import in_float32
from peftlens.models.weight_precision import Precision
from peftlens.results.table import Chart, Column, NotApplicable
from peftlens.runs.trained_model import TrainedModel

REQUIRES = frozenset({"delta_weight"})
VERSION = 1
OPTIONAL = True  # a merge of every run


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of the probe.

    Attributes:
        precisions: precisions of the merged weights: bfloat16, float16, int8, nf4.
    """

    precisions: tuple[Precision, ...] = ("bfloat16", "float16", "int8", "nf4")


COLUMNS = (
    Column("precision", "precision of the merged weights"),
    Column("weight", "name of the weight"),
    Column("projection", "⟨D, ΔW⟩ / ‖ΔW‖²", "1"),
    Column("noise", "‖D − projection · ΔW‖ / ‖ΔW‖", "1", "lower"),
    Column("unmoved", "share of the values changed by ΔW whose rounded value stays", "1", "lower"),
)
CHARTS = (
    Chart(
        "points",
        x="configuration",
        y="projection",
        title="Share of each update along its own direction after rounding",
        each="precision",
    ),
    Chart(
        "points",
        x="configuration",
        y="noise",
        title="Noise of rounding as a multiple of the update",
        each="precision",
    ),
)


def measure(context: RunContext, run: TrainedModel, config: Config) -> pd.DataFrame:
    """Return one row per precision and changed weight, at the end of training.

    Raises:
        NotApplicable: the base is quantized, or the run can't be merged into it.
    """
    try:
        base = in_float32(context.base_model(run))
    except InputError as error:
        raise NotApplicable(str(error)) from error
    weights = updated_weights(run, base)
    changed = weights.changed()
    if not changed:
        raise NotApplicable("no weight has an update")
    rows = [
        {"precision": precision, "weight": name} | asdict(weights.left(name, precision))
        for name in track(changed, "Rounding weights")
        for precision in config.precisions
    ]
    frame = pd.DataFrame(rows, columns=[column.name for column in COLUMNS])
    return frame.sort_values("precision", kind="stable", ignore_index=True)
