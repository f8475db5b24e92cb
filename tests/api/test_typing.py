"""What a type checker says of scripts that use the API; it takes pyright some twenty seconds."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("pyright")
RIGHT = """
import pandas as pd

import peftlens as pl

frame = pd.DataFrame({"text": ["good", "bad"], "label": [1, 0]})
config = pl.RunConfig(
    method="lora", task=frame, method_config={"rank": 8}, training={"max_steps": 60}
)
run: pl.Run = pl.train(config, "runs")
accuracy = run.results["validation_accuracy"]
history: pd.DataFrame = run.history
model, tokenizer = run.load(device="cpu")
tokens: int = model.config.vocab_size
table = pl.probe([run, "runs/other"], "forgetting", items=50)
table.plot()[0].show()
study = pl.run_study("my-study.toml", "studies/my-study", workers=2)
latex: str = study.benchmark_table(format="latex")
tidy: pd.DataFrame = study.benchmark_table()
pl.report([study, "studies/other"], "both.html")
pl.explore(run).save("explorer.html")
adapter = pl.load_adapter("org/name", base_model="org/model")
pl.compare_adapters([adapter, run]).to_frame()
with pl.track(model, "runs") as tracker:
    tracker.step(loss=0.5)
"""
WRONG = """import peftlens as pl
run = pl.train(pl.RunConfig(method="lora", task="bbc_topic"), "runs")
pl.RunConfig(method="lora", tsak="bbc_topic")
pl.RunConfig(method="lora", task=3)
pl.TrainingConfig(max_steps="many")
pl.train("lora", "runs")
run.result["validation_accuracy"]
pl.probe(3, "forgetting")
pl.load_study("studies/my-study").benchmark_table(format="word")
pl.explore(run, projection="tsne")
pl.truncate_adapter(run, "smaller", ranks=8)
pl.load("runs/one")
"""


def test_a_wrong_use_is_reported_and_a_right_one_is_not(tmp_path):
    (tmp_path / "right.py").write_text(RIGHT)
    (tmp_path / "wrong.py").write_text(WRONG)
    environment = os.environ | {"PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable, "."],
        cwd=tmp_path, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    found = {
        (Path(one["file"]).name, one["range"]["start"]["line"] + 1)
        for one in json.loads(done.stdout)["generalDiagnostics"]
        if one["severity"] == "error"
    }
    lines = range(3, 1 + len(WRONG.splitlines()))
    assert found == {("wrong.py", line) for line in lines}
