import json

import pytest

from peftlens.models.snapshot import fingerprint
from peftlens.runs.config import RunConfig
from peftlens.training.dry_run import dry_run
from peftlens.training.run_plan import plan_run


@pytest.mark.parametrize("loss", ["sft", "dpo"])
def test_a_trial_measures_and_leaves_nothing(context, bases, words, loss):
    planned = plan_run(
        RunConfig(
            method="lora", task=f"file:{words}", base_model=str(bases["llama"]), device="cpu",
            dtype="float32", training={"max_steps": 50, "batch_size": 4, "loss": loss},
        ),
        context,
    )  # fmt: skip
    before = fingerprint(planned.base.model)
    found = dry_run(planned)
    assert fingerprint(planned.base.model) == before
    assert found.trainable_parameters == planned.method.trainable_parameters(
        planned.method_config, planned.shapes
    )
    assert found.step_seconds > 0
    assert found.tokens > 4
    header = 8 + len(json.dumps({}))
    assert found.adapter_bytes > 4 * found.trainable_parameters + header
