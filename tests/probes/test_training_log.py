import json

import finished

from peftlens.adapters.run_context import RunContext
from peftlens.evaluation import probe_runner
from peftlens.runs.run import Run


def logged(tmp_path, *lines):
    folder = finished.study(tmp_path, [finished.lora(1, 0)], probes=())
    (run,) = (folder / "runs").iterdir()
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (run / "digests.json").unlink(missing_ok=True)
    return probe_runner.run_probe(RunContext(), Run(run), "training_log").frame


def test_a_row_for_each_step(tmp_path):
    frame = logged(
        tmp_path,
        {"step": 10, "loss": 2.0, "grad_norm": 1.0},
        {"step": 10, "validation_loss": 3.0},
        {"step": 20, "loss": 1.0, "learning_rate": 0.1},
        {"step": 20, "epoch": 1.0},
    )
    assert list(frame["step"]) == [10, 20]
    assert list(frame["loss"]) == [2.0, 1.0]
    assert frame["validation_loss"].tolist()[0] == 3.0
    assert frame["validation_loss"].isna().tolist() == [False, True]


def test_a_run_that_kept_nothing_says_so(tmp_path):
    (row,) = logged(tmp_path, {"step": 20, "epoch": 1.0}).to_dict("records")
    assert (row["status"], row["reason"]) == ("not_applicable", "no training metrics were recorded")
