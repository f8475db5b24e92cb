import pytest

import peftlens
from peftlens.runs.config import RunConfig
from peftlens.training import attention_backend


def test_attention_by_plain_products_is_attention(bases, words, tmp_path, monkeypatch):
    config = RunConfig(
        method="lora", task=f"file:{words}", base_model=str(bases["llama"]), device="cpu",
        dtype="float32",
        training={"max_steps": 6, "batch_size": 4, "max_length": 32, "logging_steps": 1},
    )  # fmt: skip
    plain = peftlens.train(config, tmp_path / "a")
    monkeypatch.setattr(attention_backend, "MAX_MATH_TOKENS", 0)
    fused = peftlens.train(config, tmp_path / "b")
    for one, other in zip(plain.metrics(), fused.metrics(), strict=True):
        for name in ("loss", "grad_norm"):
            assert one.get(name, 0) == pytest.approx(other.get(name, 0), rel=1e-4)
