"""Write how the rank study's updates use their ranks: means over its large tables.

peftlens study analyses/rank.toml --out studies/rank
python analyses/rank.py studies/rank

reports/rank/delta_spectrum.csv has means over weights and seeds, subspace_overlap.csv over pairs of
runs and weights; analyses/gather.py writes the rest of the folder.
"""

import sys
from pathlib import Path

import pandas as pd
from measured import read

from peftlens.results.table import last_steps

OUT = Path(__file__).parent.parent / "reports" / "rank"


def spectra(frame: pd.DataFrame) -> pd.DataFrame:
    """Mean spectrum of each configuration's updates at the end of training."""
    columns = ["relative_norm", "stable_rank", "effective_rank", "k90", "effective_rank_used"]
    names = ["configuration", "method", "rank"]
    return last_steps(frame).groupby(names, sort=False, dropna=False)[columns].mean().reset_index()


def overlaps(frame: pd.DataFrame) -> pd.DataFrame:
    """Mean subspace overlap of pairs of runs with the same learning rate."""
    rate = frame["configuration"].str.extract(r"learning_rate=(\S+)", expand=False)
    names = ["between", "side", "role", "directions", "learning_rate"]
    means = frame.assign(learning_rate=rate).groupby(names)
    return means[["similarity", "random", "smallest_angle", "largest_angle"]].mean().reset_index()


if __name__ == "__main__":
    study = Path(sys.argv[1])
    for name, made in (("delta_spectrum", spectra), ("subspace_overlap", overlaps)):
        made(read(study, name)).to_csv(OUT / f"{name}.csv", index=False, float_format="%.6g")
