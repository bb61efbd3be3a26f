from __future__ import annotations

import fcntl
import json
from pathlib import Path
from threading import Timer
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import load_file, save, save_file
from torch import nn

from gendistill import objects
from gendistill.data.augment import augment
from gendistill.data.real import RealData, Split
from gendistill.errors import UserError
from gendistill.evaluation.ensemble import build_learner
from gendistill.experts import ExpertBuffer, Recipe, expert_buffer
from gendistill.experts import training as training_module
from gendistill.experts.files import KEY, expert_path, read_header, read_snapshot, write_expert
from gendistill.experts.recipe import folder_name, identity
from gendistill.experts.snapshots import Snapshots
from gendistill.runs.processes import Processes
from gendistill.seeds import derive_seed, stream
from gendistill.teacher.subset import RealSubset

LEARNER = {"class_path": "gendistill.nets.learners.ConvNet", "init_args": {"width": 4, "depth": 1}}
RECIPE = Recipe(lr=0.05, momentum=0.5, weight_decay=1e-3, batch_size=40, augment="shift_scale")


def buffer(data: RealData, root: Path, count: int = 3, epochs: int = 2, **given: Any) -> ExpertBuffer:
    recipe = given.pop("recipe", RECIPE)
    return expert_buffer(LEARNER, data, recipe, count, epochs, root=root, **given)


def test_an_expert_is_what_plain_sgd_makes(tiny_data: RealData, tmp_path: Path) -> None:
    experts = buffer(tiny_data, tmp_path, count=2)
    for number in range(2):
        seed = derive_seed(0, f"experts/{number}") >> 8
        network = build_learner(LEARNER, tiny_data.description, seed)
        optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.5, weight_decay=1e-3)
        order, how = stream(seed, "evaluation/batches"), stream(seed, "evaluation/augment")
        batches = RealSubset.all(tiny_data.train, tiny_data.description).batches(6, 40, order)
        for step, (images, labels, _) in enumerate(batches):
            if step % 3 == 0:  # 96 images in batches of 40: an epoch is three updates
                for name, value in network.named_parameters():
                    torch.testing.assert_close(experts.snapshot(number, step // 3)[name], value.detach())
            optimizer.zero_grad()
            F.cross_entropy(network(augment(images, "shift_scale", how)), labels).backward()
            optimizer.step()
        for name, value in network.named_parameters():
            torch.testing.assert_close(experts.snapshot(number, 2)[name], value.detach())


def test_snapshots_are_copies_of_different_moments(tiny_data: RealData, tmp_path: Path) -> None:
    experts = buffer(tiny_data, tmp_path, count=2, epochs=3)
    seen = [experts.snapshot(expert, at)["classifier.weight"] for expert in range(2) for at in range(4)]
    for place, one in enumerate(seen):
        for other in seen[place + 1 :]:
            assert not torch.equal(one, other)


def test_an_expert_does_not_depend_on_who_is_beside_it(tiny_data: RealData, tmp_path: Path) -> None:
    alone = buffer(tiny_data, tmp_path / "alone", at_once=1)
    beside = buffer(tiny_data, tmp_path / "beside", at_once=3)
    for expert in range(3):
        one, other = (expert_path(of.folder, expert).read_bytes() for of in (alone, beside))
        assert one == other


def test_stacked_experts_are_the_same_up_to_rounding(
    tiny_data: RealData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    separate = buffer(tiny_data, tmp_path / "separate", at_once=3)
    monkeypatch.setattr(training_module, "Separate", training_module.Stacked)  # what a GPU uses
    stacked = buffer(tiny_data, tmp_path / "stacked", at_once=3)
    for expert in range(3):
        for name, value in separate.snapshot(expert, 2).items():
            torch.testing.assert_close(stacked.snapshot(expert, 2)[name], value, rtol=1e-3, atol=1e-5)


def test_training_goes_on_with_the_expert_where_it_was_stopped(
    tiny_data: RealData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = buffer(tiny_data, tmp_path / "whole", at_once=1)
    written = training_module.write_expert

    def stops(path: Path, *rest: Any) -> None:
        if path.name == "expert-0001.safetensors":
            raise RuntimeError("power cut")
        written(path, *rest)

    monkeypatch.setattr(training_module, "write_expert", stops)
    with pytest.raises(RuntimeError, match="power cut"):
        buffer(tiny_data, tmp_path / "halves", at_once=1)
    trained = []

    def counted(path: Path, *rest: Any) -> None:
        trained.append(path.name)
        written(path, *rest)

    monkeypatch.setattr(training_module, "write_expert", counted)
    halves = buffer(tiny_data, tmp_path / "halves", at_once=1)
    assert trained == ["expert-0001.safetensors", "expert-0002.safetensors"]
    for expert in range(3):
        one, other = (expert_path(of.folder, expert).read_bytes() for of in (whole, halves))
        assert one == other


def interrupted(monkeypatch: pytest.MonkeyPatch, after: int) -> list[int]:
    """Let training stop after so many updates of a group; return where those that are made are counted."""
    made: list[int] = []
    monkeypatch.setattr("gendistill.evaluation.lessons.LONGEST", 2)
    for kind in {training_module.Separate, training_module.Stacked}:
        own = kind.train

        def counted(self: Any, batches: Any, start: int, own: Any = own) -> None:
            if sum(made) >= after:
                raise RuntimeError("power cut")
            made.append(len(batches[0]))
            own(self, batches, start)

        monkeypatch.setattr(kind, "train", counted)
    return made


NORMED = {**LEARNER, "init_args": {"width": 4, "depth": 1, "normalisation": "batch"}}


@pytest.mark.parametrize("strategy", ["Separate", "Stacked"])
@pytest.mark.parametrize("learner", [LEARNER, NORMED], ids=["instance", "batch"])
def test_an_interruption_costs_the_steps_since_the_last_snapshot(
    tiny_data: RealData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, strategy: str, learner: dict[str, Any]
) -> None:
    monkeypatch.setattr(training_module, "Separate", getattr(training_module, strategy))

    def make(where: str) -> ExpertBuffer:
        return expert_buffer(learner, tiny_data, RECIPE, 3, 4, root=tmp_path / where, at_once=2)

    whole = make("whole")
    with monkeypatch.context() as patch:
        interrupted(patch, 8)  # three updates a snapshot: in the third of the first two experts
        with pytest.raises(RuntimeError, match="power cut"):
            make("halves")
    folder = tmp_path / "halves" / "experts" / whole.folder.name
    kept = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.safetensors"))
    files = ["0000.safetensors", "0001.safetensors", "0002.safetensors", "state.safetensors"]
    assert kept == [f"expert-000{number}.parts/{name}" for number in range(2) for name in files]
    with monkeypatch.context() as patch:
        made = interrupted(patch, 100)
        halves = make("halves")
    assert sum(made) == (4 - 2) * 3 + 4 * 3
    for expert in range(3):
        one, other = (expert_path(of.folder, expert).read_bytes() for of in (whole, halves))
        assert one == other
    assert not list(folder.glob("*.parts"))


def test_experts_at_different_places_go_on_from_each_ones_own(
    tiny_data: RealData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = buffer(tiny_data, tmp_path / "whole", count=4, epochs=3)
    for rank, after in ((0, 7), (1, 4)):  # expert 0 has three snapshots, expert 1 two
        with monkeypatch.context() as patch:
            interrupted(patch, after)
            with pytest.raises(RuntimeError, match="power cut"):
                buffer(tiny_data, tmp_path / "parts", epochs=3, at_once=1, processes=Processes(rank, 2))
    made = sorted(path.name for path in tmp_path.glob("parts/experts/*/*.parts/*"))
    assert made == ["0000.safetensors"] * 2 + ["0001.safetensors"] * 2 + ["0002.safetensors"] + 2 * [
        "state.safetensors"
    ]
    with monkeypatch.context() as patch:
        interrupted(patch, 100)
        parts = buffer(tiny_data, tmp_path / "parts", count=4, epochs=3, at_once=4)
    for expert in range(4):
        assert expert_path(parts.folder, expert).read_bytes() == expert_path(whole.folder, expert).read_bytes()


@pytest.mark.parametrize(
    "harm",
    [
        "state cut",
        "state flipped",
        "snapshot gone",
        "snapshot flipped",
        "snapshot damaged",
        "another recipe",
        "no state",
    ],
)
def test_parts_that_cannot_be_gone_on_from_are_made_anew(
    tiny_data: RealData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, harm: str
) -> None:
    whole = buffer(tiny_data, tmp_path / "whole", count=1, epochs=3)
    folder = tmp_path / "mine"
    with monkeypatch.context() as patch:
        interrupted(patch, 4)
        with pytest.raises(RuntimeError, match="power cut"):
            recipe = Recipe(batch_size=40) if harm == "another recipe" else RECIPE
            buffer(tiny_data, tmp_path, count=1, epochs=3, folder=folder, recipe=recipe)
    state = folder / "expert-0000.parts" / "state.safetensors"
    if harm == "state cut":
        state.write_bytes(state.read_bytes()[:-9])
    elif harm == "no state":
        state.unlink()
    elif harm == "snapshot gone":
        (state.parent / "0000.safetensors").unlink()
    elif harm == "snapshot damaged":
        (state.parent / "0000.safetensors").write_bytes(b"0" * 20)
    elif harm.endswith("flipped"):
        path = state if harm == "state flipped" else state.parent / "0000.safetensors"
        content = bytearray(path.read_bytes())
        content[-3] ^= 4
        path.write_bytes(content)
    made = interrupted(monkeypatch, 100)
    anew = buffer(tiny_data, tmp_path, count=1, epochs=3, folder=folder)
    assert sum(made) == 9 and expert_path(anew.folder, 0).read_bytes() == expert_path(whole.folder, 0).read_bytes()


def parts_of_one_cut_off(data: RealData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the parts that a buffer of one expert leaves when it is interrupted within its second epoch."""
    with monkeypatch.context() as patch:
        interrupted(patch, 4)
        with pytest.raises(RuntimeError, match="power cut"):
            buffer(data, tmp_path, count=1, epochs=2, folder=tmp_path / "mine")
    return tmp_path / "mine" / "expert-0000.parts"


def test_a_snapshot_that_is_damaged_while_the_training_goes_on_is_refused_by_name(
    tiny_data: RealData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add = Snapshots.add

    def harmed(self: Snapshots, at: int, *given: Any) -> None:
        add(self, at, *given)
        if at == 2:
            path = self.place / "0000.safetensors"
            path.write_bytes(path.read_bytes()[:-4] + bytes(4))

    monkeypatch.setattr(Snapshots, "add", harmed)
    with pytest.raises(UserError, match="0000.safetensors' is damaged: it does not match its checksum; delete"):
        buffer(tiny_data, tmp_path, count=1, epochs=2, folder=tmp_path / "mine")


def test_what_a_killed_process_left_is_taken_away_and_nothing_else(tiny_data: RealData, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    left, own = folder / ".expert-0000.safetensors.0123456789ab.tmp", folder / "notes.tmp"
    for path in (left, own):
        path.write_bytes(b"half")
    buffer(tiny_data, tmp_path, count=1, epochs=1, folder=folder)
    assert not left.exists() and own.read_bytes() == b"half"


def test_parts_of_an_expert_that_was_finished_when_it_was_killed_go(tiny_data: RealData, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    buffer(tiny_data, tmp_path, count=2, epochs=1, folder=folder)
    parts = folder / "expert-0001.parts"
    parts.mkdir()
    (parts / "state.safetensors").write_bytes(b"kept once")
    before = expert_path(folder, 1).read_bytes()
    buffer(tiny_data, tmp_path, count=2, epochs=1, folder=folder)
    assert not parts.exists() and expert_path(folder, 1).read_bytes() == before


def test_who_waits_for_the_experts_of_another_process_says_so(
    tiny_data: RealData, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    with open(folder / ".lock-0", "ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        Timer(0.3, lock.close).start()
        buffer(tiny_data, tmp_path, count=1, epochs=1, folder=folder)
    assert f"another process trains experts in '{folder}'; waiting for it" in capsys.readouterr().err


def test_a_place_for_experts_that_cannot_be_written_is_a_mistake_of_the_person(
    tiny_data: RealData, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="could not be written"):
        buffer(tiny_data, tmp_path, count=1, epochs=1, folder=tmp_path / "file" / "experts")


def test_parts_of_a_learner_whose_code_changed_are_refused(
    tiny_data: RealData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = parts_of_one_cut_off(tiny_data, tmp_path, monkeypatch) / "0001.safetensors"
    save_file({name: value for name, value in load_file(snapshot).items() if "classifier" not in name}, snapshot)
    with pytest.raises(UserError, match="expert-0000.parts' has other parameters than the learner has now; delete it"):
        buffer(tiny_data, tmp_path, count=1, epochs=2, folder=tmp_path / "mine")


def test_a_file_written_snapshot_by_snapshot_is_what_safetensors_writes(tmp_path: Path) -> None:
    class Lazy:
        def __init__(self, values: torch.Tensor) -> None:
            self.values = values

        def __len__(self) -> int:
            return len(self.values)

        def __getitem__(self, at: int) -> torch.Tensor:
            return self.values[at]

    trajectory = {"weight": torch.randn(3, 2, 2), "bias ä": torch.randn(3), "a": torch.randn(3, 5)}
    known = {"learner": "größer"}
    write_expert(tmp_path / "one", trajectory, known, 7, 0.25)
    write_expert(tmp_path / "other", {name: Lazy(value) for name, value in trajectory.items()}, known, 7, 0.25)
    written = (tmp_path / "one").read_bytes()
    assert written == (tmp_path / "other").read_bytes()
    with safe_open(tmp_path / "one", framework="pt") as file:
        metadata = file.metadata()
    assert written == save(trajectory, metadata)


def test_experts_that_are_there_are_not_trained_again_unless_too_short(tiny_data: RealData, tmp_path: Path) -> None:
    first = buffer(tiny_data, tmp_path, epochs=2)
    path = expert_path(first.folder, 0)
    before, times = path.read_bytes(), path.stat().st_mtime_ns
    assert buffer(tiny_data, tmp_path, epochs=1).folder == first.folder
    assert path.stat().st_mtime_ns == times and path.read_bytes() == before
    longer = buffer(tiny_data, tmp_path, epochs=3)
    assert len(read_header(path)["checksums"]) == 4
    for at in range(3):  # the same steps, and one epoch more
        for name, value in read_snapshot(path, at).items():
            assert torch.equal(value, longer.snapshot(0, at)[name])


def test_two_processes_share_them_out(tiny_data: RealData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Processes, "barrier", lambda self: None)
    with pytest.raises(UserError, match="lacks 1 of 3 experts .* number 1"):
        buffer(tiny_data, tmp_path, processes=Processes(0, 2))
    shared = buffer(tiny_data, tmp_path, processes=Processes(1, 2))
    whole = buffer(tiny_data, tmp_path / "alone")
    for expert in range(3):
        assert expert_path(shared.folder, expert).read_bytes() == expert_path(whole.folder, expert).read_bytes()


def test_a_file_says_what_its_expert_is(tiny_data: RealData, tmp_path: Path) -> None:
    experts = buffer(tiny_data, tmp_path)
    header = read_header(expert_path(experts.folder, 2))
    known = identity(LEARNER, tiny_data, RECIPE)
    assert header["identity"] == known and header["number"] == 2 and experts.folder.name == folder_name(known)
    network = build_learner(LEARNER, tiny_data.description, 0)
    assert header["shapes"] == {name: tuple(value.shape) for name, value in network.named_parameters()}
    network.load_state_dict(experts.snapshot(2, 2))
    images, labels = tiny_data.validation.batch(torch.arange(30), tiny_data.description.normalisation)
    right = (network(images).argmax(1) == labels).float().mean()
    assert experts.accuracies()[2] == pytest.approx(float(right)) and float(right) > 0.5
    assert len(experts) == 3
    with safe_open(expert_path(experts.folder, 2), framework="pt") as file:
        assert file.get_tensor("classifier.weight").shape == (3, 3, network.classifier.in_features)


def test_another_recipe_or_training_set_is_another_folder(tiny_data: RealData) -> None:
    names = {
        folder_name(identity(LEARNER, data, recipe))
        for data in (tiny_data, RealData(tiny_data.description, tiny_data.test, *[tiny_data.validation] * 2))
        for recipe in (RECIPE, Recipe(), Recipe(seed=1))
    }
    assert len(names) == 6 and all(name.startswith("bands-") for name in names)


def test_a_named_folder_with_other_experts_is_refused(tiny_data: RealData, tmp_path: Path) -> None:
    buffer(tiny_data, tmp_path, folder=tmp_path / "mine")
    with pytest.raises(UserError, match="another recipe.*'lr': 0.05.*wanted.*'lr': 0.01.*choose another folder"):
        buffer(tiny_data, tmp_path, folder=tmp_path / "mine", recipe=Recipe(batch_size=40))
    other = RealData(tiny_data.description, tiny_data.test, tiny_data.validation, tiny_data.test)
    with pytest.raises(UserError, match="an expert of other training images"):
        buffer(other, tmp_path, folder=tmp_path / "mine")


def test_damaged_files_are_refused(tiny_data: RealData, tmp_path: Path) -> None:
    experts = buffer(tiny_data, tmp_path, count=1)
    path = expert_path(experts.folder, 0)
    good = path.read_bytes()
    path.write_bytes(good[: len(good) // 2])
    with pytest.raises(UserError, match="damaged.*delete it to have the expert trained anew"):
        buffer(tiny_data, tmp_path, count=1)
    with pytest.raises(UserError, match="damaged"):
        experts.snapshot(0, 1)
    path.write_bytes(good[:-3] + bytes([good[-3] ^ 64]) + good[-2:])
    tensors = load_file(path)
    flipped = [at for at in range(3) if not _readable(path, at)]
    assert len(flipped) == 1  # the last value of one parameter belongs to the last snapshot
    assert flipped == [2]
    with pytest.raises(UserError, match="snapshot 2 does not match its checksum"):
        experts.snapshot(0, 2)
    save_file(tensors, path)
    with pytest.raises(UserError, match="is not an expert"):
        buffer(tiny_data, tmp_path, count=1)
    save_file(tensors, path, {KEY: json.dumps({"format_version": 99})})
    with pytest.raises(UserError, match="version 99"):
        buffer(tiny_data, tmp_path, count=1)
    save_file(tensors, path, {KEY: "[not json"})
    with pytest.raises(UserError, match="damaged"):
        buffer(tiny_data, tmp_path, count=1)
    save_file(tensors, path, {KEY: json.dumps({"format_version": 1, "checksums": ["a"], "identity": {}})})
    with pytest.raises(UserError, match="not equally many"):
        buffer(tiny_data, tmp_path, count=1)
    path.unlink()
    with pytest.raises(UserError, match="there is no expert"):
        experts.snapshot(0, 1)


def _readable(path: Path, at: int) -> bool:
    try:
        read_snapshot(path, at)
    except UserError:
        return False
    return True


def test_a_snapshot_that_is_not_there_is_refused(tiny_data: RealData, tmp_path: Path) -> None:
    experts = buffer(tiny_data, tmp_path, count=1, epochs=1)
    with pytest.raises(UserError, match="snapshots 0 to 1, not 2"):
        experts.snapshot(0, 2)


def test_experts_of_another_network_are_refused(tiny_data: RealData, tmp_path: Path) -> None:
    experts = buffer(tiny_data, tmp_path, count=1, epochs=1)
    experts.check_fits(build_learner(LEARNER, tiny_data.description, 0))
    wide = objects.build(
        {**LEARNER, "init_args": {"width": 5, "depth": 1}}, nn.Module, num_classes=3, image_shape=(1, 8, 8)
    )
    with pytest.raises(UserError, match="other parameters than the learner ConvNet has now"):
        experts.check_fits(wide)


def test_a_diverging_expert_is_refused_and_not_written(tiny_data: RealData, tmp_path: Path) -> None:
    recipe = Recipe(lr=1e30, batch_size=40)
    with pytest.raises(UserError, match="expert 0 diverged at a learning rate of 1e"):
        buffer(tiny_data, tmp_path, count=1, recipe=recipe)
    assert not list((tmp_path / "experts").rglob("*.safetensors"))


def test_epochs_may_be_shorter_than_the_data(tiny_data: RealData, tmp_path: Path) -> None:
    recipe = Recipe(batch_size=40, updates=1)
    assert recipe.updates_per_epoch(96) == 1 and RECIPE.updates_per_epoch(96) == 3
    short, long = (
        buffer(tiny_data, tmp_path, 1, 3, recipe=recipe),
        buffer(tiny_data, tmp_path, 1, 1, recipe=Recipe(batch_size=40)),
    )
    for name, value in short.snapshot(0, 3).items():
        assert torch.equal(value, long.snapshot(0, 1)[name])


def test_without_validation_images_there_is_no_accuracy(tiny_data: RealData, tmp_path: Path) -> None:
    nothing = Split(tiny_data.validation.images[:0], tiny_data.validation.labels[:0])
    data = RealData(tiny_data.description, tiny_data.train, nothing, tiny_data.test)
    assert buffer(data, tmp_path, count=1, epochs=1).accuracies() == [None]


def test_writing_and_reading_keep_every_bit(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    trajectory = {"a": torch.randn(3, 2, 2, generator=generator), "scale": torch.randn(3, generator=generator)}
    write_expert(tmp_path / "e.safetensors", trajectory, {"recipe": {}}, 7, 0.5)
    for at in range(3):
        found = read_snapshot(tmp_path / "e.safetensors", at)
        assert found.keys() == trajectory.keys()
        assert all(torch.equal(found[name], value[at]) for name, value in trajectory.items())
    header = read_header(tmp_path / "e.safetensors")
    assert header["shapes"] == {"a": (2, 2), "scale": ()} and header["accuracy"] == 0.5


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"lr": 0.0}, "lr must be positive"),
        ({"lr": float("nan")}, "expert.lr is nan; give numbers that are finite"),
        ({"momentum": 1.0}, "momentum"),
        ({"batch_size": 0}, "batch_size"),
        ({"updates": 0}, "updates"),
        ({"seed": -1}, "seed"),
        ({"augment": "flop"}, "did you mean 'flip'"),
        ({"augment_mode": "some"}, "single, each, all"),
        ({"momentun": 0.5}, "did you mean 'momentum'"),
    ],
)
def test_wrong_recipes_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Recipe.of(given)
