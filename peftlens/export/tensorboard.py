"""TensorBoard: event files with the scalars, hyperparameters and results of runs.

Written by TensorBoard's own records and messages, as torch.utils.tensorboard writes them, with the
times of the training in place of those of the export.
"""

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from peftlens.export.experiment_run import ExperimentRun, Exported, Value, tracker
from peftlens.io.files import write_atomic

_FILE = "events.out.tfevents.peftlens"  # TensorBoard reads files with `tfevents` in their names
_VERSION = "brain.Event:2"  # first record of an event file
_LONGEST = 120  # characters of a folder's name


def export(
    runs: Sequence[ExperimentRun], place: Path | None = None, project: str | None = None
) -> Exported:
    """Write a folder per run; the files of an earlier export of the same runs are replaced.

    Args:
        runs: runs to write.
        place: folder for TensorBoard; ./tensorboard by default.
        project: folder in it; the study's title by default.

    Raises:
        InputError: TensorBoard is not installed.
    """
    place = place or Path("tensorboard")
    contents = [_records(_events(run)) for run in runs]
    for run, content in zip(runs, contents, strict=True):
        study = place / _folder_name(project or run.study)
        folder = study / f"{_folder_name(run.name)}-{run.id}"
        for old in set(study.glob(f"*-{run.id}")) - {folder}:  # of an earlier name
            (old / _FILE).unlink(missing_ok=True)
            if not any(old.iterdir()):
                old.rmdir()
        folder.mkdir(parents=True, exist_ok=True)
        write_atomic(folder / _FILE, content)
    return Exported(
        place=str(place), written=len(runs), hint=f"tensorboard --logdir {place} shows them"
    )


def _folder_name(text: str) -> str:
    return re.sub(r"[^\w.=,+-]+", "_", text)[:_LONGEST].strip(".") or "_"


def _records(events: Iterator[Any]) -> bytes:
    """Pack events into records with checksums."""
    module = tracker("tensorboard.summary.writer.record_writer", "tensorboard")
    buffer = io.BytesIO()
    writer = module.RecordWriter(buffer)
    for event in events:
        writer.write(event.SerializeToString())
    return buffer.getvalue()


def _events(run: ExperimentRun) -> Iterator[Any]:
    """Yield the events of a run in the order of their times."""
    event = tracker("tensorboard.compat.proto.event_pb2", "tensorboard").Event
    end = run.started + run.seconds
    yield event(wall_time=run.started, file_version=_VERSION)
    yield event(wall_time=run.started, summary=_start(run))
    for step, values in run.history.items():
        yield event(wall_time=run.time_of(step), step=step, summary=_scalars(values))
    results = {f"results/{name}": value for name, value in run.results.items()}
    yield event(wall_time=end, step=run.last_step, summary=_scalars(results))
    yield event(wall_time=end, summary=_end(run))


def _scalars(values: Mapping[str, float]) -> Any:
    summary = tracker("tensorboard.compat.proto.summary_pb2", "tensorboard").Summary
    return summary(
        value=[summary.Value(tag=name, simple_value=value) for name, value in values.items()]
    )


def _start(run: ExperimentRun) -> Any:
    """Describe the hyperparameters to TensorBoard's tab HPARAMS."""
    messages = tracker("tensorboard.plugins.hparams.plugin_data_pb2", "tensorboard")
    info = messages.SessionStartInfo(
        group_name=run.id, start_time_secs=run.started, model_uri=f"runs/{run.id}"
    )
    for name, value in run.hyperparameters.items():
        setattr(info.hparams[name], _field(value), value)
    return _hparams("SESSION_START_INFO_TAG", session_start_info=info)


def _end(run: ExperimentRun) -> Any:
    messages = tracker("tensorboard.plugins.hparams.plugin_data_pb2", "tensorboard")
    status = tracker("tensorboard.plugins.hparams.api_pb2", "tensorboard").Status
    value = "STATUS_SUCCESS" if run.status == "finished" else "STATUS_FAILURE"
    info = messages.SessionEndInfo(
        status=status.Value(value), end_time_secs=run.started + run.seconds
    )
    return _hparams("SESSION_END_INFO_TAG", session_end_info=info)


def _field(value: Value) -> str:
    """Return the field of a protobuf Value; a bool is an int for Python."""
    if isinstance(value, bool):
        return "bool_value"
    return "string_value" if isinstance(value, str) else "number_value"


def _hparams(tag: str, **content: Any) -> Any:
    """Wrap a message of the HPARAMS plugin, which reads it from a summary's metadata."""
    proto = tracker("tensorboard.compat.proto.summary_pb2", "tensorboard")
    metadata = tracker("tensorboard.plugins.hparams.metadata", "tensorboard")
    messages = tracker("tensorboard.plugins.hparams.plugin_data_pb2", "tensorboard")
    data = messages.HParamsPluginData(version=metadata.PLUGIN_DATA_VERSION, **content)
    plugin = proto.SummaryMetadata.PluginData(
        plugin_name=metadata.PLUGIN_NAME, content=data.SerializeToString()
    )
    value = proto.Summary.Value(
        tag=getattr(metadata, tag), metadata=proto.SummaryMetadata(plugin_data=plugin)
    )
    return proto.Summary(value=[value])
