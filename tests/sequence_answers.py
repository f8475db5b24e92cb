"""Rows of the table `sequence_items`: what the runs of a sequence of tasks answer."""


def sequence_answers(runs, base, seed=0, configuration="lora"):
    """One row for each run, task and item.

    Args:
        runs: name, task, run before it or None, and right answers by task, of each run.
        base: right answers of the base by task.
        seed: seed of the runs, which is added to their names.
        configuration: name of the configuration.
    """
    return [
        {
            "run": f"{run}{seed}",
            "shared_configuration": configuration,
            "seed": seed,
            "trained_on": trained,
            "continue_from": after and f"{after}{seed}",
            "task": task,
            "item": item,
            "right": right,
            "base_right": base[task][item],
        }
        for run, trained, after, answers in runs
        for task, rights in answers.items()
        for item, right in enumerate(rights)
    ]
