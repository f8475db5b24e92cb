"""What every method must keep on an encoder with a new head of three classes."""

import re
from dataclasses import dataclass, field

import pytest
import torch
from method_cases import MERGEABLE, NAMES, OPTIONS, OTHER_START, ROUNDED, UNTRAINED

from peftlens import registry
from peftlens.adapters import checkpoint
from peftlens.adapters.merging import merge_into_base
from peftlens.errors import InputError
from peftlens.models.architecture import copy_weights
from peftlens.models.base_model import load_base_model
from peftlens.models.heads import Head, draw_head, head_parameters, is_in_head
from peftlens.models.origin import Origin
from peftlens.models.snapshot import fingerprint, restored_after

HEAD = Head(task_type="SEQ_CLS", labels=("down", "up", "flat"))
WITHOUT_HEAD = [n for n in NAMES if hasattr(registry.load("methods", n), "NO_HEAD")]
SUITED = [name for name in NAMES if name not in WITHOUT_HEAD and name != "frozen"]
# those that depend on an encoder's names of layers, fused projections, or positions
ELSEWHERE = {
    "roberta": ("bitfit", "ia3", "mam", "prefix_tuning", "prompt_tuning"),
    "deberta": ("bitfit", "bottleneck", "full", "ia3", "lora", "loreft", "parallel_adapter",
                "prompt_tuning"),
    "modernbert": ("bottleneck", "dora", "embeddings", "ia3", "ln_tuning", "lora", "loreft",
                   "p_tuning", "parallel_adapter", "prompt_tuning"),
}  # fmt: skip
CASES = [("bert", name) for name in SUITED] + [
    (kind, name) for kind, names in ELSEWHERE.items() for name in names
]
WITHOUT_CACHE = ("prefix_tuning", "mam", "unipelt", "peft:CARTRIDGE", "peft:PREFIX_TUNING")
# BERT has biases, so none are added
CONFIGURED = {name: options for name, options in OPTIONS.items() if name != "bitfit"}
IDS = torch.arange(3, 27).reshape(3, 8)
MASK = (torch.arange(8) < torch.tensor([8, 5, 2])[:, None]).long()
INPUTS = {"input_ids": IDS * MASK, "attention_mask": MASK}  # the pad token is 0

# d = 32, 64 inside the feed-forward layers, 2 blocks, 259 tokens: worked out by hand on BERT
BLOCK = 4 * (32 * 32 + 32) + (64 * 32 + 64) + (32 * 64 + 32) + 2 * 2 * 32
MATRICES = 2 * (4 * 32 * 32 + 2 * 64 * 32)
ADAPTER = 2 * 32 * 32 + 32 + 32  # weights and biases of one bottleneck
COUNTS = {
    "adalora": 4 * 12 * (32 + 32 + 1),  # queries and values of two blocks
    "beft": 4 * 32,
    "bitfit": 2 * (4 * 32 + 64 + 32 + 2 * 32) + 32,  # the norm of the embeddings has one, too
    "boft": 4 * (32 * 4 + 32),
    "bottleneck": 2 * ADAPTER,
    "compacter": 4**3 + 4 * 3 * (32 + 8),
    "delora": 4 * (8 * 64 + 1),
    "dora": 4 * (8 * 64 + 32),
    "embeddings": 259 * 32,
    "fish_mask": round(0.005 * MATRICES),
    "fourierft": 4 * 50,
    "full": (259 + 128 + 2) * 32 + 2 * 32 + 2 * BLOCK,
    "head": 0,
    "ia3": 2 * (32 + 32 + 64),
    "intrinsic_dimension": 1000,
    "last_layers": 2 * BLOCK,
    "ln_tuning": 5 * 2 * 32,
    "loha": 4 * 2 * 8 * 64,
    "lora": 4 * 8 * 64,
    "lora_fa": 4 * 8 * 32,
    "lora_plus": 4 * 8 * 64,
    "loreft": 2 * (2 * 4 * 32 + 4),
    "magnitude_mask": round(0.005 * MATRICES),
    "mam": 2 * ADAPTER + 2 * 30 * 2 * 32,
    "modules": 2 * 4 * (32 * 32 + 32),
    "multitask_prompt_tuning": 20 * 32 + 20 + 32,
    "oft": 4 * 32 * 31 // 2,
    "parallel_adapter": 2 * ADAPTER,
    "prefix_tuning": 2 * 20 * 2 * 32,
    "prompt_tuning": 20 * 32,
    "random_mask": round(0.005 * MATRICES),
    "unipelt": 4 * (8 * 64 + 33) + 2 * (ADAPTER + 33) + 2 * 10 * 2 * 32 + 2,
    "vera": 4 * (256 + 32),
}


@pytest.fixture(scope="module")
def opened(encoders):
    """The tiny encoders with a new head, each loaded once, with weights that make a difference."""
    bases = {
        kind: load_base_model(str(folder), device="cpu", dtype="float32", head=HEAD)
        for kind, folder in encoders.items()
    }
    with torch.no_grad():
        for weight in (
            p for base in bases.values() for p in base.model.parameters() if p.dim() > 1
        ):
            weight.mul_(5)
    return bases


@dataclass(kw_only=True)
class Seen:
    """What was seen of one method on one encoder."""

    kind: str
    method: str
    formula: int | None
    base_logits: torch.Tensor
    start: torch.Tensor
    counted: int = 0
    head_names: set[str] = field(default_factory=set)
    loss: float = 0.0
    changed: set[str] = field(default_factory=set)
    head_gradients: list[bool] = field(default_factory=list)
    trained: torch.Tensor
    again: torch.Tensor
    merged: torch.Tensor | str | None = None
    unchanged: bool = False


def logits(model):
    with torch.inference_mode():
        return model(**INPUTS).logits


def attached(base, method, seed=0, start=7):
    config = registry.configure("methods", method, CONFIGURED.get(method, {}))
    torch.manual_seed(start)
    return checkpoint.attach(base.model, method, config, seed).eval(), config


def loss_of(logits):
    """Loss if all texts are of the first class."""
    return torch.nn.functional.cross_entropy(logits, torch.zeros(3, dtype=torch.long))


def train(model, base):
    """Four steps by the method's own parameters alone, then a random one of the head."""
    head = [p for p in head_parameters(base.model).values() if p.requires_grad]
    trained = [p for p in model.parameters() if p.requires_grad]
    own = [p for p in trained if not any(p is one for one in head)] or head
    frozen = {n: p.detach().clone() for n, p in model.named_parameters() if not p.requires_grad}
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    optimizer = torch.optim.Adam(own, lr=1e-2)
    model.train()
    for _ in range(4):
        model.zero_grad()
        loss_of(model(**INPUTS).logits).backward()
        optimizer.step()
    gradients = [p.grad is not None and bool(p.grad.any()) for p in head]
    model.eval()
    loss, now = loss_of(logits(model)).item(), dict(model.named_parameters())
    with torch.no_grad():  # so that it is not the head of the seed that is loaded
        for parameter in head:
            parameter.add_(torch.randn(parameter.shape), alpha=0.3)
    changed = {name for name, value in frozen.items() if not torch.equal(now[name], value)}
    return {"loss": loss, "changed": changed, "head_gradients": gradients}


def merged_logits(base, method, folder):
    """Logits after merging, or the reason why it can't be merged here."""
    with restored_after(base.model):
        # some of peft's methods write into the base's weights in place
        copy_weights(base.model, [name for name, _ in base.model.named_parameters()])
        model, _ = attached(base, method, seed=5, start=99)
        checkpoint.load_state(model, folder)
        try:
            plain = merge_into_base(model, method)
        except InputError as error:
            return str(error)
        assert type(plain) is type(base.model)
        return logits(plain)


@pytest.fixture(scope="module", params=CASES, ids="-".join)
def seen(request, opened, tmp_path_factory):
    kind, method = request.param
    base, folder = opened[kind], tmp_path_factory.mktemp("adapters") / "adapter"
    before = fingerprint(base.model)
    with restored_after(base.model):
        draw_head(base.model, 0)
        of_base = logits(base.model)
    shapes = base.shapes
    with restored_after(base.model):
        model, config = attached(base, method)
        formula = registry.load("methods", method).trainable_parameters(config, shapes)
        start = logits(model)
        trained = [p for p in model.parameters() if p.requires_grad]
        head = head_parameters(base.model)
        found = {"counted": sum(p.numel() for p in trained)}
        found["head_names"] = {
            name.replace("modules_to_save.default.", "")
            for name, p in head.items()
            if any(p is one for one in trained)
        }
        found |= train(model, base)
        found["trained"] = logits(model)
        checkpoint.save(model, method, config, Origin("the base"), folder)
    with restored_after(base.model):
        model, _ = attached(base, method, seed=5, start=99)
        checkpoint.load_state(model, folder)
        found["again"] = logits(model)
    if method in MERGEABLE:
        found["merged"] = merged_logits(base, method, folder)
    found["unchanged"] = fingerprint(base.model) == before
    return Seen(
        kind=kind, method=method, formula=formula, base_logits=of_base, start=start, **found
    )


def of_head(base):
    return {name: p.numel() for name, p in base.model.named_parameters()
            if is_in_head(name, base.model)}  # fmt: skip


def test_starts_as_the_base_with_the_same_head(seen):
    if seen.method in OTHER_START:
        assert not torch.equal(seen.start, seen.base_logits)
    elif seen.method in ROUNDED:
        torch.testing.assert_close(seen.start, seen.base_logits, rtol=0, atol=1e-5)
    else:
        assert torch.equal(seen.start, seen.base_logits)


def test_the_method_and_the_whole_head_are_trained(seen, opened):
    head = of_head(opened[seen.kind])
    own = seen.counted - sum(head.values())
    assert seen.head_names == set(head) and all(seen.head_gradients)
    assert own == (0 if seen.method == "head" else seen.formula) or seen.formula is None
    if seen.kind == "bert" and seen.method in COUNTS:
        assert own == COUNTS[seen.method]
    assert not seen.changed


def test_the_loss_falls_by_the_method_alone(seen):
    assert seen.loss < loss_of(seen.start).item() - 1e-5


def test_saved_and_loaded_gives_equal_logits(seen):
    assert not torch.allclose(seen.trained, seen.start, atol=1e-3)
    torch.testing.assert_close(seen.again, seen.trained, rtol=0, atol=0)


def test_merged_is_as_attached(seen):
    if (seen.kind, seen.method) == ("modernbert", "beft"):
        assert "no bias" in seen.merged
    elif seen.method in MERGEABLE:
        torch.testing.assert_close(seen.merged, seen.trained, rtol=1e-3, atol=1e-5)


def test_the_base_is_untouched(seen):
    assert seen.unchanged


@pytest.mark.parametrize("method", WITHOUT_CACHE)
@pytest.mark.parametrize("kind", ["deberta", "modernbert"])
def test_a_prefix_needs_attention_that_takes_keys(opened, kind, method):
    base = opened[kind]
    with restored_after(base.model), pytest.raises(InputError) as error:
        attached(base, method)
    message = r"(peft:\w+: )?the attention of a \S+ takes no keys .*; use prompt_tuning, .*"
    assert re.fullmatch(message, str(error.value))


def test_an_encoder_without_biases(opened):
    base = opened["modernbert"]
    with restored_after(base.model), pytest.raises(InputError, match="this model has no biases"):
        attached(base, "bitfit")


def test_what_takes_no_head(opened):
    assert {*WITHOUT_HEAD} >= {*UNTRAINED} - {"frozen"}
    for method in WITHOUT_HEAD:
        with restored_after(opened["bert"].model), pytest.raises(InputError) as error:
            attached(opened["bert"], method)
        told = rf"{method} can't be used on a base with a new head: .+"
        assert re.fullmatch(told, str(error.value))
