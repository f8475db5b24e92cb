"""Training state: whether an adapter is still at its start, where it leaves the base as it is.

Most types start as no change: a factor of zeros (LoRA's B), a scale of ones (IA3). Where the file
alone can't say, the logits of the attached model are compared with the base's.
"""

from collections.abc import Callable

import torch
from torch import nn

from peftlens.adapters.adapter_file import HOLDING, AdapterFile
from peftlens.adapters.tensor_names import is_prompt, replaced, token_rows
from peftlens.adapters.token_tables import trained_tokens
from peftlens.models.base_model import BaseModel
from peftlens.models.dummy_inputs import random_inputs
from peftlens.models.heads import outputs

_Rule = Callable[[torch.Tensor], bool]
_SAME = 1e-6  # relative difference of logits that rounding in float32 explains


def _zero(tensor: torch.Tensor) -> bool:
    return not tensor.any()


def _one(tensor: torch.Tensor) -> bool:
    return bool((tensor == 1).all())


def _pairs(tensor: torch.Tensor) -> bool:
    """Whether reflections cancel: HRA starts with each vector twice in a row."""
    return tensor.shape[1] % 2 == 0 and torch.equal(tensor[:, ::2], tensor[:, 1::2])


# By type: parts of the names, and the state of these tensors in which the type changes nothing.
_START: dict[str, dict[str, _Rule]] = {
    "LORA": {"lora_B.": _zero, "lora_embedding_A": _zero},
    "ADALORA": {"lora_E": _zero},
    "ADAMSS": {"adamss_B": _zero},
    "ADAPTION_PROMPT": {"adaption_gate": _zero},
    "BEFT": {"beft_bias": _zero},
    "BOFT": {"boft_R": _zero, "boft_s": _one},
    "C3A": {"c3a_kernel": _zero},
    "DELORA": {"delora_B": _zero},
    "FOURIERFT": {"fourierft_spectrum": _zero},
    "GRALORA": {"gralora_B": _zero},
    "HIRA": {"hira_B": _zero, "hira_embedding_A": _zero},
    "HRA": {"hra_u": _pairs},
    "IA3": {"ia3_l": _one},
    "LILY": {"lily_B": _zero},
    "MISS": {"miss_block": _zero},
    "OFT": {"oft_R": _zero},
    "PEANUT": {"peanut_B": _zero},
    "POLY": {"poly_lora_B": _zero},
    "PSOFT": {"psoft_R.weight": _zero, "psoft_R.vector": _one},
    "PVERA": {"pvera_lambda_b": _zero},
    "RANDLORA": {"randlora_lambda": _zero},
    "ROAD": {"road_theta": _zero, "road_alpha": _one},
    "SHIRA": {"shira_weight": _zero},
    "SUPERTUNING": {"supertuning_values": _zero, "supertuning_lora_B": _zero},
    "TINYLORA": {"tinylora_v": _zero},
    "VERA": {"vera_lambda_b": _zero},
    "WAVEFT": {"waveft_spectrum": _zero},
}


def untrained(file: AdapterFile) -> bool | None:
    """Whether a file holds a start that changes nothing; None if the file alone can't say."""
    rules = _START.get(file.adapter_type, {}) if file.is_peft_type else {}
    others = replaced(file) or token_rows(file)
    beside = [name for name in file.header if "lora_magnitude" in name or name.endswith("B.bias")]
    if not rules or others or beside or file.initialization in HOLDING:
        return None
    with file.open_weights() as opened:
        states = [
            rule(file.tensor(opened, name))
            for part, rule in rules.items()
            for name in file.header
            if part in name
        ]
    return all(states) if states else None


def reference_inputs(file: AdapterFile, base: BaseModel) -> dict[str, torch.Tensor] | None:
    """Return inputs with random and all trained tokens; None if the type needs other inputs.

    An activated LoRA (alora_invocation_tokens) is at work behind certain tokens only, and a mixture
    of tasks needs a task's number.
    """
    if is_prompt(file) or file.adapter_type == "POLY" or file.config.get("alora_invocation_tokens"):
        return None
    inputs = random_inputs(base.model, 2, 16)
    present = base.model.config.get_text_config().vocab_size
    tokens = [one for one in trained_tokens(file) if one < present][:16]
    inputs["input_ids"][0, : len(tokens)] = torch.tensor(tokens, dtype=torch.long)
    return inputs


@torch.inference_mode()
def logits(model: nn.Module, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    """Compute a model's logits, or hidden states without a head, in float32."""
    return outputs(model(**inputs)).float()


def same(after: torch.Tensor, before: torch.Tensor, dtype: str) -> bool:
    """Whether an attached model's logits are its base's, apart from rounding.

    Args:
        after: logits of the attached model.
        before: logits of the base model.
        dtype: dtype of the base model's weights.
    """
    if after.shape != before.shape:
        return False  # it has tokens of its own
    limit = _SAME if dtype == "float32" else 0.0
    return ((after - before).norm() / before.norm()).item() <= limit
