import pytest
import torch
from small_runs import small_trainer

from peftlens.adapters.checkpoint import open_run, state
from peftlens.adapters.external import ExternalAdapter
from peftlens.adapters.initial_state import initial_state
from peftlens.diffing.random_updates import open_random_update
from peftlens.models.snapshot import fingerprint
from peftlens.results.table import NotApplicable

IDS = torch.tensor([[5, 9, 7, 11]])


@pytest.fixture(scope="module")
def train(bases, words, tmp_path_factory):
    return small_trainer(
        bases, words, tmp_path_factory.mktemp("runs"), max_steps=3, learning_rate=0.01
    )


def logits(model):
    with torch.inference_mode():
        return model(input_ids=IDS, attention_mask=torch.ones_like(IDS)).logits[:, -4:]


def updates(model, start):
    """ΔW of every layer of LoRA, from the weights that the layers use, without our code."""
    return {
        name.removeprefix("base_model.model."): layer.get_base_layer().weight.detach()
        + layer.get_delta_weight("default").detach()
        - start[f"{name.removeprefix('base_model.model.')}.weight"]
        for name, layer in model.named_modules()
        if hasattr(layer, "get_delta_weight")
    }


@pytest.mark.parametrize(
    ("method", "rank"), [("lora", 3), ("adalora", None), ("pissa", 2), ("olora", 2), ("rslora", 2)]
)
def test_singular_values_of_low_rank_updates_are_kept(train, llama, method, rank):
    run = train(method, **({"rank": rank} if rank else {}))
    weights = {name: p.detach().clone() for name, p in llama.model.named_parameters()}
    with open_run(run, llama) as model:
        own = updates(model, weights)
    with open_random_update(run, llama, 0) as model:
        drawn = updates(model, weights)
    assert own.keys() == drawn.keys()
    for name, update in own.items():
        torch.testing.assert_close(
            torch.linalg.svdvals(drawn[name]), torch.linalg.svdvals(update), atol=2e-6, rtol=1e-4
        )
        cosine = (drawn[name] * update).sum() / update.norm() / drawn[name].norm()
        assert abs(cosine) < 0.5


@pytest.mark.parametrize(
    "method",
    ["full", "ia3", "ln_tuning", "bottleneck", "prompt_tuning", "p_tuning", "prefix_tuning",
     "vera", "fish_mask", "embeddings", "trainable_tokens", "dora", "mam", "loreft"],
)  # fmt: skip
def test_other_tensors_move_as_far(train, llama, method):
    run = train(method)
    start = initial_state(run, llama)
    with open_run(run, llama) as model:
        own, tuned = {name: t.clone() for name, t in state(model).items()}, logits(model)
    with open_random_update(run, llama, 0) as model:
        drawn, random = {name: t.clone() for name, t in state(model).items()}, logits(model)
    for name, tensor in own.items():
        if not tensor.is_floating_point() or (method == "dora" and "magnitude" not in name):
            continue
        moved, moved_too = tensor - start[name], drawn[name] - start[name]
        torch.testing.assert_close(moved_too.norm(), moved.norm(), rtol=1e-3, atol=1e-6)
        if moved.norm() > 0 and tensor.numel() > 1:
            assert not torch.equal(drawn[name], tensor)
        if moved.ndim == 2 and moved.shape[1] == 32:  # virtual tokens, and rows of the table
            torch.testing.assert_close(moved_too.norm(dim=1), moved.norm(dim=1))
    assert not torch.allclose(random, tuned)


def test_seeds_and_the_base(train, llama):
    run = train("lora")
    before = fingerprint(llama.model)
    drawn = []
    for seed in (0, 0, 1):
        with open_random_update(run, llama, seed) as model:
            drawn.append(logits(model))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert fingerprint(llama.model) == before


def test_adapters_of_other_programs(train, llama):
    lora = train("lora")
    with open_random_update(lora, llama, 0) as model:
        own = logits(model)
    with open_random_update(ExternalAdapter(lora.adapter()), llama, 0) as model:
        torch.testing.assert_close(logits(model), own)
    for method, reason in (("prompt_tuning", "start of prompt_emb"), ("pissa", "part of the base")):
        other = ExternalAdapter(train(method).adapter())
        with (
            pytest.raises(NotApplicable, match=reason),
            open_random_update(other, llama, 0),
        ):
            pass


def test_where_nothing_was_trained(train, llama):
    with (
        pytest.raises(NotApplicable, match="nothing was trained"),
        open_random_update(train("frozen"), llama, 0),
    ):
        pass
