"""Two adapters of two tasks, combined in memory as `peftlens combine` does on disk."""

import pytest

import peftlens
from peftlens.adapters.combination import Recipe
from peftlens.adapters.comparison import compare
from peftlens.adapters.external import ExternalAdapter
from peftlens.inspection.combine import COMBINED, combine
from peftlens.models.snapshot import fingerprint
from peftlens.probes import combination
from peftlens.runs.config import RunConfig
from peftlens.runs.run import Run


@pytest.fixture(scope="module")
def runs(bases, words, relabeled_words, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")

    def train(file, seed=0, rank=2):
        config = RunConfig(
            method="lora", task=f"file:{file}", base_model=str(bases["llama"]), device="cpu",
            dtype="float32", method_config={"rank": rank}, seed=seed,
            training={"max_steps": 12, "batch_size": 8, "learning_rate": 2e-2},
        )  # fmt: skip
        return Run(peftlens.train(config, folder / "runs").path)

    return [train(words), train(relabeled_words), train(words, seed=1), train(words, rank=1)]


@pytest.fixture
def frame(runs, context):
    return combination.compare(context, dict.fromkeys(runs, "lora"), combination.Config(items=10))


def test_pairs_differ_in_their_task_alone(frame, runs):
    assert [*zip(frame["run"], frame["other_run"], strict=True)] == [
        (runs[0].id, runs[1].id), (runs[1].id, runs[0].id),
    ]  # fmt: skip
    assert {*frame["n_items"]} == {10}
    assert list(frame.columns) == [column.name for column in combination.COLUMNS]
    assert frame.notna().all(axis=None)


def test_scores_are_those_of_the_command(frame, runs, tmp_path):
    pair = [run.path for run in runs[:2]]
    found = combine(pair, tmp_path / "new", Recipe(), items=10).tasks
    rows = found.set_index(["trained", "model"])
    for row in frame.itertuples():
        assert row.combined_loss == pytest.approx(rows.loc[(row.run, COMBINED), "loss"], rel=1e-4)
        assert row.alone_loss == pytest.approx(rows.loc[(row.run, row.run), "loss"], rel=1e-4)
        assert row.kept == pytest.approx(rows.loc[(row.run, COMBINED), "kept"], rel=1e-3)
        assert row.combined_accuracy == rows.loc[(row.run, COMBINED), "accuracy"]


def test_measures_are_those_of_compare(frame, runs):
    compared = compare([ExternalAdapter(run.adapter()) for run in runs[:2]]).frame
    for name in ("cosine", "conflicts", "canceled"):
        assert frame[name].iloc[0] == pytest.approx(compared[name].mean(), rel=1e-4)
    assert (frame["shared"] == 1).all()


def test_the_base_is_unchanged(runs, context):
    model = context.base_model(runs[0]).model
    before = fingerprint(model)
    combination.compare(context, dict.fromkeys(runs, "lora"), combination.Config(items=3))
    assert fingerprint(model) == before


def test_an_option_that_does_not_fit(runs, context):
    with pytest.raises(peftlens.InputError, match="--rank does not apply to cat"):
        combination.compare(context, dict.fromkeys(runs, "lora"), combination.Config(rank=2))
