import finished

from peftlens.results import study_results, table
from peftlens.results.untrained import UNTRAINED, write_untrained
from peftlens.runs import store


def test_the_scores_are_a_table_of_the_run(tmp_path):
    one = finished.run(tmp_path, finished.lora(1, 0), 0)
    write_untrained(one, {"validation_loss": 2.5, "validation_accuracy": 0.5})
    write_untrained(one, {"validation_loss": 9.0})  # what is there stays
    saved = table.read(one.table_folder / f"{UNTRAINED}.parquet")
    assert saved.frame.to_dict("records") == [
        {"score": "validation_loss", "value": 2.5},
        {"score": "validation_accuracy", "value": 0.5},
    ]
    assert saved.run_ids == [one.id]
    assert store.damage(one) is None
    assert study_results.read(one.path).warnings == []
