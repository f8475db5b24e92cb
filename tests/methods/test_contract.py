"""What every method must keep, on three kinds of model."""

import copy
from dataclasses import replace

import peft
import pytest
import torch
from method_cases import MERGEABLE, NAMES, OPTIONS, OTHER_START, OURS, ROUNDED, UNTRAINED
from tiny import build, byte_tokenizer
from transformers.pytorch_utils import Conv1D

from peftlens import registry
from peftlens.adapters import checkpoint
from peftlens.adapters.adapter_file import read
from peftlens.adapters.merging import merge_into_base
from peftlens.data.collate import Collator
from peftlens.data.tokenization import ExampleTokenizer, TokenizedAnswer, TokenizedExample
from peftlens.errors import InputError
from peftlens.evaluation import log_likelihood
from peftlens.evaluation.log_likelihood import (
    _score_with_prompt_cache,
    _shares_prompts,
    log_probabilities,
)
from peftlens.layers.peft_wrapper import add_task_ids
from peftlens.models.architecture import shapes
from peftlens.models.origin import Origin
from peftlens.models.snapshot import fingerprint, restored_after

KINDS = ("llama", "gpt2", "t5")
REFUSED = {
    ("adaption_prompt", "t5"): "Llama-like models and GPT-2 only",
    ("adaption_prompt", "neox"): "Llama-like models and GPT-2 only",
    ("adaption_prompt", "opt"): "Llama-like models and GPT-2 only",
    ("cpt", "t5"): "decoders only",
}
# of those in ROUNDED, by dtype
ROUNDING = {torch.float32: 1e-5, torch.bfloat16: 0.05}
# Biases that are added have no place in the base's architecture.
BIASED = {("bitfit", "llama"), ("bitfit", "t5"), ("beft", "llama"), ("beft", "t5")}
# Rounding does not depend on the kind of model, so one of them is tried in bfloat16.
BUILDS = [*((kind, "float32") for kind in KINDS), ("llama", "bfloat16")]


def logits(model):
    ids = torch.arange(3, 11).reshape(2, 4)
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if model.config.is_encoder_decoder:
        inputs["decoder_input_ids"] = ids[:, :2]
    with torch.inference_mode():
        return model(**inputs).logits[:, -2:]


def attached(method, _, model):
    config = registry.configure("methods", method, OPTIONS.get(method, {}))
    torch.manual_seed(7)
    return checkpoint.attach(model, method, config).eval(), config


def pairs(methods, kinds=KINDS):
    """Each method on each kind of model that can have it."""
    return [(method, kind) for method in methods for kind in kinds if (method, kind) not in REFUSED]


def cases(methods_and_kinds):
    """Run a test for each of these: the parameter `case`."""
    return pytest.mark.parametrize("case", methods_and_kinds, ids="-".join)


def built_cases(methods):
    """Run a test for each method on each of BUILDS: the parameters `case` and `model`."""
    return pytest.mark.parametrize(
        ("case", "model"),
        [
            pytest.param(case, (kind, dtype), id=f"{'-'.join(case)}-{dtype}")
            for kind, dtype in BUILDS
            for case in pairs(methods, [kind])
        ],
        indirect=["model"],
    )


@pytest.fixture
def model(request):
    kind, dtype = request.param
    return build(kind).to(getattr(torch, dtype))


def shake(model):
    """Move every trained weight, as training would."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape).to(parameter.dtype), alpha=0.3)


@built_cases(NAMES)
def test_starts_as_the_identity_where_the_paper_says_so(case, model):
    before = logits(model)
    start = logits(attached(*case, model)[0])
    if case[0] in OTHER_START and case != ("qlora", "t5"):  # 32 wide: too narrow to quantize
        assert not torch.equal(start, before)
    elif case[0] in ROUNDED:
        error = (start - before).abs().max() / before.abs().max()
        assert error < ROUNDING[model.dtype]
    else:
        assert torch.equal(start, before)


@cases(pairs(OURS))
def test_parameter_count_is_the_formulas(case):
    """No dtype and no type of peft's, whose count nobody knows before: see test_peft.py."""
    model = build(case[1])
    of_base = shapes(model)
    wrapped, config = attached(*case, model)
    counted = sum(p.numel() for p in wrapped.parameters() if p.requires_grad)
    formula = registry.load("methods", case[0]).trainable_parameters(config, of_base)
    assert formula == counted


@pytest.mark.parametrize("method", UNTRAINED)
def test_nothing_learns_where_nothing_is_trained(method):
    wrapped, _ = attached(method, "llama", build("llama"))
    assert not any(parameter.requires_grad for parameter in wrapped.parameters())


@built_cases([name for name in NAMES if name not in UNTRAINED])
def test_only_the_methods_own_parameters_learn(case, model):
    wrapped, _ = attached(*case, model)
    frozen = {n: p.detach().clone() for n, p in wrapped.named_parameters() if not p.requires_grad}
    trained = {n: p.detach().clone() for n, p in wrapped.named_parameters() if p.requires_grad}
    optimizer = torch.optim.SGD([p for p in wrapped.parameters() if p.requires_grad], lr=1.0)
    ids = torch.arange(3, 11).reshape(2, 4)
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if case[1] == "t5":
        inputs["decoder_input_ids"] = ids
    wrapped.train()
    wrapped(**inputs).logits.float().log_softmax(dim=-1)[..., 5].sum().backward()
    optimizer.step()
    now = dict(wrapped.named_parameters())
    assert all(torch.equal(now[name], value) for name, value in frozen.items())
    assert any(not torch.equal(now[name], value) for name, value in trained.items())


@built_cases(NAMES)
def test_saved_and_loaded_gives_equal_logits(case, model, tmp_path):
    fresh = copy.deepcopy(model)
    wrapped, config = attached(*case, model)
    shake(wrapped)
    checkpoint.save(wrapped, case[0], config, Origin("the base"), tmp_path / "adapter")
    names = {path.name for path in (tmp_path / "adapter").iterdir()}
    assert names == {"adapter_config.json", "adapter_model.safetensors"}
    if case[0] not in UNTRAINED:
        assert read(tmp_path / "adapter").header
    torch.manual_seed(99)  # other random starts must not matter
    again = checkpoint.attach(fresh, case[0], config).eval()
    checkpoint.load_state(again, tmp_path / "adapter")
    # peft's CPT saves a sum and takes it apart again
    allowed = 1e-6 if case[0] == "cpt" else 0
    torch.testing.assert_close(logits(again), logits(wrapped), rtol=0, atol=allowed)


@pytest.mark.parametrize("method", [name for name in NAMES if name != "qlora"])
@pytest.mark.filterwarnings("ignore::UserWarning")  # of missing second names, biases, norms
def test_plain_peft_loads_what_is_peft_s(method, tmp_path):
    """On Llama; on GPT-2 peft refuses many; QLoRA's would need a base that is quantized first."""
    wrapped, config = attached(method, "llama", build("llama"))
    if not isinstance(wrapped, peft.PeftModel):
        assert "Layers: peft" not in str(registry.load("methods", method).__doc__)
        pytest.skip("has no layers of peft")
    shake(wrapped)
    checkpoint.save(wrapped, method, config, Origin("the base"), tmp_path / "adapter")
    torch.manual_seed(99)
    plain = peft.PeftModel.from_pretrained(build("llama"), tmp_path / "adapter").eval()
    if method in ("multitask_prompt_tuning", "peft:POLY"):
        add_task_ids(plain)  # which plain peft wants with every call
    allowed = 1e-6 if method == "cpt" else 0
    torch.testing.assert_close(logits(plain), logits(wrapped), rtol=0, atol=allowed)


@built_cases(NAMES)
def test_the_base_is_untouched_after_detaching(case, model):
    before, at_first = fingerprint(model), logits(model)
    with restored_after(model):
        wrapped, _ = attached(*case, model)
        wrapped.train()
        shake(wrapped)
    assert fingerprint(model) == before
    assert torch.equal(logits(model), at_first)
    assert all(parameter.requires_grad for parameter in model.parameters())


@cases(pairs(OURS, ["neox", "opt"]))
def test_other_architectures(case):
    method, kind = case
    model = build(kind)
    before, of_base = fingerprint(model), shapes(model)
    with restored_after(model):
        wrapped, config = attached(method, kind, model)
        counted = sum(p.numel() for p in wrapped.parameters() if p.requires_grad)
        formula = registry.load("methods", method).trainable_parameters(config, of_base)
        assert counted == formula
        start = logits(wrapped)
        shake(wrapped)
        assert torch.equal(logits(wrapped), start) == (counted == 0)
    assert fingerprint(model) == before


ITEM = TokenizedExample(
    0,
    (
        TokenizedAnswer((4, 5, 6), (7, 8, 9)),
        TokenizedAnswer((4, 5, 6), (9,)),
        TokenizedAnswer((4, 5, 6), (8, 7)),
    ),
    0,
    (1,) * 3,
)


# What can be merged is a plain model with other weights: on other kinds LoRA stands for all.
ELSEWHERE = [name for name in NAMES if name not in MERGEABLE or name == "lora"]


@cases(pairs(NAMES, ["llama"]) + pairs(ELSEWHERE, ["gpt2", "neox", "opt"]))
def test_answers_behind_one_reading_of_their_prompt(case, monkeypatch):
    """Scored behind the keys and values that the prompt left, as if each row were read whole."""
    wrapped, _ = attached(*case, build(case[1]))
    shake(wrapped)
    encoder = Collator(ExampleTokenizer(byte_tokenizer(), False, 64), None, "cpu")
    items = [ITEM, replace(ITEM, rows=ITEM.rows[:2])]
    rows = [row for item in items for row in item.rows]
    monkeypatch.setattr(log_likelihood, "SAVED", 1)
    assert _shares_prompts(wrapped, encoder, items)
    whole = log_probabilities(wrapped, encoder, rows, "")
    torch.testing.assert_close(
        _score_with_prompt_cache(wrapped, encoder, items, ""), whole, rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize(("method", "kind"), [*REFUSED])
def test_bases_that_a_method_can_not_have(method, kind):
    config = registry.configure("methods", method, OPTIONS.get(method, {}))
    with pytest.raises(InputError, match=REFUSED[method, kind]):
        registry.load("methods", method).trainable_parameters(config, shapes(build(kind)))


@pytest.mark.parametrize("method", [name for name in NAMES if name not in MERGEABLE])
def test_what_can_not_be_merged_says_why(method):
    assert registry.load("methods", method).UNMERGEABLE


@cases(pairs(MERGEABLE))
def test_merged_is_as_attached(case):
    """In float32; `tests/models/test_merging.py` has the folder, and rounding."""
    model = build(case[1])
    transposed = {n: m for n, m in model.named_modules() if isinstance(m, Conv1D)}
    wrapped, config = attached(*case, model)
    shake(wrapped)
    expected = logits(wrapped)
    if case in BIASED and case[0] == "beft":
        with pytest.raises(InputError, match="no bias"):
            merge_into_base(wrapped, case[0])
        return
    merged = merge_into_base(wrapped, case[0])
    torch.testing.assert_close(logits(merged), expected, rtol=1e-3, atol=1e-3)
    extra = {name for name, _ in merged.named_parameters()} - set(shapes(build(case[1])))
    extra -= {"sparse_update.values", "intrinsic", "lm_head.weight"}
    assert bool(extra) == (case in BIASED)
    assert config and set(transposed) <= {name for name, _ in merged.named_modules()}


@pytest.mark.parametrize("method", NAMES)
def test_exposes_names_that_probes_know(method):
    known = {"soft_prompt", "prefix", "token_vectors", "delta_weight"}
    assert known >= registry.exposed(method, OPTIONS.get(method, {}))


def test_every_family_is_one_of_the_six():
    families = {registry.load("methods", name).FAMILY for name in OURS}
    assert families == {
        *("selective", "reparametrization", "additive adapter", "soft prompt", "mix", "baseline"),
    }
