"""Model card of a run: metadata that the Hugging Face hub reads, and a text with its results."""

from collections.abc import Mapping
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from peftlens.results.invocations import redacted
from peftlens.runs.config import UNKNOWN_TASK
from peftlens.runs.configuration_names import hyperparameters
from peftlens.runs.run import Run


def metadata(run: Run, base_model: str | None = None) -> str:
    """Make the card's header, YAML between two lines of dashes.

    Its only result is the validation accuracy, which every run records; probes measure more.

    Args:
        run: finished run.
        base_model: name of the base model; by default that of the run.
    """
    config, results = run.config, run.record.results
    task = redacted(config.task)
    card = ModelCardData(
        base_model=base_model or redacted(config.base_model),
        library_name="peft",
        tags=["peftlens", config.method],
        datasets=[task.removeprefix("hub:")] if task.startswith("hub:") else None,
        model_name=_title(run),
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
            "base_sha256": run.record.depends_on.get("base"),
            "data_sha256": run.record.depends_on.get("data"),
        },
    )
    return f"---\n{card.to_yaml()}\n---\n"


def card(run: Run, repository: str, base_model: str, task_type: str | None = None) -> str:
    """Make the whole card: header, how to load the adapter, results and configuration.

    Args:
        run: finished run.
        repository: name of the repository, `org/name`.
        base_model: name of the base model on the hub, or a built-in name.
        task_type: task of the adapter's configuration, such as CAUSAL_LM.
    """
    parts = [
        f"# {_title(run)}",
        "An adapter of [peft](https://github.com/huggingface/peft), trained with peftlens "
        f"{run.record.environment['packages']['peftlens']}.",
        _loading(run, repository, base_model, task_type),
        "## Results",
        _table("result", run.record.results),
        "## Configuration",
        _table("option", hyperparameters(run.config) | {"seed": run.config.seed}),
        "The folder `peftlens` has the run's record, and its metrics by step.",
    ]
    return metadata(run, base_model) + "\n" + "\n\n".join(parts) + "\n"


def _title(run: Run) -> str:
    task = redacted(run.config.task)
    name = redacted(run.record.configuration)
    return name if task == UNKNOWN_TASK else f"{name} on {task}"


_CLASSES = {
    "SEQ_2_SEQ_LM": "AutoModelForSeq2SeqLM",
    "SEQ_CLS": "AutoModelForSequenceClassification",
    "TOKEN_CLS": "AutoModelForTokenClassification",
}


def _loading(run: Run, repository: str, base_model: str, task_type: str | None) -> str:
    kind = _CLASSES.get(task_type or "", "AutoModelForCausalLM")
    head = run.record.depends_on.get("head")
    outputs = f", num_labels={len(head['labels']) or 1}" if head else ""
    base, imports = (
        f'{kind}.from_pretrained("{base_model}"{outputs})',
        f"from transformers import {kind}",
    )
    if "/" not in base_model:  # a built-in name
        with_head = f", head=Head(task_type={task_type!r}, labels={head['labels']})" if head else ""
        base = f'peftlens.load_base_model("{base_model}"{with_head}).model'
        imports = "import peftlens" + ("\nfrom peftlens.models.heads import Head" if head else "")
    lines = [
        "```python",
        "from peft import PeftModel",
        imports,
        "",
        f'model = PeftModel.from_pretrained({base}, "{repository}")',
        "```",
    ]
    return "\n".join(lines)


def _table(kind: str, values: Mapping[str, Any]) -> str:
    """Make a Markdown table of plain values; the nested ones are in the run's record."""
    rows = [
        f"| {name} | {_cell(value)} |"
        for name, value in values.items()
        if value is not None and not isinstance(value, Mapping)
    ]
    return "\n".join([f"| {kind} | value |", "|---|---|", *rows])


def _cell(value: Any) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else redacted(str(value))
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")
