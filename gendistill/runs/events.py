"""TensorBoard's event files of a run that was interrupted: one file, and in it each step once.

Every part of a run writes a file of its own. The points of a part that was lost are made again by the next one, and a
reader of the files would see them twice.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from gendistill.files import atomic_write

PATTERN = "events.out.tfevents.*"


def event_files(directory: Path) -> list[Path]:
    """Return the event files of a run, the oldest first: by the seconds, the process and the count in their names."""
    return sorted((path for path in directory.glob(PATTERN) if path.is_file()), key=_in_numbers)


def _in_numbers(path: Path) -> list[tuple[int, str]]:
    """Return a name so that its numbers count as numbers: the tenth file of a process is behind the ninth."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"([0-9]+)", path.name)]


def continue_events(directory: Path, step: int) -> None:
    """Make one file of those that are there, without what comes after a step; killed in between, it is done again.

    Args:
        directory: The run's directory.
        step: The last completed step, from which the run is continued.

    Raises:
        StorageError: The file cannot be written; the older ones are intact.
    """
    files = event_files(directory)
    kept = _wanted(files, step)
    if not files or (len(files) == 1 and all(kept)):
        return

    def write(file: BinaryIO) -> None:
        from tensorboard.summary.writer.record_writer import RecordWriter

        writer = RecordWriter(file)
        for record, wanted in zip(_records(files), kept, strict=False):
            if wanted:
                writer.write(record)

    # Under the oldest one's name: a TensorBoard that is open has read that one and does not read it again.
    atomic_write(files[0], write)
    for path in files[1:]:
        path.unlink(missing_ok=True)


def call_session(directory: Path, name: str) -> None:
    """Give a run that was made elsewhere its own name in TensorBoard's comparison of runs.

    Args:
        directory: Where its event files are.
        name: What it is called here.
    """
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.plugins.hparams import metadata, plugin_data_pb2
    from tensorboard.summary.writer.record_writer import RecordWriter

    for path in event_files(directory):
        records = []
        for record in _records([path]):
            event: Any = Event.FromString(record)
            for value in event.summary.value:
                if value.tag == metadata.SESSION_START_INFO_TAG:
                    data = plugin_data_pb2.HParamsPluginData.FromString(value.metadata.plugin_data.content)
                    data.session_start_info.group_name = name
                    value.metadata.plugin_data.content = data.SerializeToString()
            records.append(event.SerializeToString())

        def write(file: BinaryIO, records: Sequence[bytes] = tuple(records)) -> None:
            writer = RecordWriter(file)
            for record in records:
                writer.write(record)

        atomic_write(path, write)


def _records(files: Sequence[Path]) -> Iterator[bytes]:
    """Yield the records of files as far as they can be read; the last one of a killed process is often cut."""
    from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader

    for path in files:
        if path.stat().st_size:
            yield from RawEventFileLoader(str(path)).Load()


def _wanted(files: Sequence[Path], step: int) -> list[bool]:
    """Return for each record whether it is told in the one story."""
    from tensorboard.compat.proto.event_pb2 import Event, SessionLog

    seen: set[bytes] = set()
    steps: list[int] = []
    wanted: list[bool] = []
    versions = 0
    for record in _records(files):
        try:
            event: Any = Event.FromString(record)
        except Exception:  # protobuf's own error, which depends on how it is installed
            steps.append(0)
            wanted.append(False)
            continue
        digest = hashlib.sha256(record).digest()
        new = digest not in seen and event.step <= step
        seen.add(digest)
        if event.HasField("session_log"):
            # Earlier versions marked so where a part began: what others before it say of later steps was lost.
            if event.session_log.status == SessionLog.START:
                wanted = [one and at < event.step for one, at in zip(wanted, steps, strict=True)]
            new = False
        if event.HasField("file_version"):
            new = new and not versions
            versions += 1
        steps.append(int(event.step))
        wanted.append(new)
    return wanted


def read_scalars(directory: Path) -> dict[str, list[tuple[int, float]]]:
    """Return the numbers that a run's event files hold, as (step, value) in the order of steps, by tag.

    Args:
        directory: The run's directory; what a part of the run that was lost has told is left out.
    """
    from tensorboard.compat.proto.event_pb2 import Event

    files = event_files(directory)
    found: dict[str, dict[int, float]] = {}
    for record, wanted in zip(_records(files), _wanted(files, 2**62), strict=False):
        if not wanted:
            continue
        event: Any = Event.FromString(record)
        for value in event.summary.value:
            number = _number(value)
            if number is not None:
                found.setdefault(value.tag, {})[int(event.step)] = number
    return {tag: sorted(points.items()) for tag, points in found.items()}


def _number(value: Any) -> float | None:
    """Return the number of a value of a summary, which two versions of TensorBoard write in two places."""
    if value.HasField("simple_value"):
        return float(value.simple_value)
    if value.HasField("tensor") and value.tensor.dtype == 1 and len(value.tensor.float_val) == 1:
        return float(value.tensor.float_val[0])
    return None
