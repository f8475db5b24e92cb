import math

import pandas as pd
import pytest

from peftlens.errors import InputError
from peftlens.results import sequential

LOOK = {"level": 0.01, "n_seeds": 3, "seeds": "0 to 2", "n_runs": 9, "hours": 0.5}


def row(look, claim, outcome):
    return LOOK | {"look": look, "claim": claim, "outcome": outcome, "sentence": "-1 points, = 2"}


def test_a_table_reads_back_as_it_was_written(tmp_path):
    frame = pd.DataFrame([row(1, "rank", "supported"), row(1, "swap", "not measured")])
    sequential.write_rows(tmp_path, sequential.LOOKS, frame)
    read = sequential.read_rows(tmp_path, sequential.LOOKS)
    assert read.to_dict("records") == frame[read.columns].to_dict("records")


def test_no_table_has_no_rows_and_a_damaged_one_is_told(tmp_path):
    assert sequential.read_rows(tmp_path, sequential.RATES).empty
    (tmp_path / "looks.csv").write_text("look,claim\n1,rank\n")
    with pytest.raises(InputError, match=r"looks.csv is damaged"):
        sequential.read_rows(tmp_path, sequential.LOOKS)


def test_the_results_are_those_of_the_confirmation(tmp_path):
    assert sequential.study_folder(tmp_path) == tmp_path
    (tmp_path / "decisions.json").write_text("{}")
    assert sequential.is_sequential(tmp_path)
    assert sequential.study_folder(tmp_path) == tmp_path / "confirmation"
    assert sequential.whole_study(tmp_path / "confirmation") == tmp_path
    assert sequential.whole_study(tmp_path / "selection") == tmp_path / "selection"
    assert sequential.whole_study(tmp_path) == tmp_path


def test_the_last_verdict_on_each_claim():
    looks = pd.DataFrame([
        row(1, "rank", "insufficient evidence"), row(1, "swap", "supported"),
        row(2, "rank", "contradicted"),
    ])  # fmt: skip
    last = sequential.last_verdicts(looks).set_index("claim")
    assert last["outcome"].to_dict() == {"swap": "supported", "rank": "contradicted"}


def test_what_is_undertrained():
    rate = {
        "configuration": "lora", "learning_rate": 0.1, "lowest": 0.01, "highest": 0.1,
        "n_learning_rates": 3, "at_edge": True, "loss_decrease": 0.025, "still_falling": True,
    }  # fmt: skip
    inside = {"at_edge": False, "still_falling": False, "loss_decrease": math.nan}
    edge, falling = sequential.undertrained(pd.DataFrame([rate, rate | inside]))
    assert edge == (
        "lora: the best rate, 0.1, is the highest of 3 rates, so a better one may lie beyond."
    )
    assert falling == (
        "lora: undertrained, as the validation loss still fell by 2.5% over the last quarter of "
        "the steps."
    )
