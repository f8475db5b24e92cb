import pytest
import torch

import peftlens
from peftlens.adapters.checkpoint import open_run
from peftlens.diffing.ablation import OUTSIDE, Unit, opened_for_ablation
from peftlens.models.base_model import load_base_model
from peftlens.models.snapshot import fingerprint
from peftlens.results.table import NotApplicable
from peftlens.runs.config import RunConfig

OPTIONS = {
    "lora": {"rank": 2}, "dora": {"rank": 2}, "ia3": {}, "bottleneck": {}, "full": {},
    "ln_tuning": {}, "bitfit": {"add_biases": True}, "prefix_tuning": {"num_virtual_tokens": 3},
    "mam": {}, "unipelt": {}, "pissa": {"rank": 2}, "loreft": {}, "adaption_prompt": {},
    "intrinsic_dimension": {}, "parallel_adapter": {}, "last_layers": {"blocks": 1},
}  # fmt: skip
PARTS = {
    "lora": {"attention"},
    "ia3": {"attention", "feed_forward"},
    "bottleneck": {"feed_forward"},
    "full": {"attention", "feed_forward", "other"},
    "ln_tuning": {"other"},
    "prefix_tuning": {"attention"},
    "mam": {"attention", "feed_forward"},
    "loreft": {"other"},
}


@pytest.fixture(scope="module")
def train(bases, words, tmp_path_factory):
    out, done = tmp_path_factory.mktemp("ablated"), {}

    def run(method, kind="llama"):
        if (method, kind) not in done:
            done[method, kind] = peftlens.train(
                RunConfig(
                    method=method, task=f"file:{words}", base_model=str(bases[kind]), device="cpu",
                    dtype="float32", method_config=OPTIONS.get(method, {}),
                    training={"max_steps": 4, "batch_size": 4, "learning_rate": 0.02},
                ),
                out,
            )  # fmt: skip
        return done[method, kind]

    return run


@pytest.fixture(scope="module")
def base(bases):
    return load_base_model(str(bases["llama"]), device="cpu", dtype="float32")


def logits(model, length=9):
    ids = torch.randint(3, 250, (3, length), generator=torch.manual_seed(0))
    mask = torch.ones_like(ids)
    mask[1, length // 2 :] = 0
    with torch.inference_mode():
        return model(input_ids=ids, attention_mask=mask, use_cache=False).logits[mask.bool()]


@pytest.mark.parametrize("method", OPTIONS)
def test_all_units_are_the_run_and_none_the_base(method, train, base):
    run = train(method)
    before, own = fingerprint(base.model), logits(base.model)
    with open_run(run, base) as model:
        tuned = logits(model)
    assert (tuned - own).abs().max() > 1e-3
    with opened_for_ablation(run, base) as ablation:
        with ablation.active(()) as model:
            assert torch.equal(logits(model), own)
        with ablation.active(ablation.units[:1]) as model:
            first = logits(model)
        with ablation.active(ablation.units) as model:
            assert torch.equal(logits(model), tuned)
        assert torch.equal(logits(ablation.model), tuned)
    if method != "last_layers":
        assert not torch.equal(first, tuned)
    assert not torch.equal(first, own)
    assert fingerprint(base.model) == before
    inside = {unit.part for unit in ablation.units if unit.block != OUTSIDE}
    assert inside == PARTS.get(method, inside)


@pytest.mark.parametrize("method", ["bottleneck", "prefix_tuning", "lora"])
def test_other_architectures(method, train, bases):
    base = load_base_model(str(bases["gpt2"]), device="cpu", dtype="float32")
    run = train(method, "gpt2")
    with open_run(run, base) as model:
        tuned = logits(model)
    own = logits(base.model)
    with opened_for_ablation(run, base) as ablation:
        with ablation.active(()) as model:
            assert torch.equal(logits(model), own)
        with ablation.active(ablation.units) as model:
            assert torch.equal(logits(model), tuned)


def test_one_block_of_full_fine_tuning_has_that_block_s_weights_alone(train, base, bases):
    run = train("full")
    plain = peftlens.load_base_model(str(bases["llama"]), device="cpu", dtype="float32").model
    tuned = {name: tensor.clone() for name, tensor in run.load()[0].state_dict().items()}
    own = plain.state_dict()
    plain.load_state_dict({n: (tuned if ".layers.1." in n else own)[n] for n in own})
    with opened_for_ablation(run, base) as ablation:
        with ablation.active([unit for unit in ablation.units if unit.block == 1]) as model:
            one = logits(model)
        assert Unit(OUTSIDE, "other") in ablation.units
    assert torch.equal(one, logits(plain))


def states(model):
    ids = torch.randint(3, 250, (2, 7), generator=torch.manual_seed(1))
    with torch.inference_mode():
        return model(input_ids=ids, output_hidden_states=True).hidden_states


@pytest.mark.parametrize("method", ["prefix_tuning", "mam"])
def test_a_prefix_acts_in_its_own_layers_alone(method, train, base):
    run = train(method)
    own = states(base.model)
    with open_run(run, base) as model:
        tuned = states(model)
    with opened_for_ablation(run, base) as ablation:
        with ablation.active([unit for unit in ablation.units if unit.block == 0]) as model:
            torch.testing.assert_close(states(model)[1], tuned[1])
        with ablation.active([Unit(1, "attention")]) as model:
            got = states(model)
    # rotations by position are relative, so up to rounding these are the base's
    torch.testing.assert_close(got[1], own[1], atol=1e-5, rtol=1e-4)
    assert (got[2] - own[2]).abs().max() > 1e-3


@pytest.mark.parametrize("length", [1, 9])
def test_a_hidden_prefix_leaves_the_base(length, train, base):
    """Also for a single token, for which transformers makes no mask."""
    with opened_for_ablation(train("prefix_tuning"), base) as ablation:
        last = [unit for unit in ablation.units if unit.block == 2]
        with ablation.active(last) as model, torch.no_grad():
            ids = torch.arange(5, 5 + length)[None]
            got = model(input_ids=ids, output_hidden_states=True).hidden_states
    with torch.no_grad():
        own = base.model(input_ids=ids, output_hidden_states=True).hidden_states
    torch.testing.assert_close(got[2], own[2], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("method", ["prompt_tuning", "embeddings", "frozen"])
def test_what_changes_no_block_says_so(method, train, base):
    with (
        pytest.raises(NotApplicable, match="nothing inside the model's blocks"),
        opened_for_ablation(train(method), base),
    ):
        pass
