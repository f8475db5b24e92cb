"""Stand-ins for trackers that are not installed here: what they accept, refuse and give back.

Tests use the real package where it is installed. Signatures and limits are those of mlflow 3.17,
trackio 0.43 and wandb 0.31.
"""

import itertools
import re
import sys
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, SimpleNamespace


def module(monkeypatch, name):
    """Import the real package, or put the stand-in in its place."""
    if find_spec(name):
        return __import__(name)
    made = {"mlflow": _mlflow, "trackio": _trackio, "wandb": _wandb}[name]()
    monkeypatch.setitem(sys.modules, name, made)
    return made


def _module(name, **contents):
    made = ModuleType(name)
    vars(made).update(contents)
    return made


class MlflowException(Exception):
    pass


@dataclass
class Metric:
    key: str
    value: float
    timestamp: int
    step: int


@dataclass
class Param:
    key: str
    value: str


STORES = {}  # experiments by address


@dataclass
class MlflowClient:
    tracking_uri: str
    valid = re.compile(r"^[/\w.\- :]*$")

    def __post_init__(self):
        self.store = STORES.setdefault(self.tracking_uri, {})

    def get_experiment_by_name(self, name):
        return SimpleNamespace(experiment_id=name) if name in self.store else None

    def create_experiment(self, name):
        self.store[name] = []
        return name

    def delete_experiment(self, experiment_id):
        self.store[experiment_id] = None

    def create_run(self, experiment_id, start_time=None, tags=None, run_name=None):
        if self.store[experiment_id] is None:
            raise MlflowException(f"{experiment_id} must be active.\nCurrent state is deleted.")
        number = f"{len(self.store[experiment_id])}@{experiment_id}"
        info = SimpleNamespace(run_id=number, run_name=run_name, start_time=start_time,
                               status="RUNNING", end_time=None)  # fmt: skip
        data = SimpleNamespace(tags=dict(tags or {}), params={}, metrics={})
        run = SimpleNamespace(info=info, data=data, history=[], deleted=False)
        self.store[experiment_id].append(run)
        return run

    def _run(self, run_id):
        return next(
            one for runs in self.store.values() for one in runs if one.info.run_id == run_id
        )

    def log_batch(self, run_id, metrics=(), params=(), tags=()):
        if len(metrics) > 1000 or len(params) > 100 or len(tags) > 100:
            raise MlflowException("A batch logging request can contain at most 1000 metrics")
        run = self._run(run_id)
        for one in (*metrics, *params):
            if not self.valid.match(one.key) or len(one.key) > 250:
                raise MlflowException(f"Invalid name: {one.key!r}")
        for one in metrics:
            run.history.append(one)
            run.data.metrics[one.key] = float(one.value)
        for one in params:
            if run.data.params.setdefault(one.key, one.value) != one.value:
                raise MlflowException("Changing param values is not allowed")

    def set_tag(self, run_id, key, value):
        self._run(run_id).data.tags[key] = value

    def set_terminated(self, run_id, status=None, end_time=None):
        info = self._run(run_id).info
        info.status, info.end_time = status or "FINISHED", end_time

    def delete_run(self, run_id):
        self._run(run_id).deleted = True

    def search_runs(self, experiment_ids, filter_string=""):
        runs = [one for name in experiment_ids for one in self.store[name] or () if not one.deleted]
        if not filter_string:
            return runs
        key, value = re.fullmatch(r"tags\.`([\w.]+)` = '(\w+)'", filter_string).groups()
        return [one for one in runs if one.data.tags.get(key) == value]

    def get_metric_history(self, run_id, key):
        return [one for one in self._run(run_id).history if one.key == key]


def _mlflow():
    return _module(
        "mlflow",
        MlflowClient=MlflowClient,
        entities=SimpleNamespace(Metric=Metric, Param=Param),
        exceptions=SimpleNamespace(MlflowException=MlflowException),
        get_tracking_uri=lambda: "sqlite:///mlflow.db",
    )


@dataclass
class TrackioRun:
    name: str
    config: dict
    logs: list = field(default_factory=list)
    deleted: bool = False

    def delete(self):
        self.deleted = True
        return True


class Trackio:
    def __init__(self):
        self.projects, self.run = {}, None

    def init(self, project, name=None, group=None, config=None, embed=True, auto_log_gpu=None,
             auto_log_cpu=None):  # fmt: skip
        assert not embed
        assert (auto_log_gpu, auto_log_cpu) == (False, False)
        if project.startswith("registry-"):
            raise ValueError(f"Project name {project!r} is not allowed")
        if any(key.startswith("_") for key in config):
            raise ValueError("Config key is reserved")
        sys.stdout.write(f"* Created new run: {name}\n")
        self.run = TrackioRun(name, {**config, "_Group": group})
        self.projects.setdefault(project, []).append(self.run)

    def log(self, metrics, step=None):
        self.run.logs.append({**metrics, "step": step})

    def finish(self):
        self.run = None

    def runs(self, project):
        if project not in self.projects:
            raise ValueError(f"Project '{project}' does not exist")
        return [one for one in self.projects[project] if not one.deleted]


def _trackio():
    one = Trackio()
    return _module("trackio", init=one.init, log=one.log, finish=one.finish, Api=lambda: one)


class WandbRun:
    def __init__(self, **given):
        self.given, self.summary, self.history, self.exit_code = given, {}, {}, None
        folder = given["dir"] + f"/wandb/offline-run-20260101_00000{next(NUMBERS)}-{given['id']}"
        Path(folder).mkdir(parents=True)

    def log(self, data, step=None):
        assert step > max(self.history, default=-1)  # earlier steps are ignored there
        self.history[step] = data

    def finish(self, exit_code=None):
        self.exit_code = exit_code


NUMBERS = itertools.count()


class UsageError(Exception):
    pass


class CommError(Exception):
    pass


def _wandb():
    started = []

    def init(*, project, id, name, group, job_type, config, dir, mode, settings, reinit):
        assert settings["silent"]
        if re.search(r"[/\\#?%:]", project) or len(project) > 128:
            raise UsageError(f"invalid project name {project!r}")
        assert reinit == "finish_previous"
        started.append(WandbRun(project=project, id=id, name=name, group=group, config=config,
                                job_type=job_type, dir=dir, mode=mode))  # fmt: skip
        return started[-1]

    settings = ("silent", "console", "disable_git", "disable_code", "save_code",
                "x_disable_stats", "x_disable_meta")  # fmt: skip

    def make(**given):
        assert set(given) <= {*settings}
        return given

    errors = SimpleNamespace(UsageError=UsageError, CommError=CommError)
    return _module("wandb", init=init, Settings=make, errors=errors, started=started)
