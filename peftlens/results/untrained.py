"""Table `untrained_scores`: scores of a run's base on the validation examples of the run.

`peftlens train` measures them for its last lines, and leaves them for the run's page.
"""

from collections.abc import Mapping

import pandas as pd

from peftlens.results.table import Column, Table, write
from peftlens.runs.run import Run

UNTRAINED = "untrained_scores"
VERSION = 1
COLUMNS = (
    Column("score", "name of the score in the run's results, such as validation_accuracy"),
    Column("value", "value of the model with nothing trained or attached"),
)


def write_untrained(run: Run, scores: Mapping[str, float]) -> None:
    """Write the scores to the run's folder of tables, unless they are there.

    Args:
        run: finished run.
        scores: value of each score, by its name in the run's results.
    """
    file = run.table_folder / f"{UNTRAINED}.parquet"
    if file.exists():
        return
    frame = pd.DataFrame(list(scores.items()), columns=[column.name for column in COLUMNS])
    run.table_folder.mkdir(exist_ok=True)
    table = Table(UNTRAINED, VERSION, COLUMNS, (), frame, runs=(run.id,))
    write(table, file)
