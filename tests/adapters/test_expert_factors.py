import numpy as np
import peft
import pytest
import torch
import transformers as hf
from safetensors.torch import load_file
from tiny import SIZES, byte_tokenizer

import peftlens
from peftlens.adapters import adapter_file, checkpoint, consistency
from peftlens.adapters.delta_factors import delta_factors
from peftlens.adapters.delta_weights import _factors, delta_weights
from peftlens.adapters.expert_factors import (
    expert_count,
    expert_name,
    parameter_of,
    plain_name,
    split_experts,
    stored_transposed,
)
from peftlens.layers.low_rank import low_rank_parameters
from peftlens.methods import lora, modules
from peftlens.models.architecture import shapes
from peftlens.models.origin import Origin
from peftlens.runs.config import RunConfig

GROUPED = SIZES | {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
                   "num_attention_heads": 4, "num_key_value_heads": 2,
                   "max_position_embeddings": 128, "num_local_experts": 4,
                   "num_experts_per_tok": 2}  # fmt: skip
LATENT = {"num_local_experts", "num_key_value_heads"}


def routed(kind):
    torch.manual_seed(0)
    if kind == "mixtral":
        model = hf.MixtralForCausalLM(hf.MixtralConfig(**GROUPED))
    elif kind == "gpt_oss":
        config = hf.GptOssConfig(**GROUPED, head_dim=8, rope_parameters={"rope_type": "default"})
        model = hf.GptOssForCausalLM(config)
    else:
        config = hf.DeepseekV3Config(
            **{key: value for key, value in GROUPED.items() if key not in LATENT},
            num_key_value_heads=4, moe_intermediate_size=16, n_routed_experts=4, n_group=1,
            topk_group=1, kv_lora_rank=8, q_lora_rank=8, qk_rope_head_dim=8, qk_nope_head_dim=8,
            v_head_dim=8, first_k_dense_replace=1,
        )  # fmt: skip
        model = hf.DeepseekV3ForCausalLM(config)
    return model.eval()


def tuned(kind, *targets):
    """A model, its weights before, and LoRA with trained weights on it."""
    model = routed(kind)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    config = lora.Config(rank=2, target_modules=targets)
    expected = lora.trainable_parameters(config, shapes(model))
    wrapped = lora.attach(model, config)
    trained = [parameter for parameter in wrapped.parameters() if parameter.requires_grad]
    assert sum(parameter.numel() for parameter in trained) == expected
    with torch.no_grad():
        for parameter in trained:
            parameter.add_(torch.randn(parameter.shape), alpha=0.1)
    return wrapped, before, config


def merged_updates(wrapped, before):
    """Update of each matrix by plain peft's merging."""
    after = dict(wrapped.merge_and_unload().named_parameters())
    updates = {}
    for name, weight in before.items():
        change = (after[name] - weight).detach().numpy()
        if not change.any():
            continue
        if change.ndim == 2:
            updates[name] = change
        for expert in range(len(change) if change.ndim == 3 else 0):
            updates[expert_name(name, expert)] = change[expert]
    return updates


@pytest.mark.parametrize("kind", ["mixtral", "gpt_oss", "deepseek_v3"])
@pytest.mark.parametrize("target", ["feed_forward", "all_linear", "router", "experts"])
def test_each_experts_update_is_what_peft_merges(kind, target, tmp_path, monkeypatch):
    wrapped, before, config = tuned(kind, target)
    checkpoint.save(wrapped, "lora", config, Origin("base"), tmp_path / "adapter")
    turned = stored_transposed(routed(kind))
    assert bool(turned) == (kind == "gpt_oss")
    found = {one.name: one.b @ one.a for one in _factors(wrapped, before) or ()}
    in_file = {one.name: one.dense for one in _of_file(tmp_path / "adapter", monkeypatch)}
    expected = merged_updates(wrapped, before)
    assert found.keys() == in_file.keys() == expected.keys()
    for name, update in expected.items():
        update = update.T if name.partition("[")[0] in turned else update
        np.testing.assert_allclose(found[name], update, atol=1e-6)
        np.testing.assert_allclose(in_file[name], update, atol=1e-6)


def _of_file(folder, monkeypatch):
    monkeypatch.setattr(consistency, "_check_sizes", lambda _: None)
    return delta_factors(adapter_file.read(folder))


@pytest.mark.parametrize("kind", ["mixtral", "gpt_oss", "deepseek_v3"])
def test_plain_peft_loads_them(kind, tmp_path):
    wrapped, _, config = tuned(kind, "all_linear")
    checkpoint.save(wrapped, "lora", config, Origin("base"), tmp_path / "adapter")
    ids = torch.arange(3, 13)[None]
    plain = peft.PeftModel.from_pretrained(routed(kind), tmp_path / "adapter").eval()
    torch.testing.assert_close(plain(ids).logits, wrapped.eval()(ids).logits)


def test_experts_count_in_the_formula():
    # 4 experts of 128 x 32 and 32 x 64, r = 2, two layers
    config = lora.Config(rank=2, target_modules=("feed_forward",))
    of_model = shapes(routed("mixtral"))
    assert low_rank_parameters(config, of_model, experts=True) == 2 * 4 * 2 * (160 + 96)


def test_whole_experts_are_trained_with_their_biases():
    names = modules._parameters(
        modules.Config(target_modules=("experts",)), shapes(routed("gpt_oss"))
    )
    ends = {name.removeprefix("model.layers.0.mlp.experts.") for name in names if ".0." in name}
    assert ends == {"gate_up_proj", "down_proj", "gate_up_proj_bias", "down_proj_bias"}


def test_factors_of_experts_by_hand():
    b = np.array([[1.0, 2.0, 3.0, 4.0]])  # (1, rank 2 x experts 2): columns by rank
    a = np.array([[1.0], [10.0], [100.0], [1000.0]])  # (experts 2 x rank 2, 1): rows by expert
    products = [float((left @ right)[0, 0]) for left, right in split_experts(b, a, 2)]
    assert products == [1 * 1 + 3 * 10, 2 * 100 + 4 * 1000]


def test_names():
    assert expert_name("a.down_proj", 3) == "a.down_proj[3]"
    assert expert_name("a.weight", None) == "a.weight"
    assert plain_name("a.experts.base_layer.base_layer") == "a.experts"


def test_wrappers_of_one_module_are_told_apart_by_their_depth():
    inner, outer = "l.0.mlp.experts.base_layer", "l.0.mlp.experts"
    both = ("experts.down_proj", "experts.gate_up_proj")
    assert parameter_of(inner, [inner, outer], both) == "gate_up_proj"
    assert parameter_of(outer, [inner, outer], both) == "down_proj"
    assert parameter_of(outer, [outer], ("mlp.experts.down_proj",)) == "down_proj"
    assert parameter_of("l.0.q_proj", ["l.0.q_proj"], both) is None
    assert parameter_of(outer, [outer], both) is None  # the file lacks one


@pytest.mark.parametrize(("rows", "rank", "count"), [(8, 2, 4), (2, 2, 1), (7, 2, 1), (8, None, 1)])
def test_number_of_experts(rows, rank, count):
    assert expert_count(rows, rank) == count


def test_updates_of_experts_trained_whole(words, tmp_path, context):
    model = routed("mixtral")
    model.save_pretrained(tmp_path / "base")
    byte_tokenizer().save_pretrained(tmp_path / "base")
    config = {"method": "modules", "method_config": {"target_modules": ["experts.down_proj"]},
              "task": f"file:{words}", "base_model": str(tmp_path / "base"), "device": "cpu",
              "dtype": "float32", "training": {"max_steps": 2, "batch_size": 4}}  # fmt: skip
    run = peftlens.train(RunConfig.model_validate(config), tmp_path / "runs")
    saved = load_file(run.path / "adapter" / "adapter_model.safetensors")
    before = dict(model.named_parameters())
    found = {one.name: one for one in delta_weights(run, context.base_model(run))}
    assert len(found) == 2 * 4  # experts of two layers
    for name, weight in saved.items():
        change = (weight - before[name]).detach().numpy()
        for expert in range(4):
            one = found[f"{name}[{expert}]"]
            np.testing.assert_allclose(one.change, change[expert], atol=1e-6)
            np.testing.assert_array_equal(one.before, before[name][expert].detach().numpy())
