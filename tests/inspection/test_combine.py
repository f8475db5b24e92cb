"""A combination is scored on the tasks of the runs that it is made of."""

import warnings

import peft
import pytest
import theirs
import torch
from tiny import build

import peftlens
from peftlens.adapters.combination import Recipe
from peftlens.errors import InputError
from peftlens.inspection.combine import BASE, COMBINED, combine
from peftlens.runs.config import RunConfig

IDS = torch.arange(3, 43).reshape(2, 20)


@pytest.fixture(scope="module")
def runs(bases, words, relabeled_words, tmp_path_factory):
    """A LoRA of one task, and a LoHa of the same words with other labels."""
    folder = tmp_path_factory.mktemp("runs")
    return [
        peftlens.train(
            RunConfig(
                method=method, task=f"file:{file}", base_model=str(bases["llama"]), device="cpu",
                dtype="float32", method_config={"rank": 2},
                training={"max_steps": 12, "batch_size": 8, "learning_rate": 2e-2},
            ),
            folder / "runs",
        )
        for method, file in (("lora", words), ("loha", relabeled_words))
    ]  # fmt: skip


def table(found):
    return found.tasks.set_index(["trained", "model"])


def test_the_matrix_has_every_model_on_every_task(runs, tmp_path):
    found = combine([run.path for run in runs], tmp_path / "new", Recipe())
    names = [run.path.name for run in runs]
    rows = table(found)
    assert [*rows.index] == [(one, model) for one in names for model in (BASE, *names, COMBINED)]
    for name, run in zip(names, runs, strict=True):
        probed = peftlens.probe(run, "task_accuracy").to_frame().iloc[0]
        alone = rows.loc[(name, name)]
        assert alone["loss"] == pytest.approx(probed["loss"])
        assert alone["accuracy"] == pytest.approx(probed["accuracy"])
        assert alone["kept"] == 1
        assert rows.loc[(name, BASE), "kept"] == 0
        start, both = rows.loc[(name, BASE), "loss"], rows.loc[(name, COMBINED), "loss"]
        kept = (start - both) / (start - alone["loss"])
        assert rows.loc[(name, COMBINED), "kept"] == pytest.approx(kept)
    assert {*found.modules["rank"]} == {2 + 4}


def test_weight_one_and_zero_is_the_adapter_alone(runs, tmp_path):
    recipe = Recipe(weights=(0.0, 1.0))
    found = combine([run.path for run in runs], tmp_path / "new", recipe)
    name = runs[1].path.name
    assert table(found).loc[(name, COMBINED), "kept"] == pytest.approx(1, abs=1e-3)
    assert table(found).loc[(runs[0].path.name, COMBINED), "kept"] < 0.9


def test_plain_peft_loads_the_sum(bases, tmp_path):
    models, folders = {}, []
    for kind in ("LOHA", "VERA"):
        models[kind] = theirs.wrapped(kind, r=2)
        folders.append(theirs.save(models[kind], tmp_path / kind, str(bases["llama"])))
    found = combine(folders, tmp_path / "new", Recipe(weights=(0.5, 2.0)))
    assert found.tasks.empty
    expected = build("llama")
    with torch.no_grad():
        for kind, weight in (("LOHA", 0.5), ("VERA", 2.0)):
            for name, delta in theirs.deltas(models[kind]).items():
                parameter = dict(expected.named_parameters())[name]
                parameter += (weight * delta).float()
        new = peft.PeftModel.from_pretrained(build("llama"), tmp_path / "new").eval()
        torch.testing.assert_close(new(IDS).logits, expected(IDS).logits, atol=1e-4, rtol=0)


def test_what_a_lora_can_not_carry_is_told(bases, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        models = {
            "a": theirs.wrapped("LORA", modules_to_save=["model.norm"]),
            "b": theirs.wrapped("LORA"),
        }
    base = str(bases["llama"])
    folders = [theirs.save(model, tmp_path / name, base) for name, model in models.items()]
    found = combine(folders, tmp_path / "new", Recipe())
    assert [*found.lost["adapter"]] == ["a"]
    assert [*found.lost["weight"]] == ["model.norm.weight"]


def test_adapters_of_two_bases_or_listed_twice(bases, tmp_path):
    folders = [
        theirs.save(theirs.wrapped("LORA"), tmp_path / name, str(bases[base]))
        for name, base in (("a", "llama"), ("b", "gpt2"))
    ]
    with pytest.raises(InputError, match="combine adapters of one base"):
        combine(folders, tmp_path / "new", Recipe())
    with pytest.raises(InputError, match="listed twice"):
        combine([folders[0]] * 2, tmp_path / "new", Recipe())
    with pytest.raises(InputError, match="exists"):
        combine(folders, tmp_path, Recipe())
