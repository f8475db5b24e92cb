"""A worker that trains nothing, in a moment: for tests of what supervises workers.

    python -m fast SECONDS

The text of its study is JSON: {"runs": how many, "seconds": that one takes, "sequence": whether
each is trained on after the one before it, "together": whether all may be trained in one pass,
"odd": {number of a run, or "together": what happens in it}, "probes": how many measure each run,
"probe_seconds": that one takes}. The text {"see": name of a variable}
plans nothing: the result is the worker's process and that variable.
"""

import hashlib
import json
import os
import resource
import signal
import time

from peftlens.io.progress import begin, track
from peftlens.results import table
from peftlens.results.table_cache import ProbeSpec
from peftlens.runs import store
from peftlens.runs.config import RunConfig
from peftlens.runs.run import SCHEMA, Record
from peftlens.studies import worker_protocol
from peftlens.studies.plan import Forecast, PlannedRun, StudyPlan

time.sleep(float(os.environ.get("FAST_START", 0)))  # as a worker that loads torch takes time
COLUMNS = tuple(table.Column(name, name) for name in ("run", "configuration", "number"))


def plan(request):
    requested = json.loads(request.text)
    if "see" in requested:
        return os.getpid(), os.environ.get(requested["see"])
    numbers = range(requested["runs"])
    ids = [hashlib.sha256(str(number).encode()).hexdigest()[:12] for number in numbers]
    previous = [None, *ids[:-1]] if requested.get("sequence") else [None] * len(ids)
    runs = [
        PlannedRun(
            id=ids[number],
            configuration=f"fast number={number}",
            batch_key=requested.get("together"),
            config=RunConfig(
                method="frozen",
                task="wiki",
                method_config=requested | {"number": number},
                continue_from=previous[number],
            ),
            forecast=Forecast(training=1.0, scoring=1.0),
        )
        for number in numbers
    ]
    names = [f"p{number}" for number in range(requested.get("probes", 0))]
    names += ["number"] if requested.get("probe") else []
    return StudyPlan(
        name="fast",
        runs=runs,
        probes=[ProbeSpec(name=name, each_run=True, version=1, config={}) for name in names],
        probe_options={"fast": {"seconds": requested.get("probe_seconds", 0)}},
        device="cpu",
        dtype="float32",
        bytes_per_run=10**8,
        gpu_bytes=[],
    )


def train(request):
    """A run's folder, always with the same bytes; each attempt leaves a line in `attempts`."""
    return _train(request.run, request.config, request.folder)


def _train(run, config, folder):
    requested = config.method_config

    def fill(made):
        with (folder.parent / "attempts").open("a") as file:
            file.write(f"{requested['number']}\n")
        (made / "metrics.jsonl").write_text(json.dumps({"step": requested["number"]}) + "\n")
        (made / "timing.jsonl").write_text(json.dumps({"seconds": requested["seconds"]}) + "\n")
        for _ in track(range(10), "Training"):
            time.sleep(requested["seconds"] / 10)
        _odd(requested.get("odd", {}).get(str(requested["number"])))
        if config.continue_from:
            assert (folder / config.continue_from).exists()
        _finish(made, run, requested["number"])

    store.build(folder, run, fill)
    return "trained"


def train_batch(request):
    """Each on its own, but for `odd`, which comes when several are trained."""
    first = next(iter(request.configs.values()))
    _odd(first.method_config.get("odd", {}).get("together"))
    return {run: _train(run, config, request.folder) for run, config in request.configs.items()}


def _finish(made, run, number):
    (made / "adapter").mkdir()
    (made / "adapter" / "adapter_model.safetensors").write_bytes(b"%d" % number)
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


def measure(request):
    """Leave a file of each probe, and a line in `measured`."""
    for probe in request.probes:
        begin(probe)
        time.sleep(request.probe_options["fast"]["seconds"])
        (request.run / "probes").mkdir(exist_ok=True)
        (request.run / "probes" / f"{probe}.parquet").write_text(f"{probe} of {request.run.name}")
        with (request.run.parents[1] / "measured").open("a") as file:
            file.write(f"{request.run.name} {probe}\n")
    return {}


def write_table(request):
    import pandas as pd

    runs = [folder.name for folder in request.runs]
    frame = pd.DataFrame(
        [(run, request.labels[run], len(runs)) for run in runs],
        columns=[column.name for column in COLUMNS],
    )
    request.file.parent.mkdir(exist_ok=True)
    table.write(table.Table(request.probe, 1, COLUMNS, (), frame, {}), request.file)
    return {}


def actions():
    return {
        "plan": plan,
        "train": train,
        "train_batch": train_batch,
        "measure": measure,
        "table": write_table,
    }


if __name__ == "__main__":
    worker_protocol.main(actions())
