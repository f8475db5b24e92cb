import finished
import pandas as pd
import pytest

from peftlens.results import table
from peftlens.results.configurations import configurations_table
from peftlens.runs.configuration_names import configurations

LAYERS = ["q_proj", "v_proj"]


@pytest.fixture
def tabulate(tmp_path):
    def tabulate(*configs):
        runs = [finished.run(tmp_path, config, n) for n, config in enumerate(configs)]
        return configurations_table(runs, configurations(run.record for run in runs))

    return tabulate


def test_a_row_for_each_configuration_and_a_column_for_each_hyperparameter(tabulate):
    found = tabulate(
        finished.lora(8, 0, rate=0.1, target_modules=LAYERS),
        finished.lora(8, 1, rate=0.1, target_modules=LAYERS),
        finished.lora(8, 0, rate=0.2, target_modules=LAYERS),
        finished.plain("prompt_tuning", 0, num_virtual_tokens=20, init="text"),
    )
    frame = found.frame
    lora = "lora rank=8 target_modules=['q_proj', 'v_proj']"
    prompt = "prompt_tuning num_virtual_tokens=20 init=text"
    assert frame["configuration"].tolist() == [
        f"{lora} learning_rate=0.1", f"{lora} learning_rate=0.2", prompt
    ]  # fmt: skip
    assert frame["sweep"].tolist() == [lora, lora, prompt]
    assert frame["learning_rate"].tolist() == [0.1, 0.2, 1e-3]
    assert frame["max_steps"].tolist() == [40, 40, 40]
    assert frame["rank"].tolist() == [8, 8, pd.NA]
    assert frame["target_modules"].tolist() == ["q_proj,v_proj", "q_proj,v_proj", pd.NA]
    assert frame["init"].tolist() == [pd.NA, pd.NA, "text"]
    assert "seed" not in frame
    assert [column.name for column in found.columns] == list(frame)


def test_numbers_stay_numbers_and_what_is_mixed_is_text(tabulate):
    frame = tabulate(
        finished.plain("a", 0, scale=1, flag=True, layers=None, mixed=1, options={"y": 1, "x": 2}),
        finished.plain("b", 0, scale=0.5, flag=False, layers=None, mixed="all"),
    ).frame
    assert frame["scale"].dtype == "Float64"
    assert frame["flag"].dtype == "boolean"
    assert frame["layers"].isna().all()
    assert frame["mixed"].tolist() == ["1", "all"]
    assert frame["options"].tolist() == ['{"x":2,"y":1}', pd.NA]


def test_what_a_run_goes_on_from_is_told_by_its_tasks(tabulate):
    frame = tabulate(
        finished.lora(1, 0),
        finished.lora(1, 1),
        finished.lora(1, 0).model_copy(update={"task": "boolq", "continue_from": f"{0:012x}"}),
        finished.lora(1, 1).model_copy(update={"task": "boolq", "continue_from": f"{1:012x}"}),
    ).frame
    assert frame["task"].tolist() == ["bbc_topic", "boolq"]
    assert frame["after"].tolist() == [pd.NA, "bbc_topic"]
    assert "continue_from" not in frame


def test_it_is_kept_as_any_table(tabulate, tmp_path):
    found = tabulate(finished.lora(1, 0), finished.plain("frozen", 0))
    table.write(found, tmp_path / "configurations.parquet")
    known = table.read(tmp_path / "configurations.parquet")
    pd.testing.assert_frame_equal(known.frame, found.frame, check_dtype=False)
    assert known.columns == found.columns
