"""A real Ray cluster of two nodes on loopback."""

import threading
import time
from pathlib import Path

import pytest
import ray
from fast_study import carried_out, contents
from ray.cluster_utils import Cluster

from peftlens.errors import InputError
from peftlens.results.outcomes import Done
from peftlens.runs.config import RunConfig
from peftlens.runs.run import SCHEMA, Record, Run, runs_in
from peftlens.studies import ray_pool, runner
from peftlens.studies.runner import StudyOptions
from peftlens.studies.worker_protocol import MeasureRequest, TrainRequest

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def two():
    """A cluster of a head node and another one, with a CPU each."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))  # workers must find fast.py
        one = {"num_cpus": 1, "include_dashboard": False}
        nodes = Cluster(initialize_head=True, head_node_args=one)
        nodes.add_node(num_cpus=1)
        assert nodes.address.startswith("127.0.0.1:")
        ray.init(address=nodes.address, log_to_driver=False)
        yield nodes
        ray.shutdown()
        nodes.shutdown()


def test_the_same_bytes_as_here_and_a_node_that_is_lost_costs_its_run(fast, tmp_path, two):
    file, third = fast(runs=20, seconds=0.15), two.add_node(num_cpus=1)
    here = carried_out(file, tmp_path / "here")

    def lose():
        while len(runs_in(tmp_path / "out" / "runs")) < 5:
            time.sleep(0.05)
        two.remove_node(third, allow_graceful=False)

    killer = threading.Thread(target=lose)
    killer.start()
    outcome = carried_out(file, tmp_path / "out", engine="ray", workers=3)
    killer.join()
    assert (outcome.failed, outcome.left, len(outcome.runs)) == ((), 0, 20)
    assert contents(tmp_path / "out" / "runs") == contents(tmp_path / "here" / "runs")
    assert [run.id for run in outcome.runs] == [run.id for run in here.runs]
    assert not (tmp_path / "out" / "attempts").exists()  # workers wrote elsewhere
    assert not list((tmp_path / "out" / "runs").glob(".*"))
    # nothing is left to do
    assert carried_out(file, tmp_path / "out", engine="ray").left == 0


@pytest.mark.usefixtures("two")
def test_what_becomes_of_a_run_costs_that_run(fast, tmp_path):
    file = fast(runs=5, odd={"0": "raise", "1": "kill", "2": "hang"})
    outcome = carried_out(file, tmp_path / "out", engine="ray", stall_timeout=2)
    assert len(outcome.runs) == 2
    failed = dict(zip((0, 1, 2), outcome.failed, strict=True))
    assert failed[0].endswith("failed: out of luck")
    assert "the worker was lost" in failed[1]
    assert "the worker was lost" in failed[2]


@pytest.mark.usefixtures("two")
def test_a_sequence_carries_the_run_before_along(fast, tmp_path):
    outcome = carried_out(fast(runs=4, sequence=True), tmp_path / "out", engine="ray")
    assert (len(outcome.runs), outcome.failed) == (4, ())


@pytest.mark.usefixtures("two")
def test_real_training_gives_the_same_run(tiny_study, tmp_path):
    file = tmp_path / "tiny.toml"
    settings = 'dtype = "float32"\nprobes = ["parameter_count", "task_items", "task_accuracy"]'
    training = "max_steps = 3\nbatch_size = 4\ncheckpoint_steps = [0]"
    runs = 'method = "lora"\ngrid = { rank = [1, 2] }'
    file.write_text(tiny_study(runs, settings=settings, training=training))
    found = {}
    for engine, workers in (("local", 0), ("ray", 1)):  # in this process, and on a node
        out = tmp_path / engine
        options = StudyOptions(engine=engine, workers=workers, threads=1)
        outcome = runner.run_study(file, out, options)
        assert outcome.failed == ()
        times = ("timing.jsonl", "digests.json")  # which holds the former's
        found[engine] = {
            name: data for name, data in contents(out / "runs").items() if not name.endswith(times)
        }
        assert (out / "tables" / "task_accuracy.parquet").exists()
    assert len(found["ray"]) == 2 * (1 + 1 + 2 + 2 + 2)
    assert found["ray"] == found["local"]


@pytest.mark.usefixtures("two")
def test_a_run_is_paused_and_resumed_on_other_nodes(tiny_study, tmp_path):
    text = tiny_study('method = "lora"', training="max_steps = 3\nbatch_size = 4")
    file, runs = tmp_path / "tiny.toml", tmp_path / "ray" / "runs"
    file.write_text(text)
    (whole,) = runner.run_study(file, tmp_path / "local", StudyOptions(workers=0)).runs
    pool = ray_pool.RayPool(runs, {"num_cpus": 1}, workers=1)
    for until in (1, 2, None):
        request = TrainRequest(
            run=whole.id, config=whole.config, folder=runs, trust_remote_code=False, until=until
        )
        pool.submit(0, request)
        found = []
        while not found:
            found = [outcome for _, outcome in pool.poll(1)]
        assert isinstance(found[0], Done), found
        names = [entry.name for entry in runs.iterdir()]
        assert names == [f".paused-{whole.id}-{until}" if until else whole.id]
    pool.close(now=True)
    adapter = "adapter/adapter_model.safetensors"
    assert (runs / whole.id / adapter).read_bytes() == (whole.path / adapter).read_bytes()
    assert [line["step"] for line in Run(runs / whole.id).metrics()] == [1, 3, 3]


@pytest.mark.usefixtures("two")
def test_a_worker_that_fits_no_node(fast, tmp_path):
    with pytest.raises(InputError, match="no node of the Ray cluster has room for a worker"):
        carried_out(fast(), tmp_path / "out", engine="ray", threads=2, workers=None)


def test_a_run_with_a_head_brings_the_runs_of_its_sequence_along(tmp_path):
    def saved(name, before, depends_on):
        config = RunConfig(method="head", task="bbc_topic", continue_from=before)
        (tmp_path / name).mkdir()
        Record(
            schema_version=SCHEMA, id=name, configuration="head", depends_on=depends_on,
            environment={}, config=config, status="finished", results={"steps": 0},
        ).write(tmp_path / name)  # fmt: skip

    for letter, depends_on in (("a", {"head": {}}), ("b", {})):
        saved(letter * 12, None, depends_on)
        saved(letter * 11 + "1", letter * 12, depends_on)
    request = MeasureRequest.model_construct(run=tmp_path / "aaaaaaaaaaa1")
    assert [*ray_pool._input_runs(request, tmp_path)] == ["aaaaaaaaaaa1", "aaaaaaaaaaaa"]
    request = MeasureRequest.model_construct(run=tmp_path / "bbbbbbbbbbb1")
    assert [*ray_pool._input_runs(request, tmp_path)] == ["bbbbbbbbbbb1"]
    request = TrainRequest.model_construct(
        run="cccccccccccc",
        config=RunConfig(method="head", task="boolq", continue_from="aaaaaaaaaaa1"),
    )
    assert [*ray_pool._input_runs(request, tmp_path)] == ["aaaaaaaaaaa1", "aaaaaaaaaaaa"]


def test_room_is_counted_by_what_is_scarcest():
    nodes = [
        {"Alive": True, "Resources": {"CPU": 8.0, "memory": 10e9}},
        {"Alive": True, "Resources": {"CPU": 1.0, "memory": 90e9}},
        {"Alive": False, "Resources": {"CPU": 64.0, "memory": 90e9}},
    ]
    assert ray_pool._capacity(nodes, {"num_cpus": 1, "memory": 3e9}) == 3 + 1
    assert ray_pool._capacity(nodes, {"num_cpus": 1, "num_gpus": 1}) == 0
