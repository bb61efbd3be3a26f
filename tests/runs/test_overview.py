from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gendistill.runs.directory import RunDirectory
from gendistill.runs.events import event_files
from gendistill.runs.hyperparameters import differing_names, hyperparameters
from gendistill.runs.overview import FOLDER, write_overview

CONFIG: dict[str, Any] = {
    "trainer": {
        "class_path": "trainers.gan.GANTrainer",
        "init_args": {"lr": 0.1, "generator": {"class_path": "gendistill.nets.dcgan.Net", "init_args": {"nz": 4}}},
    },
    "data": {"name": "digits", "lr": 3},
    "run": {"name": "a", "seed": 1, "steps": 10, "save_every": 5, "root": "x"},
}


def test_options_have_the_names_that_a_person_gives_them() -> None:
    assert hyperparameters(CONFIG) == {
        "trainer": "GANTrainer", "lr": 0.1, "generator": "Net", "generator.nz": 4, "data.name": "digits", "data.lr": 3,
        "seed": 1, "steps": 10,
    }  # fmt: skip


def test_names_that_would_be_the_same_stay_whole() -> None:
    config = {"trainer": {"init_args": {"data.name": 1}}, "data": {"name": None}}
    assert hyperparameters(config) == {"trainer.init_args.data.name": 1, "data.name": "none"}


def test_what_differs_is_shown_also_where_one_lacks_it() -> None:
    runs = {"a": {"lr": 0.1, "seed": 0, "x": True}, "b": {"lr": 0.2, "seed": 0}}
    assert differing_names(runs) == ["lr", "x"]
    assert differing_names({"a": runs["a"]}) == ["lr", "seed", "x"]


def make_runs(root: Path) -> None:
    from torch.utils.tensorboard import SummaryWriter

    from gendistill.runs.board import Board

    for place, name in enumerate(("a", "deep/b")):
        config = {**CONFIG, "run": {**CONFIG["run"], "name": name, "seed": place}}
        directory = RunDirectory(root, name)
        directory.make()
        directory.write_config(config)
        board = Board(directory)
        board.configuration(config)
        board.scalars(5, {"train/loss/generator": 1.5, "train/prob/real": 0.5, "speed/steps_per_second": 3.0})
        board.close()
        with SummaryWriter(str(root / name / "evaluation")) as writer:
            writer.add_scalar("evaluation/accuracy", 0.5 + 0.1 * place, 100)
            writer.add_scalar("evaluation/fd", 3.0, 100)


def test_tensorboard_shows_what_differs_and_how_good_each_is(tmp_path: Path) -> None:
    make_runs(tmp_path)
    for _ in range(2):  # written anew each time
        assert write_overview(tmp_path)["hparams"] == ["seed"]
    assert len(event_files(tmp_path / FOLDER)) == 1
    from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
    from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
    from tensorboard.context import RequestContext
    from tensorboard.plugins import base_plugin
    from tensorboard.plugins.hparams.backend_context import Context
    from tensorboard.plugins.hparams.list_session_groups import Handler

    multiplexer = EventMultiplexer().AddRunsFromDirectory(str(tmp_path))
    multiplexer.Reload()
    provider = MultiplexerDataProvider(multiplexer, str(tmp_path))
    context, request = Context(base_plugin.TBContext(data_provider=provider)), RequestContext()
    found = context.experiment_from_metadata(
        request, "", True, context.hparams_metadata(request, ""), [],
    )  # fmt: skip
    assert [info.name for info in found.hparam_infos] == ["seed"]
    assert [info.display_name for info in found.metric_infos] == [
        "accuracy", "FD", "FD in training", "FD to validation images in training", "loss generator",
    ]  # fmt: skip
    from tensorboard.plugins.hparams import api_pb2

    asked = api_pb2.ListSessionGroupsRequest(
        allowed_statuses=[api_pb2.STATUS_UNKNOWN, api_pb2.STATUS_RUNNING, api_pb2.STATUS_SUCCESS],
        col_params=[api_pb2.ColParams(hparam="seed")]
        + [api_pb2.ColParams(metric=info.name) for info in found.metric_infos],
        slice_size=10,
    )
    groups = Handler(request, context, "", asked).run().session_groups
    rows = {
        group.hparams["seed"].number_value: {value.name.tag: value.value for value in group.metric_values}
        for group in groups
    }
    assert rows.keys() == {0.0, 1.0}
    assert rows[1.0]["evaluation/accuracy"] == pytest.approx(0.6) and rows[0.0]["train/loss/generator"] == 1.5
    assert all("speed/steps_per_second" not in row for row in rows.values())


def test_a_damaged_config_is_left_out_and_nothing_is_no_trouble(tmp_path: Path) -> None:
    assert write_overview(tmp_path)["hparams"] == []
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "config.yaml").write_text("a: [")
    assert write_overview(tmp_path)["hparams"] == []
