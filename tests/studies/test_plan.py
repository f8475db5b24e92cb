import json

from peftlens.runs.config import RunConfig
from peftlens.studies.plan import PlannedRun, StudyPlan

CONFIG = RunConfig(
    method="lora",
    task="wiki",
    method_config={"target_modules": ["q_proj"]},
    training={"learning_rate": 0.1, "checkpoint_steps": [0, 3]},
    seed=3,
    continue_from="b" * 12,
)
RUN = PlannedRun(id="a" * 12, configuration="lora rank=8", batch_key=None, config=CONFIG)


def test_a_run_has_the_seed_and_the_previous_run_of_its_configuration():
    assert (RUN.seed, RUN.continue_from, RUN.name) == (3, "b" * 12, "lora rank=8 seed=3")


def test_a_plan_as_json_is_the_same_plan():
    plan = StudyPlan(
        name="study", runs=(RUN,), probes=(), probe_options={"forgetting": {"items": 10}},
        device="cuda", dtype="bfloat16", bytes_per_run=10**9, gpu_bytes=(10**11, 10**11),
    )  # fmt: skip
    text = json.dumps(plan.model_dump(mode="json"))
    assert StudyPlan.model_validate(json.loads(text)) == plan


def test_a_run_is_paused_within_its_steps_or_not_at_all():
    assert RUN.pause_step(0.25) == 25
    assert (RUN.pause_step(0.001), RUN.pause_step(0.999), RUN.pause_step(None)) == (1, None, None)
    assert RUN.model_copy(update={"pausable": False}).pause_step(0.25) is None
