"""The work of the probes of model diffing grows linearly with layers, and with tokens."""

import pytest
from tiny import SIZES, byte_tokenizer
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.models.llama.modeling_llama import LlamaDecoderLayer

import peftlens
from peftlens import registry
from peftlens.probes import layer_ablation
from peftlens.runs.config import RunConfig

# small enough that what does not grow is a small part
PROBES = {
    "activation_difference": {"random_updates": 1},
    "patchscope": {"random_updates": 1},
    "update_directions": {"random": 3},
    "rank_components": {"random": 3},
    "divergence": {"suite": "wiki", "tokens": 3, "passage": 10},
}
ITEMS = {"update_directions": "general_items", "rank_components": "general_items"}


@pytest.fixture(scope="module")
def run_of(words, tmp_path_factory):
    """A LoRA in a Llama of so many blocks."""
    known = {}

    def train(layers):
        if layers in known:
            return known[layers]
        folder = tmp_path_factory.mktemp("base")
        config = LlamaConfig(
            **SIZES, hidden_size=32, intermediate_size=32, num_hidden_layers=layers,
            num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=128,
            tie_word_embeddings=True,
        )  # fmt: skip
        LlamaForCausalLM(config).save_pretrained(folder)
        byte_tokenizer().save_pretrained(folder)
        known[layers] = peftlens.train(
            RunConfig(
                method="lora", task=f"file:{words}", base_model=str(folder), device="cpu",
                dtype="float32", method_config={"rank": 1},
                training={"max_steps": 1, "batch_size": 2},
            ),
            tmp_path_factory.mktemp("runs"),
        )  # fmt: skip
        return known[layers]

    return train


@pytest.fixture
def tokens_read(monkeypatch):
    """Number of tokens of every call of a block, padding included."""
    sizes = []
    plain = LlamaDecoderLayer.forward

    def forward(self, hidden_states, *args, **kwargs):
        sizes.append(hidden_states.shape[0] * hidden_states.shape[1])
        return plain(self, hidden_states, *args, **kwargs)

    monkeypatch.setattr(LlamaDecoderLayer, "forward", forward)
    return sizes


def work(context, run, probe, tokens_read, **options):
    """Sum the tokens that all blocks read while a probe measures a run."""
    context.base_model(run)
    tokens_read.clear()
    config = registry.configure("probes", probe, PROBES.get(probe, {}) | options)
    registry.load("probes", probe).measure(context, run, config)
    return sum(tokens_read)


@pytest.mark.parametrize("probe", PROBES)
def test_linear_in_layers_and_in_texts(context, run_of, tokens_read, probe):
    items = ITEMS.get(probe, "items")
    for layers in (10, 20):  # what is kept of a base from the first time on
        work(context, run_of(layers), probe, tokens_read, **{items: 1})
    few, deep, many = (
        work(context, run_of(layers), probe, tokens_read, **{items: count})
        for layers, count in ((10, 8), (20, 8), (10, 16))
    )
    assert 1.3 * few < deep < 2.2 * few
    assert few < many < 2.2 * few


def test_layer_ablation_is_linear_from_its_number_of_groups_on(
    context, run_of, tokens_read, monkeypatch
):
    monkeypatch.setattr(layer_ablation, "GROUPS", 4)
    few, deep = (
        work(context, run_of(layers), "layer_ablation", tokens_read, items=2, draws=1)
        for layers in (10, 20)
    )
    assert 1.3 * few < deep < 2.2 * few
