import numpy as np
import pytest
import torch
from scipy.stats import ortho_group
from sklearn.metrics import roc_auc_score

from peftlens.data.collate import Collator
from peftlens.diffing.hidden_states import text_rows
from peftlens.diffing.projections import (
    Projected,
    auc,
    hoyer,
    in_context,
    projections,
    random_directions,
    standardized_p,
)


def test_projections_are_those_of_plain_forward_passes(llama):
    texts = ["good 1 up", "a longer line of text", "bad 2 down down"]
    rows = text_rows(Collator.of(llama, 64), texts)
    vectors = ortho_group.rvs(32, random_state=0)[:, :3]
    inner, outer = "model.layers.1.self_attn.q_proj", "model.layers.0.mlp.down_proj"
    places, found = projections(
        llama.model,
        llama,
        rows,
        {
            "in": Projected(module=inner, output=False, vectors=vectors),
            "out": Projected(module=outer, output=True, vectors=vectors),
        },
    )
    seen = {}
    model = llama.model
    handles = [
        model.get_submodule(inner).register_forward_hook(
            lambda _, args, __: seen.update({"in": args[0][0]})
        ),
        model.get_submodule(outer).register_forward_hook(
            lambda _, __, out: seen.update({"out": out[0]})
        ),
    ]
    try:
        for (row, position), own, written in zip(places, found["in"], found["out"], strict=True):
            assert position > 0
            with torch.inference_mode():
                model(torch.tensor([rows[row].answer[:-1]]))
            np.testing.assert_allclose(own, seen["in"][position].numpy() @ vectors, atol=1e-5)
            np.testing.assert_allclose(written, seen["out"][position].numpy() @ vectors, atol=1e-5)
    finally:
        for handle in handles:
            handle.remove()
    assert len(places) == sum(len(row.answer) - 2 for row in rows)


def test_auc_is_scikit_learn_s():
    rng = np.random.default_rng(0)
    one, other = rng.normal(size=(20, 3)).round(1), rng.normal(0.5, 1, size=(30, 3)).round(1)
    labels = [1] * 20 + [0] * 30
    expected = [roc_auc_score(labels, np.concatenate([one, other])[:, k]) for k in range(3)]
    np.testing.assert_allclose(auc(one, other), expected)


def test_sparseness_of_known_vectors():
    columns = np.array([[1.0, 5, 1], [1, 0, -1], [1, 0, 0], [1, 0, 0]])
    np.testing.assert_allclose(hoyer(columns), [0, 1, 2 - np.sqrt(2)])  # (2 - 2 / √2) / (2 - 1)


def test_a_token_with_the_text_before_it(llama):
    (row,) = text_rows(Collator.of(llama, 64), ["a good dog"])
    assert in_context(llama, row, 3) == ("o", "a␣g")
    assert in_context(llama, row, 9) == ("g", "␣good␣do")


@pytest.mark.parametrize("count", [3, 10])
def test_random_directions_are_of_length_one(count):
    drawn = random_directions(8, count, np.random.default_rng(0))
    assert drawn.shape == (8, count)
    np.testing.assert_allclose(np.linalg.norm(drawn, axis=0), 1)
    np.testing.assert_allclose(drawn[:, :3].T @ drawn[:, :3], np.eye(3), atol=1e-12)


def test_p_of_directions_like_the_random_ones_is_uniform():
    rng = np.random.default_rng(0)
    modules = [rng.normal(level, 1 + level, size=44) for level in range(100)]
    p = standardized_p(modules, [4] * 100)
    assert len(p) == 400
    assert 0.01 < (p <= 0.05).mean() < 0.1
    modules[0][0] = 1000  # a scale of which other modules know nothing
    assert standardized_p(modules, [4] * 100)[0] == pytest.approx(1 / 4001)
