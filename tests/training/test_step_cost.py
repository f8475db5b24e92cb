import peft
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from peftlens.errors import InputError
from peftlens.models.base_model import load_base_model
from peftlens.training import peak_memory
from peftlens.training.step_cost import StepRequest, flop_counter, step_cost, weight_bytes

ROWS, LENGTH, SCORED = 2, 8, 3


@pytest.fixture
def request_of(bases, encoders):
    """A request for a method on the tiny Llama, or on an encoder with a head."""

    def make(method, length=LENGTH, dtype="float32", base="llama", head=None, **options):
        folder = (bases | encoders)[base]
        config = {
            "method": method, "task": "none", "base_model": str(folder), "device": "cpu",
            "dtype": dtype, "method_config": options, "training": {"max_steps": 5},
        }  # fmt: skip
        return StepRequest.model_validate(
            {
                "config": config,
                "rows": ROWS,
                "length": length,
                "scored_tokens": SCORED,
                "steps": 1,
                "head": head,
            }
        )

    return make


def test_flops_of_full_fine_tuning_by_hand(request_of):
    d, d_kv, d_ff, d_head, heads, layers, vocabulary = 32, 16, 64, 8, 4, 3, 259
    tokens = ROWS * LENGTH
    block = 2 * tokens * (2 * d * d + 2 * d * d_kv + 3 * d * d_ff)
    attention = 2 * (2 * ROWS * heads * LENGTH * LENGTH * d_head)  # scores, and sums of values
    head = 2 * ROWS * SCORED * d * vocabulary
    forward = layers * (block + attention) + head
    assert step_cost(request_of("full")).flops == 3 * forward  # a gradient has twice as many


@pytest.mark.parametrize(
    ("task_type", "of_head"),
    [
        ("SEQ_CLS", 2 * ROWS * (32 * 32 + 32 * 3)),  # pooler and classifier of a token in a row
        ("TOKEN_CLS", 2 * ROWS * LENGTH * 32 * 3),
    ],
)
def test_flops_of_an_encoder_with_a_head_by_hand(request_of, task_type, of_head):
    d, d_ff, d_head, heads, layers = 32, 64, 8, 4, 2
    block = 2 * ROWS * LENGTH * (4 * d * d + 2 * d * d_ff)
    attention = 2 * (2 * ROWS * heads * LENGTH * LENGTH * d_head)
    head = {"task_type": task_type, "labels": ["a", "b", "c"]}
    found = step_cost(request_of("full", base="bert", head=head))
    assert found.flops == 3 * (layers * (block + attention) + of_head)


def test_flops_of_lora_are_those_that_torch_counts_of_plain_peft(request_of, bases):
    base = load_base_model(str(bases["llama"]), device="cpu", dtype="float32").model
    config = peft.LoraConfig(r=2, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    model = peft.get_peft_model(base, config)
    ids = torch.ones(ROWS, LENGTH, dtype=torch.long)
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        outputs = model(input_ids=ids, attention_mask=ids, logits_to_keep=SCORED)
        outputs.logits.sum().backward()
    assert step_cost(request_of("lora", rank=2)).flops == counter.get_total_flops()


def test_fused_attention_counts_as_plain_products():
    def count(backend, keys):
        query = torch.ones(1, 4, 6, 8, requires_grad=True)
        key, value = torch.ones(2, 1, 4, keys, 8, requires_grad=True)
        with flop_counter() as counter, sdpa_kernel(backend):
            attention = torch.nn.functional.scaled_dot_product_attention(query, key, value)
            attention.sum().backward()
        return counter.get_total_flops()

    for keys in (6, 10):
        plain = 6 * (2 * 4 * 6 * keys * 8)  # two products, and four in the gradient
        assert count(SDPBackend.FLASH_ATTENTION, keys) == plain
        assert count(SDPBackend.MATH, keys) == plain


def test_a_quantized_base_has_the_flops_of_the_base_and_fewer_bytes(request_of):
    pytest.importorskip("bitsandbytes")
    lora, qlora = (step_cost(request_of(method, rank=2)) for method in ("lora", "qlora"))
    assert qlora.flops == lora.flops
    # a quarter of the Llama's products can be quantized, those with 64 inputs: 32 x 64 in 3 blocks
    packed = 3 * 32 * 64
    scales = 3 * (32 + 4)  # a byte each of 64 weights, and a number of their scales
    assert lora.weight_bytes - qlora.weight_bytes == 4 * packed - packed // 2 - scales


@pytest.mark.parametrize(("dtype", "weight", "masters"), [("float32", 4, 0), ("bfloat16", 2, 4)])
def test_bytes_of_full_fine_tuning_by_hand(request_of, bases, dtype, weight, masters):
    model = load_base_model(str(bases["llama"]), device="cpu", dtype=dtype).model
    tensors = [parameter.numel() for parameter in model.parameters()]
    n = sum(tensors)
    found = step_cost(request_of("full", dtype=dtype))
    assert found.trainable_parameters == n
    buffers = sum(buffer.nbytes for buffer in model.buffers())
    assert found.weight_bytes == weight * n + buffers == weight_bytes(model)
    assert found.gradient_bytes == 4 * n  # summed in float32
    # two moments, a count of steps for each tensor, and copies of bfloat16
    assert found.optimizer_state_bytes == (8 + masters) * n + 4 * len(tensors)


@pytest.mark.parametrize(
    ("method", "options"), [("adalora", {"steps": 5}), ("fish_mask", {}), ("diff_pruning", {})]
)
def test_methods_that_take_part_in_training(request_of, method, options):
    found = step_cost(request_of(method, **options))
    assert found.step_seconds > 0
    if peak_memory._RESET.exists():
        assert found.peak_memory_bytes is not None


def test_what_has_no_training_step(request_of):
    with pytest.raises(InputError, match="frozen trains nothing"):
        step_cost(request_of("frozen"))
    with pytest.raises(InputError, match="rows of 65 tokens are longer than 64"):
        step_cost(request_of("lora", length=65))


def test_a_kept_run_is_not_measured_as_if_it_were_not(request_of):
    asked = request_of("lora").model_dump()
    asked["config"]["training"]["keep"] = {"kind": "l2sp"}
    with pytest.raises(InputError, match="trained with training.keep, which this probe leaves out"):
        step_cost(StepRequest.model_validate(asked))
