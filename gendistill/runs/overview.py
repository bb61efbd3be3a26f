"""What TensorBoard's comparison (HPARAMS) shows of all runs below a folder: what differs, and how good each is.

TensorBoard takes one description of an experiment, of whatever run it stands in; without one it shows every option and
every number that any run has logged. ``gendistill tensorboard`` writes one for the runs that are there.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from gendistill.errors import GendistillError
from gendistill.runs.directory import RunDirectory
from gendistill.runs.events import event_files
from gendistill.runs.hyperparameters import differing_names, hyperparameters

FOLDER = ".overview"
"""Below the folder of runs; a run of TensorBoard's own that has nothing but the description."""
EVALUATION = "evaluation"
"""Folder of a run that holds what ``gendistill evaluate`` logged."""
LOOKED_AT = 400
"""Events of a run among which the names of its losses are looked for."""
MOST_LOSSES = 6
ACCURACY, DISTANCE = "evaluation/accuracy", "evaluation/fd"
FD, FD_VALIDATION = "measured/fd", "measured/fd_validation"


def runs_below(folder: Path) -> dict[str, dict[str, Any]]:
    """Return what each run below a folder is compared by, by its path from there; what cannot be read is left out."""
    found = {}
    for path in sorted(folder.rglob("config.yaml")):
        try:
            config = RunDirectory(path.parent.parent, path.parent.name).read_config()
        except (GendistillError, OSError):
            continue
        if config:
            found[path.parent.relative_to(folder).as_posix()] = dict(hyperparameters(config))
    return found


def losses_of(run: Path) -> list[str]:
    """Return the tags of a run's losses, as far as its first events name them."""
    from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader

    names: dict[str, None] = {}
    for file in event_files(run)[:1]:
        for event in islice(LegacyEventFileLoader(str(file)).Load(), LOOKED_AT):
            names |= {value.tag: None for value in event.summary.value if value.tag.startswith("train/loss")}
    return list(names)


def metrics_of(folder: Path, runs: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return group, tag and heading of each number that stands beside the options."""
    losses = list(dict.fromkeys(tag for name in runs for tag in losses_of(folder / name)))[:MOST_LOSSES]
    return [
        (EVALUATION, ACCURACY, "accuracy"),
        (EVALUATION, DISTANCE, "FD"),
        ("", FD, "FD in training"),
        ("", FD_VALIDATION, "FD to validation images in training"),
        *(("", tag, tag.removeprefix("train/").replace("/", " ")) for tag in losses),
    ]


def write_overview(folder: Path) -> dict[str, Any]:
    """Describe the runs below a folder for TensorBoard.

    Args:
        folder: What TensorBoard is given.

    Returns:
        ``hparams``: the names that are shown; ``metrics``: the headings.

    Raises:
        OSError: Nothing can be written there.
    """
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2
    from torch.utils.tensorboard import SummaryWriter

    runs = runs_below(folder)
    names, metrics = differing_names(runs), metrics_of(folder, runs)
    infos = [_info(api_pb2, name, [options[name] for options in runs.values() if name in options]) for name in names]
    shown = [
        api_pb2.MetricInfo(name=api_pb2.MetricName(group=group, tag=tag), display_name=heading)
        for group, tag, heading in metrics
    ]
    place = folder / FOLDER
    for old in event_files(place):
        old.unlink(missing_ok=True)
    with SummaryWriter(str(place)) as writer:
        if runs and writer.file_writer is not None:
            experiment = api_pb2.Experiment(hparam_infos=infos, metric_infos=shown)
            content = metadata.create_summary_metadata(plugin_data_pb2.HParamsPluginData(experiment=experiment))
            value = {"tag": metadata.EXPERIMENT_TAG, "metadata": content, "tensor": metadata.NULL_TENSOR}
            writer.file_writer.add_summary(Summary(value=[Summary.Value(**value)]))
    return {"hparams": names, "metrics": [heading for _, _, heading in metrics]}


def _info(api_pb2: Any, name: str, values: list[Any]) -> Any:
    info = api_pb2.HParamInfo(name=name, differs=True)
    if all(isinstance(value, bool) for value in values):
        info.type = api_pb2.DATA_TYPE_BOOL
        info.domain_discrete.extend(sorted(set(values)))
    elif all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        info.type = api_pb2.DATA_TYPE_FLOAT64
        info.domain_interval.min_value, info.domain_interval.max_value = float(min(values)), float(max(values))
    else:
        info.type = api_pb2.DATA_TYPE_STRING
        info.domain_discrete.extend(sorted({str(value) for value in values}))
    return info
