"""Claims read the tables of a study as they are on disk, and as CSV files, to the same verdict."""

import finished
import pandas as pd
import pytest

from peftlens.claims import judge
from peftlens.io import escaping
from peftlens.results import table
from peftlens.runs.config import RunConfig

RATES = (1e-4, 1e-3, 1e-2)
NAMES = ("batch", "capacity", "frozen_a", "little_data", "more_parameters", "rate_rank",
         "rate_ratio", "soft_prompt_gap", "variants")  # fmt: skip


def runs(method, batch=8, steps=40, **config):
    return [
        RunConfig(method=method, task="bbc_topic", method_config=config, seed=seed, device="cpu",
                  dtype="float32", training={"max_steps": steps, "batch_size": batch,
                                             "learning_rate": rate})
        for rate in RATES for seed in range(3)
    ]  # fmt: skip


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    configs = [
        *runs("full"), *runs("full", 64), *runs("prompt_tuning"), *runs("ia3"),
        *(one for rank in (1, 8) for batch, steps in ((8, 40), (64, 40), (8, 400))
          for one in runs("lora", batch, steps, rank=rank)),
        *(one for method in ("lora_fa", "dora", "pissa", "rslora") for one in runs(method, rank=8)),
    ]  # fmt: skip
    folder = finished.study(tmp_path_factory.mktemp("study"), configs)
    files = folder.joinpath("tables").glob("*.parquet")
    found = {file.stem: table.measured(table.read(file).frame) for file in files}
    parts = {"part": ["attention", "embeddings"], "parameters": [10**8, 3 * 10**7]}
    return found | {"base_parameters": pd.DataFrame(parts)}


def test_every_claim_finds_its_runs(tables):
    for one in judge(tables, names=NAMES):
        expected = one.claim == "more_parameters"  # whose sizes must differ by a factor of 100
        assert (one.outcome == "not measured") is expected, one


def test_csv_files_give_the_same_verdicts(tables):
    read = {name: escaping.from_csv(escaping.to_csv(frame)) for name, frame in tables.items()}
    assert judge(read, names=NAMES) == judge(tables, names=NAMES)


def test_controls_do_not_count(tables):
    """As if all LoRAs had been trained on shuffled labels."""
    frame = tables["configurations"]
    shuffled = (frame["method"] == "lora").astype("boolean")
    given = tables | {"configurations": frame.assign(shuffle_labels=shuffled)}
    found = {one.claim: one.outcome for one in judge(given, names=NAMES)}
    assert {
        found[name] for name in ("batch", "capacity", "rate_rank", "rate_ratio", "variants")
    } == {"not measured"}
