"""A worker that trains nothing, in a moment: for tests of what supervises workers.

    python -m fast SECONDS

The text of its study is JSON: {"runs": how many, "seconds": that one takes, "sequence": whether
each is trained on after the one before it, "together": whether all may be trained in one pass,
"odd": {number of a run, or "together": what happens in it}}.
"""

import hashlib
import json
import os
import resource
import signal
import time
from pathlib import Path

from peftlens.io.progress import begin, track
from peftlens.results import table
from peftlens.runs import store
from peftlens.runs.config import RunConfig
from peftlens.runs.run import SCHEMA, Record
from peftlens.studies import worker_protocol

time.sleep(float(os.environ.get("FAST_START", 0)))  # as a worker that loads torch takes time
COLUMNS = tuple(table.Column(name, name) for name in ("run", "configuration", "number"))


def plan(text, source, dtypes, trust, full):  # noqa: ARG001
    asked = json.loads(text)
    numbers = range(asked["runs"])
    ids = [hashlib.sha256(str(number).encode()).hexdigest()[:12] for number in numbers]
    after = [None, *ids[:-1]] if asked.get("sequence") else [None] * len(ids)
    return {
        "name": "fast",
        "runs": [
            {
                "id": ids[number], "configuration": f"fast number={number}", "seed": 0,
                "after": after[number], "together": asked.get("together"),
                "config": asked | {"number": number, "after": after[number]},
            }
            for number in numbers
        ],
        "probes": [{"name": "number", "each_run": True, "version": 1, "config": {}}]
        if asked.get("probe") else [],
        "options": {},
        "device": "cpu", "dtype": "float32", "bytes_a_run": 10**8, "gpu_bytes": [],
    }  # fmt: skip


def train(config, run, runs, trust):  # noqa: ARG001
    """A run's folder, always with the same bytes; each attempt leaves a line in `attempts`."""
    folder = Path(runs)

    def fill(made):
        with (folder.parent / "attempts").open("a") as file:
            file.write(f"{config['number']}\n")
        (made / "metrics.jsonl").write_text(json.dumps({"step": config["number"]}) + "\n")
        (made / "timing.jsonl").write_text(json.dumps({"seconds": config["seconds"]}) + "\n")
        for _ in track(range(10), "Training"):
            time.sleep(config["seconds"] / 10)
        _odd(config.get("odd", {}).get(str(config["number"])))
        if config["after"]:
            assert (folder / config["after"]).exists()
        _finish(made, run, config)

    store.build(folder, run, fill)
    return "trained"


def train_together(configs, runs, trust):
    """Each on its own, but for `odd`, which comes when several are trained."""
    _odd(next(iter(configs.values())).get("odd", {}).get("together"))
    return {run: train(config, run, runs, trust) for run, config in configs.items()}


def _finish(made, run, config):
    (made / "adapter").mkdir()
    (made / "adapter" / "adapter_model.safetensors").write_bytes(b"%d" % config["number"])
    record = Record(
        schema_version=SCHEMA, id=run, configuration="fast", depends_on={}, environment={},
        config=RunConfig(method="frozen", task="wiki"), status="finished", results={"steps": 0},
    )  # fmt: skip
    (made / "run.json").write_text(record.model_dump_json())
    store.seal(made)


def _odd(what):
    if what:
        _ODD[what]()


def _fail():
    raise RuntimeError("out of luck")


def _fill_memory():
    resource.setrlimit(resource.RLIMIT_AS, (10**9, resource.RLIM_INFINITY))
    held = []
    while True:
        held.append(bytearray(10**7))


_ODD = {
    "raise": _fail,
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "abort": os.abort,
    "exit": lambda: os._exit(7),
    "hang": lambda: time.sleep(1000),
    "stop": lambda: os.kill(os.getpid(), signal.SIGSTOP),
    "memory": _fill_memory,
}


def measure(run, probes, options, trust):  # noqa: ARG001
    for probe in probes:
        begin(probe)
    return {}


def tabulate(name, runs, labels, options, file, trust):  # noqa: ARG001
    import pandas as pd

    frame = pd.DataFrame(
        [(Path(run).name, labels[Path(run).name], len(runs)) for run in runs],
        columns=[column.name for column in COLUMNS],
    )
    Path(file).parent.mkdir(exist_ok=True)
    table.write(table.Table(name, 1, COLUMNS, (), frame, {}), Path(file))


def see(name):
    """The worker's process and one of its variables."""
    return os.getpid(), os.environ.get(name)


def actions():
    return {
        "see": see,
        "plan": plan,
        "train": train,
        "train_together": train_together,
        "measure": measure,
        "table": tabulate,
    }


if __name__ == "__main__":
    worker_protocol.main(actions())
