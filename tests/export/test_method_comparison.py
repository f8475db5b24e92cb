"""The layout is checked by what huggingface/peft's method_comparison reads out of it."""

import json

import finished
import pandas as pd
import pytest

from peftlens.errors import InputError
from peftlens.export import method_comparison
from peftlens.results import study_results


@pytest.fixture
def folder(tmp_path):
    configs = [finished.lora(8, 0), finished.plain("full", 0)]
    return finished.study(tmp_path / "study", configs)


def test_fields_that_the_comparison_reads(folder, tmp_path):
    one = study_results.read(folder)
    lora, full = method_comparison.export(one, tmp_path / "out")
    found = json.loads(lora.read_text())
    run, train, meta = found["run_info"], found["train_info"], found["meta_info"]
    assert run["peft_config"]["peft_type"] == "LORA"
    assert json.loads(full.read_text())["run_info"]["peft_config"] is None
    assert run["train_config"]["model_id"] == "smollm2-135m"
    assert train["status"] == "success"
    for field in ("accelerator_memory_reserved_avg", "accelerator_memory_max",
                  "accelerator_memory_reserved_99th", "file_size"):  # fmt: skip
        assert isinstance(train[field], int)
    last = train["metrics"][-1]
    items = one.tables["task_items"].frame
    own = items[items["run"] == one.runs[0].id]
    assert last["test accuracy"] == pytest.approx((own["chosen"] == own["correct"]).mean())
    assert last["forgetting"] == pytest.approx(0.3)
    assert last["train loss"] == 0.5
    assert last["train samples"] == 40 * 16
    assert last["train total tokens"] == 40 * 100
    assert train["metrics"][0]["valid accuracy"] == 0.75
    assert meta["package_info"]["peft-version"]
    assert pd.isna(pd.to_datetime(run["created_at"]))  # this study has no record of its calls


def test_answers_are_needed(tmp_path):
    folder = finished.study(tmp_path, [finished.lora(1, 0)], probes=("cost",))
    with pytest.raises(InputError, match="was not measured by task_items"):
        method_comparison.export(study_results.read(folder), tmp_path / "out")
