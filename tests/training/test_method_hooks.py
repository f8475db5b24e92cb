import torch

from peftlens.runs.config import RunConfig
from peftlens.training.method_hooks import MethodHooks
from peftlens.training.run_plan import plan_run


def test_a_method_s_hooks_are_bound_to_its_model(context, bases, words):
    def planned(method):
        task, base = f"file:{words}", str(bases["llama"])
        return plan_run(RunConfig(method=method, task=task, base_model=base, device="cpu"), context)

    model = torch.nn.Linear(1, 1)
    lora, pruning = planned("lora"), planned("diff_pruning")
    assert MethodHooks.of(lora.method, lora.method_config, model) == MethodHooks()
    hooks = MethodHooks.of(pruning.method, pruning.method_config, model)
    assert hooks.regularization_loss.args[0] is model
