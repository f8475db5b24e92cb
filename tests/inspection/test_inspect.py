"""Adapters of every type, sound and damaged, as `inspect_adapter` tells of them."""

import pytest
import theirs
from safetensors.torch import load_file, save_file

import peftlens
from peftlens.errors import InputError
from peftlens.inspection import inspect as inspection
from peftlens.inspection.inspect import inspect, located
from peftlens.runs.config import RunConfig


def said(found, severity):
    return [one.text for one in found.findings if one.severity == severity]


@pytest.mark.parametrize("kind", theirs.BUILDABLE)
def test_every_type_is_recognized(kind, peft_adapter):
    """Its numbers are read; its spectra too, or there is a reason why not."""
    found = inspect(peft_adapter(kind))
    assert dict(found.about)["type"] == kind
    assert not found.broken
    rows = found.tables["adapter_weights"].frame
    assert (rows["norm"].notna() | rows["spectrum_unavailable"].notna()).all()
    assert rows["largest"].notna().all()
    if kind in ("LORA", "ADALORA", "LOHA", "LOKR"):
        assert list(rows["role"]) == ["q_proj", "v_proj"] * 3
        assert list(rows["layer"]) == [0, 0, 1, 1, 2, 2]
        assert (rows["norm"] > 0).all()
    vectors = {"PROMPT_TUNING", "P_TUNING", "PREFIX_TUNING", "CPT", "CARTRIDGE",
               "MULTITASK_PROMPT_TUNING"}  # fmt: skip
    assert ("adapter_vectors" in found.tables) == (kind in vectors)


def test_xlora_is_recognised_by_its_configuration(peft_adapter):
    """It holds no adapters of its own, so its folder can't be made on a tiny model."""
    folder = peft_adapter()
    theirs.edit(folder, peft_type="XLORA", adapters={"0": "elsewhere"})
    found = inspect(folder)
    assert dict(found.about)["type"] == "XLORA"
    frame = found.tables["adapter_weights"].frame
    assert frame["spectrum_unavailable"].str.contains("XLORA: its file alone").all()


def test_no_training_is_told(peft_adapter):
    folder = peft_adapter()
    file = folder / "adapter_model.safetensors"
    save_file({n: t * ("lora_A" in n) for n, t in load_file(file).items()}, file)
    found = inspect(folder)
    assert found.broken
    assert "has not been trained" in said(found, "broken")[0]


def test_with_its_base_every_probe_is_asked(peft_adapter, bases):
    folder = peft_adapter()
    found = inspect(folder, str(bases["llama"]))
    assert not found.broken
    assert {"delta_spectrum", "intruder_dimensions", "amplification", "representation_shift",
            "logit_shift", "forgetting"} <= found.tables.keys()  # fmt: skip
    assert {"soft_prompt_neighbors", "soft_prompt_null"} <= found.not_applicable.keys()
    assert any("It fits" in text for text in said(found, "ok"))
    assert set(found.tables["representation_shift"].frame["text"]) == {"general"}
    assert set(found.tables["activation_difference"].frame["text"]) == {"general"}


def test_a_prompt_with_its_base_is_read(peft_adapter, bases):
    found = inspect(peft_adapter("PROMPT_TUNING"), str(bases["llama"]))
    assert {"soft_prompt_neighbors", "soft_prompt_null"} <= found.tables.keys()
    assert any("nearest tokens, tested" in text for text in said(found, "ok"))


def test_a_runs_adapter_is_read_with_the_runs_task(bases, words, tmp_path):
    run = peftlens.train(
        RunConfig(
            method="lora", task=f"file:{words}", base_model=str(bases["llama"]), device="cpu",
            dtype="float32", method_config={"rank": 2}, training={"max_steps": 2, "batch_size": 4},
        ),
        tmp_path,
    )  # fmt: skip
    table = inspect(run.path, str(bases["llama"])).tables["activation_difference"]
    assert set(table.frame["text"]) == {"general", "task"}
    assert table.frame["run"].nunique() == 1
    assert table.frame["run"][0] != run.id  # as in the tables of the adapter's file


def test_an_update_that_merging_erases_is_broken(bases, peft_adapter, monkeypatch):
    """Of 16 and 4 bits, the thousandth of a random update is lost in 4; all of it in none."""
    monkeypatch.setattr(inspection, "WITH_A_BASE", ())
    folder = peft_adapter()
    whole = inspect(folder, str(bases["llama"]), survival=True)
    assert not whole.broken
    assert {*inspection.SURVIVAL} <= whole.tables.keys()
    assert len([text for text in said(whole, "ok") if "keeps its effect" in text]) == 5
    file = folder / "adapter_model.safetensors"
    save_file({n: t * (1e-3 if "lora_B" in n else 1) for n, t in load_file(file).items()}, file)
    light = inspect(folder, str(bases["llama"]), survival=True)
    assert light.broken
    assert any("Merged in nf4, the update is erased" in text for text in said(light, "broken"))


def test_survival_needs_a_base(peft_adapter):
    with pytest.raises(InputError, match="give --base, without --for"):
        inspect(peft_adapter(), survival=True)


def test_a_runs_update_is_followed_on_its_task(bases, words, tmp_path, monkeypatch):
    monkeypatch.setattr(inspection, "WITH_A_BASE", ())
    run = peftlens.train(
        RunConfig(
            method="lora", task=f"file:{words}", base_model=str(bases["llama"]), device="cpu",
            dtype="float32", training={"max_steps": 2, "batch_size": 4},
        ),
        tmp_path,
    )  # fmt: skip
    table = inspect(run.path, str(bases["llama"]), survival=True).tables["update_survival"]
    assert set(table.frame["text"]) == {"general", "task"}


def test_a_training_text_needs_a_base_and_a_file(peft_adapter, tmp_path):
    folder = peft_adapter()
    with pytest.raises(InputError, match="is not a text file"):
        inspect(folder, "base", training_text=str(tmp_path / "nothing"))
    (tmp_path / "text").write_text("a line\n")
    with pytest.raises(InputError, match="give --base"):
        inspect(folder, training_text=str(tmp_path / "text"))


def test_what_is_unusual_is_told(peft_adapter):
    found = inspect(peft_adapter(lora_alpha=1000, modules_to_save=["lm_head"]))
    message = " ".join(said(found, "warning"))
    assert "is multiplied by 125" in message
    assert "full copies of layers of the base model" in message
    assert "names a local folder as its base model" in message


def test_runs_and_the_hub_are_looked_up(peft_adapter, monkeypatch, tmp_path):
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "run.json").write_text("{}")
    assert located(tmp_path / "one") == tmp_path / "one" / "adapter"
    folder, requested = peft_adapter(), []

    def fetch(name, revision, allow_patterns):
        requested.append((name, revision, allow_patterns[0]))
        return str(folder)

    monkeypatch.setattr("huggingface_hub.snapshot_download", fetch)
    assert located("someone/lora@v1") == folder
    assert requested == [("someone/lora", "v1", "adapter_config.json")]
