import numpy as np
import pytest
import theirs
from safetensors.torch import load_file, save_file

from peftlens.adapters.external import ExternalAdapter
from peftlens.evaluation.probe_runner import run_probe
from peftlens.probes.adapter_weights import _module, _natural


@pytest.fixture
def adapter(tmp_path):
    """B and A with given singular values in one weight, and zeros in another."""
    folder = theirs.save(theirs.wrapped("LORA", r=2, lora_alpha=4), tmp_path / "a", "base")
    file = folder / "adapter_model.safetensors"
    tensors = load_file(file)
    for name, tensor in tensors.items():
        tensor.zero_()
        if "layers.1.self_attn.q_proj" in name:
            for k, value in enumerate((3.0, 1.0)):
                index = (k, k)
                tensor[index] = value if "lora_B" in name else 1.0
    save_file(tensors, file)
    return ExternalAdapter(folder)


def test_spectra_are_those_of_the_scaled_product(context, adapter):
    frame = run_probe(context, adapter, "adapter_weights").frame.set_index("module")
    row = frame.loc["model.layers.1.self_attn.q_proj"]
    # alpha / r = 2, so the singular values are 6 and 2
    assert row["norm"] == pytest.approx(np.sqrt(40))
    assert row["stable_rank"] == pytest.approx(40 / 36)
    assert (row["k90"], row["k95"], row["k99"], row["rank"]) == (1, 2, 2, 2)
    assert (row["layer"], row["role"], row["tensors"], row["n_values"]) == (1, "q_proj", 2, 128)
    assert (row["dtype"], row["bytes"], row["zero"], row["not_finite"]) == ("F32", 512, 0, 0)
    empty = frame.loc["model.layers.0.self_attn.q_proj"]
    assert (empty["norm"], empty["zero"]) == (0, 2)
    assert empty[["stable_rank", "k90"]].isna().all()


def test_numbers_that_are_none_have_no_spectrum(context, adapter):
    file = adapter.path / "adapter_model.safetensors"
    save_file({n: t / 0 if "layers.0" in n else t for n, t in load_file(file).items()}, file)
    frame = run_probe(context, ExternalAdapter(adapter.path), "adapter_weights").frame
    assert frame["norm"].isna().all()
    assert set(frame["spectrum_unavailable"]) == {"the file has NaN or infinite values"}
    assert list(frame["not_finite"]) == [2, 2, 0, 0, 0, 0]


def test_layers_come_in_their_order():
    names = ["l.10.q", "l.9.v", "l.9.q", "head"]
    assert sorted(names, key=_natural) == ["head", "l.9.q", "l.9.v", "l.10.q"]


@pytest.mark.parametrize(
    ("kind", "name", "module"),
    [
        ("LORA", "base_model.model.m.0.q.lora_A.weight", "m.0.q"),
        ("LORA", "base_model.model.lm_head.weight", "lm_head"),
        ("VERA", "base_model.vera_A", "base_model.vera_A"),
        ("PROMPT_TUNING", "prompt_embeddings", "prompt_embeddings"),
    ],
)
def test_a_tensors_module(kind, name, module, tmp_path):
    file = ExternalAdapter(theirs.save(theirs.wrapped(kind), tmp_path / "a", "base")).file
    assert _module(name, file) == module
