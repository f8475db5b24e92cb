"""Model card: the YAML metadata that the Hugging Face hub reads, for one run."""

from huggingface_hub import EvalResult, ModelCardData

from peftlens.results.invocations import redacted
from peftlens.runs.run import Run


def metadata(run: Run) -> str:
    """Make the card's header, YAML between two lines of dashes.

    Its only result is the validation accuracy, which every run records; probes measure more.
    """
    config, results = run.config, run.record.results
    task = redacted(config.task)
    card = ModelCardData(
        base_model=redacted(config.base_model),
        library_name="peft",
        tags=["peftlens", config.method],
        datasets=[task.removeprefix("hub:")] if task.startswith("hub:") else None,
        model_name=f"{run.record.configuration} on {task}",
        eval_results=[
            EvalResult(
                task_type="text-classification",
                dataset_type=task.partition(":")[2] or task,
                dataset_name=task,
                dataset_split="validation",
                metric_type="accuracy",
                metric_value=results["validation_accuracy"],
            )
        ]
        if "validation_accuracy" in results
        else None,
        peftlens={
            "version": run.record.environment["packages"]["peftlens"],
            "run": run.id,
            "seed": config.seed,
            "trainable_parameters": results["trainable_parameters"],
            "base_sha256": run.record.depends_on["base"],
            "data_sha256": run.record.depends_on["data"],
        },
    )
    return f"---\n{card.to_yaml()}\n---\n"
