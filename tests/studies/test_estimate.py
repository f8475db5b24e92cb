import json
from collections import namedtuple

import pandas as pd
import pytest
from typer.testing import CliRunner

from peftlens import cli
from peftlens.errors import InputError
from peftlens.models.snapshot import fingerprint
from peftlens.runs.configuration_names import sweeps
from peftlens.studies import estimate
from peftlens.studies.estimate import in_words, step_flops
from peftlens.studies.grid import plan_study, read_study
from peftlens.studies.runner import StudyOptions, run_study
from peftlens.training.dry_run import dry_run

STUDY = """
name = "small"
base_model = "{base}"
device = "cpu"
dtype = "float32"
seeds = [0, 1]
probes = ["parameter_count"]

[task]
name = "file:{words}"

[training]
max_steps = 5
batch_size = 4
checkpoint_steps = [0, 2]

[[runs]]
method = "lora"
grid = {{ rank = [2, 4], learning_rate = [1e-3, 1e-2] }}

[[runs]]
method = "full"

[[runs]]
method = "frozen"

[[runs]]
method = "fish_mask"
training = {{ learning_rate = 1e30 }}
"""


@pytest.fixture
def file(bases, words, tmp_path):
    path = tmp_path / "small.toml"
    path.write_text(STUDY.format(base=bases["llama"], words=words))
    return path


def test_every_configuration_with_all_its_runs(file):
    rows = estimate.estimate(read_study(file)).set_index("configuration")
    assert rows["runs"].to_dict() == {"lora rank=2": 4, "lora rank=4": 4, "full": 2, "frozen": 2,
                                      "fish_mask density=0.005": 2}  # fmt: skip
    trained = rows["trainable_parameters"]
    assert trained["lora rank=4"] == 2 * trained["lora rank=2"]
    assert trained["frozen"] == 0
    assert rows.loc["frozen", ["flops", "seconds"]].tolist() == [0, 0]
    assert rows.loc["full", "flops"] > rows.loc["lora rank=4", "flops"] / 2 > 0
    assert (rows["seconds"].drop("frozen") > 0).all()


def test_what_is_saved_is_what_was_foretold(file, tmp_path):
    rows = estimate.estimate(read_study(file)).set_index("configuration")
    outcome = run_study(file, tmp_path / "out", StudyOptions(workers=0))
    found, names = {}, sweeps(run.record for run in outcome.runs)
    for run in outcome.runs:
        size = sum(f.stat().st_size for f in run.path.rglob("adapter_*") if f.is_file())
        name = names[run.id]
        found[name] = found.get(name, 0) + size
    for name, size in found.items():
        assert rows.loc[name, "disk_bytes"] == pytest.approx(size, rel=0.02)


def test_flops_of_full_fine_tuning_are_six_for_each_parameter(context, file):
    full = next(
        plan
        for plan in plan_study(file.read_text(), str(file), context).plans
        if plan.config.method == "full"
    )
    tried = dry_run(full)
    embedding = 32 * full.base.model.config.vocab_size
    around = embedding + 32  # and the last normalization
    inside = tried.trainable_parameters - around
    tokens = tried.tokens
    assert step_flops(full, tried) == tokens * (6 * inside + 2 * around)


def test_nothing_is_kept_and_the_base_is_as_it_was(context, file):
    plans = plan_study(file.read_text(), str(file), context).plans
    before = fingerprint(plans[0].base.model)
    estimate.estimate(read_study(file))
    assert fingerprint(plans[0].base.model) == before
    assert [path.name for path in file.parent.iterdir()] == ["small.toml"]


def test_a_disk_that_is_too_small_is_told(monkeypatch, tmp_path):
    frame = pd.DataFrame([{"runs": 2, "seconds": 9000.0, "memory_bytes": 2e9, "disk_bytes": 5e9}])
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(estimate.shutil, "disk_usage", lambda _: usage(free=1e9))
    assert in_words(frame, tmp_path) == (
        "2 runs, about 2.5 hours of training one by one, 5,000 MB on disk, "
        "2.0 GB of memory at the highest. "
        "The disk has 1,000 MB free: too little."
    )
    monkeypatch.setattr(estimate.shutil, "disk_usage", lambda _: usage(free=1e10))
    assert "too little" not in in_words(frame.assign(memory_bytes=None), tmp_path)


def test_the_command_prints_it(file):
    found = CliRunner().invoke(cli.app, ["plan", str(file), "--json"])
    assert found.exit_code == 0
    told = json.loads(found.stdout)
    assert {row["configuration"] for row in told["configurations"]} >= {"full", "lora rank=2"}
    (counts,) = told["tasks"].values()
    text = CliRunner().invoke(cli.app, ["plan", str(file)]).stdout
    assert "14 runs" in text
    assert f"{counts['rows']} training rows of {counts['tokens']:,} tokens" in text


def test_a_study_that_can_not_be_is_refused(file):
    file.write_text(file.read_text().replace("rank = [2, 4]", "rank = [2, 4000]"))
    with pytest.raises(InputError, match="rank"):
        estimate.estimate(read_study(file))
