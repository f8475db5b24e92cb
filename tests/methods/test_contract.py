"""What every method must keep, on three kinds of model."""

import copy

import pytest
import torch
from tiny import build

from peftlens import registry
from peftlens.anatomy import shapes
from peftlens.models import adapters
from peftlens.models.lending import lent, state_of

KINDS = ("llama", "gpt2", "t5")
TARGETS = {"llama": ["q_proj", "v_proj"], "gpt2": ["c_attn"], "t5": ["q", "v"]}
# Methods whose model is not the base at the start: the prompt is there before it is trained.
NOT_IDENTITY = {"prompt_tuning"}


def options(method, kind):
    return {"target_modules": TARGETS[kind]} if method == "lora" else {}


def logits(model):
    ids = torch.arange(3, 11).reshape(2, 4)
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if model.config.is_encoder_decoder:
        inputs["decoder_input_ids"] = ids[:, :2]
    with torch.inference_mode():
        return model(**inputs).logits[:, -2:]


def attached(method, kind, model):
    config = registry.configure("methods", method, options(method, kind))
    torch.manual_seed(7)
    return adapters.attach(model, method, config).eval(), config


@pytest.fixture(params=[(m, k) for m in registry.names("methods") for k in KINDS], ids="-".join)
def case(request):
    return request.param


@pytest.fixture(params=["float32", "bfloat16"])
def model(case, request):
    return build(case[1]).to(getattr(torch, request.param))


def shake(model):
    """Move every trained weight, as training would."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape).to(parameter.dtype), alpha=0.3)


def test_starts_as_the_identity_where_the_paper_says_so(case, model):
    before = logits(model)
    wrapped, _ = attached(*case, model)
    same = torch.equal(logits(wrapped), before)
    assert same == (case[0] not in NOT_IDENTITY)


def test_parameter_count_is_the_formulas(case, model):
    of_base = shapes(model)
    wrapped, config = attached(*case, model)
    counted = sum(p.numel() for p in wrapped.parameters() if p.requires_grad)
    assert counted == registry.load("methods", case[0]).trainable_parameters(config, of_base)


def test_only_the_methods_own_parameters_learn(case, model):
    wrapped, _ = attached(*case, model)
    frozen = {n: p.detach().clone() for n, p in wrapped.named_parameters() if not p.requires_grad}
    trained = {n: p.detach().clone() for n, p in wrapped.named_parameters() if p.requires_grad}
    if not trained:
        assert case[0] == "frozen"
        return
    optimizer = torch.optim.SGD([p for p in wrapped.parameters() if p.requires_grad], lr=1.0)
    ids = torch.arange(3, 11).reshape(2, 4)
    wrapped(input_ids=ids, attention_mask=torch.ones_like(ids), labels=ids).loss.backward()
    optimizer.step()
    now = dict(wrapped.named_parameters())
    assert all(torch.equal(now[name], value) for name, value in frozen.items())
    assert any(not torch.equal(now[name], value) for name, value in trained.items())


def test_saved_and_loaded_gives_equal_logits(case, model, tmp_path):
    fresh = copy.deepcopy(model)
    wrapped, config = attached(*case, model)
    shake(wrapped)
    adapters.save(wrapped, case[0], config, "the base", tmp_path / "adapter")
    names = {path.name for path in (tmp_path / "adapter").iterdir()}
    assert names == {"adapter_config.json", "adapter_model.safetensors"}
    torch.manual_seed(99)  # other random starts must not matter
    again = adapters.attach(fresh, case[0], config).eval()
    adapters.load_state(again, tmp_path / "adapter")
    assert torch.equal(logits(again), logits(wrapped))


def test_the_base_is_untouched_after_detaching(case, model):
    before, at_first = state_of(model), logits(model)
    with lent(model):
        wrapped, _ = attached(*case, model)
        wrapped.train()
        shake(wrapped)
    assert state_of(model) == before
    assert torch.equal(logits(model), at_first)
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_exposes_names_that_probes_know(case):
    known = {"soft_prompt", "delta_weight"}
    assert known >= registry.load("methods", case[0]).EXPOSES
