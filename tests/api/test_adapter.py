import peft
import pytest
import theirs
import torch
from safetensors.torch import load_file

import peftlens as pl


@pytest.fixture
def folder(bases, tmp_path):
    """A LoRA of rank 8 that plain peft saved."""
    return theirs.save(theirs.wrapped("LORA"), tmp_path / "hers", str(bases["llama"]))


def test_an_adapter_is_opened_with_the_base_that_it_names(folder, bases):
    assert pl.load_adapter(str(folder)).config.base_model == str(bases["llama"])
    assert pl.load_adapter(folder, base_model="other").config.base_model == "other"


def test_no_adapter_is_one_line(tmp_path):
    with pytest.raises(pl.InputError):
        pl.load_adapter(tmp_path / "nowhere" / "at" / "all")


def test_an_inspection_shows_its_findings(folder):
    found = pl.inspect_adapter(folder)
    assert dict(found.about)["type"] == "LORA"
    assert "delta_spectrum" not in found.tables
    shown = found._repr_html_()
    assert "<td>type</td>\n      <td>LORA</td>" in shown
    assert found.findings[0].text.split(":")[0] in shown


def test_a_base_named_on_opening_is_measured_against(folder, bases, monkeypatch):
    monkeypatch.setattr("peftlens.inspection.inspect.WITH_A_BASE", ("delta_spectrum",))
    adapter = pl.load_adapter(folder, base_model=str(bases["llama"]))
    assert "delta_spectrum" in pl.inspect_adapter(adapter).tables


def test_a_run_is_an_adapter_too(trained):
    assert dict(pl.inspect_adapter(trained).about)["type"] == "LORA"


def test_an_adapter_beside_itself_has_cosine_one(folder, trained, tmp_path):
    pl.truncate_adapter(folder, tmp_path / "same", rank=8)
    frame = pl.compare_adapters([pl.load_adapter(folder), tmp_path / "same"]).to_frame()
    assert frame["cosine"].to_numpy() == pytest.approx(1, abs=1e-5)
    assert len(pl.compare_adapters([folder, tmp_path / "same", trained]).to_frame()) > len(frame)


def test_a_truncated_adapter_has_the_rank(folder, tmp_path):
    frame = pl.truncate_adapter(pl.load_adapter(folder), str(tmp_path / "small"), rank=1)
    assert frame.columns.tolist() == ["weight", "rank", "kept", "energy"]
    assert (frame["kept"] == 1).all()
    assert frame["energy"].between(0, 1).all()
    tensors = load_file(tmp_path / "small" / "adapter_model.safetensors")
    assert {t.shape[0] for n, t in tensors.items() if "lora_A" in n} == {1}


@pytest.mark.parametrize("as_path", [False, True])
def test_a_merged_run_is_a_plain_model(trained, tmp_path, as_path):
    error = pl.merge(str(trained.path) if as_path else trained, str(tmp_path / "merged"))
    assert error < 1e-5
    ids = torch.arange(3, 15).reshape(1, -1)
    merged = pl.load_base_model(str(tmp_path / "merged"), device="cpu", dtype="float32").model
    assert not isinstance(merged, peft.PeftModel)
    with torch.no_grad():
        attached = trained.load(device="cpu")[0](input_ids=ids).logits
        assert torch.allclose(merged(input_ids=ids).logits, attached, atol=1e-4)


@pytest.fixture
def text(tmp_path):
    (tmp_path / "text.txt").write_text("A quiet river.\nNine ships left.\n")
    return tmp_path / "text.txt"


def test_a_converted_adapter_shows_what_it_cost(bases, text, tmp_path):
    """The base is the one that the adapter was opened with."""
    folder = theirs.save(theirs.wrapped("LOHA", r=2), tmp_path / "loha", "elsewhere")
    adapter = pl.load_adapter(folder, base_model=str(bases["llama"]))
    found = pl.convert(adapter, tmp_path / "new", rank=2, text=text)
    assert found.models["model"].tolist() == ["base", "original", "converted"]
    assert "general_kl" in found._repr_html_()
    assert (found.weights["rank"] == 2).all()


def test_combined_adapters_are_scored_on_the_run_s_task(folder, trained, tmp_path):
    found = pl.combine([trained, folder], tmp_path / "both", weights=(1.0, 0.0), items=5)
    kept = found.tasks.set_index("model")["kept"]
    assert kept["the combination"] == pytest.approx(kept[trained.path.name], rel=1e-2, nan_ok=True)
    assert "<td>the combination</td>" in found._repr_html_()
