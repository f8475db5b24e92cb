"""Cost of a training step from shapes alone, beside what steps of SmolLM2-135M really take.

python analyses/performance/scale_model.py    # prints the rows

A base is built on the meta device, where tensors have shapes and no values, and the method is
attached to it by the code that trains it. A step's operations are counted there, and the bytes that
it keeps for the gradient; a step takes at least the operations at the machine's rate.
"""

import json
import math
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from typing import Any
from unittest.mock import patch

import torch
from measurements import seconds
from torch.autograd.graph import saved_tensors_hooks
from torch.nn import functional
from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig

from peftlens import registry
from peftlens.adapters import checkpoint
from peftlens.models.architecture import shapes
from peftlens.models.base_model import locate
from peftlens.runs.config import RunConfig
from peftlens.training.step_cost import StepRequest, flop_counter, weight_bytes

SMALL = "smollm2-135m"
# Llama 2 of 7 B (Touvron et al. 2023, arXiv:2307.09288)
LLAMA_7B = LlamaConfig(
    vocab_size=32_000, hidden_size=4096, intermediate_size=11_008, num_hidden_layers=32,
    num_attention_heads=32, num_key_value_heads=32, max_position_embeddings=4096,
)  # fmt: skip
METHODS: Mapping[str, Mapping[str, Any]] = {
    "lora": {"rank": 8},
    "full": {},
    "prompt_tuning": {"num_virtual_tokens": 20, "init_ids": [[number] for number in range(20)]},
    "bottleneck": {},
    "oft": {},
}
ROWS, LENGTH, SCORED = 16, 64, 2


def counted(config: Any, method: str) -> dict[str, Any]:
    """Count a training step of a method on a base of these shapes, in bfloat16.

    Returns:
        parameters of the base; trainable: those that are trained; flops; memory_bytes: weights,
        activations kept for the gradient, gradients, and the optimizer's state; disk_bytes: of the
        adapter in float32.
    """
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
        before, module = shapes(model), registry.load("methods", method)
        values = registry.configure("methods", method, dict(METHODS[method]))
        attached = checkpoint.attach(model, method, values).train()
        ids = torch.zeros(ROWS, LENGTH, dtype=torch.long)
        owned = {parameter.untyped_storage()._cdata for parameter in attached.parameters()}
        kept: dict[int, int] = {}

        def keep(tensor: torch.Tensor) -> torch.Tensor:
            storage = tensor.untyped_storage()
            if storage._cdata not in owned:
                kept[storage._cdata] = storage.nbytes()
            return tensor

        counter = flop_counter()
        # whether rows are packed is read off values, except in a graph
        traced = patch("transformers.masking_utils.is_tracing", lambda *_: True)
        with traced, counter, saved_tensors_hooks(keep, lambda tensor: tensor):
            logits = attached(input_ids=ids, logits_to_keep=SCORED, use_cache=False).logits
            functional.cross_entropy(
                logits.flatten(0, 1).float(), ids[:, :SCORED].flatten()
            ).backward()
    trained = [parameter for parameter in attached.parameters() if parameter.requires_grad]
    # gradient and AdamW's two moments in float32, and a float32 copy of a weight in bfloat16
    states = sum(p.numel() * (12 if p.dtype == torch.float32 else 16) for p in trained)
    trainable = sum(parameter.numel() for parameter in trained)
    assert module.trainable_parameters(values, before) in (None, trainable)
    return {
        "parameters": sum(map(math.prod, before.values())),
        "trainable": trainable,
        "flops": counter.get_total_flops(),
        "memory_bytes": weight_bytes(attached) + states + sum(kept.values()),
        "disk_bytes": 4 * trainable,
    }


def measured(method: str) -> dict[str, Any]:
    """Measure the step that `counted` counts on SmolLM2-135M, in a new process."""
    config = RunConfig(
        method=method, task="bbc_topic", method_config=METHODS[method], device="cpu",
        dtype="bfloat16", training={"max_steps": 100, "learning_rate": 1e-3},
    )  # fmt: skip
    request = StepRequest(config=config, rows=ROWS, length=LENGTH, scored_tokens=SCORED, steps=3)
    done = subprocess.run(
        [sys.executable, "-m", "peftlens.training.step_cost"],
        input=request.model_dump_json(), capture_output=True, text=True, check=True,
        encoding="utf-8",
    )  # fmt: skip
    return json.loads(done.stdout.splitlines()[-1])


@cache
def rate(width: int = 2048) -> float:
    """Return the floating-point operations per second of a large product in bfloat16."""
    one = torch.ones(width, width, dtype=torch.bfloat16)
    return 2 * width**3 / min(seconds(lambda: one @ one) for _ in range(10))


def rows() -> list[dict[str, Any]]:
    """Return the forecasts for both bases, and the measurements on the small one."""
    found = []
    small = AutoConfig.from_pretrained(locate(SMALL))
    for name, config in ((SMALL, small), ("a base of 7 B", LLAMA_7B)):
        for method in METHODS:
            forecast = counted(config, method)
            took = forecast["flops"] / rate()
            what = f"step of {ROWS} x {LENGTH} tokens, {method}, {name}"
            line = {"what": what, "size": forecast["parameters"]}
            values = {key: forecast[key] for key in ("memory_bytes", "disk_bytes")}
            found.append(line | values | {"seconds": round(took, 3), "how": "counted"})
            if config is small:
                real = measured(method)
                values = {"seconds": round(real["step_seconds"], 3),
                          "memory_bytes": real["peak_memory_bytes"],
                          "disk_bytes": 4 * real["trainable_parameters"]}  # fmt: skip
                found.append(
                    line | values | {"how": "measured", "check": _shares(values, found[-1])}
                )
            print(found[-1], flush=True)
    return found


def _shares(real: Mapping[str, Any], forecast: Mapping[str, Any]) -> str:
    """Return the forecast's time and memory as shares of the measured ones."""
    time, memory = (forecast[key] / real[key] for key in ("seconds", "memory_bytes"))
    return f"time {time:.2f}, memory {memory:.2f} of the measured"


if __name__ == "__main__":
    rows()
