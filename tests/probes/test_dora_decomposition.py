import numpy as np
import pytest

from peftlens.adapters.delta_weights import DeltaWeight
from peftlens.probes.dora_decomposition import _row, measure


@pytest.fixture
def weight():
    return np.random.default_rng(0).normal(size=(30, 20)).astype(np.float32)


def test_longer_rows_keep_their_direction(weight):
    row = _row(DeltaWeight(name="w", before=weight, change=0.1 * weight))
    assert row["magnitude"] == pytest.approx(0.1 * np.linalg.norm(weight, axis=1).mean(), rel=1e-5)
    assert row["relative_magnitude"] == pytest.approx(0.1, rel=1e-5)
    assert row["direction"] == pytest.approx(0, abs=1e-6)


def test_turned_rows_keep_their_length(weight):
    turned = -weight[:, ::-1]
    row = _row(DeltaWeight(name="w", before=weight, change=turned - weight))
    assert row["magnitude"] == pytest.approx(0, abs=1e-5)
    cosines = (weight * turned).sum(axis=1) / np.square(weight).sum(axis=1)
    assert row["direction"] == pytest.approx(1 - cosines.mean(), rel=1e-5)


def test_a_row_of_zeros_counts_as_turned_away(weight):
    weight[0] = 0
    assert np.isfinite(
        _row(DeltaWeight(name="w", before=weight, change=weight * 0 + 1))["direction"]
    )


def test_correlation_is_over_the_weights_of_a_role(context, lora, trained):
    rows = measure(context, lora)
    values = rows[rows["weight"].str.contains("v_proj")]
    assert len(values) == 3
    expected = np.corrcoef(values["magnitude"], values["direction"])[0, 1]
    assert values["correlation"].tolist() == pytest.approx([expected] * 3)
    lone = measure(context, trained("lora", rank=2, target_modules=["layers.0.self_attn.q_proj"]))
    assert lone["correlation"].isna().all()
