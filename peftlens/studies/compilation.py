"""Choice of the runs whose blocks are compiled: those that share enough work to pay for it."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from peftlens.errors import InputError
from peftlens.io.files import canonical_json
from peftlens.studies.config import TorchCompile
from peftlens.training.compiled_blocks import why_not
from peftlens.training.run_plan import RunPlan

# Operations of training from which runs with the same compiled blocks save twice what compiling
# takes. On a processor without AMX that is 40 s for each of two workers, and a step in bfloat16
# takes 0.06 s less per 1e11 operations (compiled.csv).
PAID_BACK = 3e14


def compiled_runs(
    choice: TorchCompile,
    plans: Sequence[RunPlan],
    operations: Mapping[str, float],
    recorded: Mapping[str, bool],
) -> set[str]:
    """Return the ids of the runs whose blocks are to be compiled, prompts and prefixes never.

    Args:
        choice: value of the study file.
        plans: runs of the study.
        operations: forecast of each run's operations of training, by id.
        recorded: choice for runs of earlier calls, by id. Runs with the same hyperparameters follow
            it, so that a study that is continued rounds the same.

    Raises:
        InputError: they are to be compiled, and can't be.
    """
    reason = why_not(plans[0].base.device)
    if choice is True and reason:
        raise InputError(f"torch_compile = true: {reason}; leave torch_compile out")
    if choice is False or (choice == "auto" and reason and not any(recorded.values())):
        return set()
    groups = defaultdict[str, list[str]](list)
    for plan in plans:
        if _continues_caches(plan):
            continue
        # the compiled blocks depend on the method and its options alone
        groups[canonical_json([plan.config.method, plan.config.method_config])].append(plan.id)
    if choice is True:
        return {run for group in groups.values() for run in group}
    return {run for group in groups.values() if _pays(group, operations, recorded) for run in group}


def _continues_caches(plan: RunPlan) -> bool:
    """Whether passes go on from the keys and values of a prompt or prefix; see compiled_blocks."""
    return getattr(plan.method, "NEEDS_CACHE", False) or "soft_prompt" in plan.method.EXPOSES


def _pays(
    group: Sequence[str], operations: Mapping[str, float], recorded: Mapping[str, bool]
) -> bool:
    if known := [recorded[run] for run in group if run in recorded]:
        return any(known)
    return sum(operations[run] for run in group) >= PAID_BACK
