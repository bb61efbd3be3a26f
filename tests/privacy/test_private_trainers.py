"""Private trainers: the promise in the file, kill and resume, and the twelve things that silently break privacy."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from private_runs import LEARNER, METHODS, embedding, gan, gradients, matching, run, silent
from torch import Tensor

from gendistill import teacher as teachers
from gendistill.data.real import RealData, Split
from gendistill.errors import UserError
from gendistill.evaluation.continual import continual_learning
from gendistill.evaluation.evaluate import evaluate
from gendistill.evaluation.judging import judged
from gendistill.privacy import noise
from gendistill.privacy.promise import KEY, NOT_PRIVATE, sentence
from gendistill.privacy.stand_in import GREY, stand_in
from gendistill.runs.callbacks import Callback
from gendistill.runs.loop import train
from gendistill.runs.options import RunOptions
from gendistill.runs.processes import Processes
from trainers.mean_embedding import MeanEmbeddingTrainer
from trainers.private_matching import unit_features
from trainers.record_gradients import in_shapes, record_gradients


def ledger(root: Path, name: str = "run") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((root / name / "privacy.json").read_text())["entries"]
    return found


def images_of(root: Path, name: str = "run") -> dict[str, Tensor]:
    return teachers.load(root / name / "teacher.safetensors").tensors()


@pytest.mark.parametrize("method", METHODS)
def test_the_file_says_what_is_promised(tiny_data: RealData, tmp_path: Path, method: str) -> None:
    run(METHODS[method](epsilon=2.0), tiny_data, tmp_path)
    teacher = teachers.load(tmp_path / "run" / "teacher.safetensors")
    noted = teacher.metadata[KEY]
    assert 0 < noted["epsilon"] <= 2.0 and noted["budget"] == 2.0 and noted["delta"] == 1e-5
    assert noted["adjacency"] == "add-remove" and noted["unit"] == "one image" and noted["accountant"]
    assert noted["calls"] == ledger(tmp_path) and any("class_size" in one for one in noted["public"])
    assert teacher.metadata["data"] == {} and "os.urandom" in noted["noise"]
    assert sentence(noted).startswith("differentially private: epsilon ") and sentence(None) == NOT_PRIVATE


@pytest.mark.parametrize("method", METHODS)
def test_killed_and_continued_it_releases_nothing_twice_and_ends_the_same(
    tiny_data: RealData, tmp_path: Path, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run is cut off between two saved states; sums that it had kept are read again, to the bit, and not counted."""
    make = METHODS[method]

    class Cut(Exception):
        pass

    trainer = make()
    step = type(trainer).train_step

    def cut(self: Any, batch: Any) -> Any:
        found = step(self, batch)
        if self.step == 4:  # made, and not saved
            raise Cut
        return found

    monkeypatch.setattr(type(trainer), "train_step", cut)
    with pytest.raises(Cut):
        run(trainer, tiny_data, tmp_path)
    before = ledger(tmp_path)
    kept = {path.name: path.read_bytes() for path in (tmp_path / "run" / "releases").iterdir()}
    monkeypatch.undo()
    run(make(), tiny_data, tmp_path)
    again = {path.name: path.read_bytes() for path in (tmp_path / "run" / "releases").iterdir()}
    assert all(again[name] == content for name, content in kept.items() if name in again)
    calls = {"matching": 3, "embedding": 1, "gan": 12, "gradients": 3}[method]
    assert [entry["calls"] for entry in ledger(tmp_path)] == [calls] and before[0]["calls"] <= calls


def test_it_refuses_to_go_on_where_the_budget_ends(tiny_data: RealData, tmp_path: Path) -> None:
    run(gan(spare=0), tiny_data, tmp_path, steps=3)
    spent = ledger(tmp_path)
    with pytest.raises(UserError, match="nothing was drawn"):
        run(gan(spare=0), tiny_data, tmp_path, steps=8)
    assert ledger(tmp_path) == spent


def test_fresh_gives_no_budget_back(tiny_data: RealData, tmp_path: Path) -> None:
    run(matching(), tiny_data, tmp_path)
    first = images_of(tmp_path)["images"]
    run(matching(), tiny_data, tmp_path, fresh=True)  # the same sums are matched anew, and cost nothing
    assert torch.equal(images_of(tmp_path)["images"], first) and ledger(tmp_path)[0]["calls"] == 3
    with pytest.raises(UserError, match="with run.fresh, too"):
        run(matching(), tiny_data, tmp_path, fresh=True, seed=5)


# -- the twelve ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", ["real", "real:kcenter=2", "real:ipc=2"])
def test_1_images_do_not_start_from_real_ones(start: str) -> None:
    for make in (matching, gradients):
        with pytest.raises(UserError, match="starts from private images"):
            make(images=start)


def test_2_noise_is_not_that_of_a_seed(tiny_data: RealData, tmp_path: Path) -> None:
    for name in ("one", "two"):
        run(matching(), tiny_data, tmp_path, name)
    pair = [images_of(tmp_path, name)["images"] for name in ("one", "two")]
    assert not torch.equal(*pair)
    states = [torch.load(tmp_path / name / "state.pt", weights_only=True)["streams"] for name in ("one", "two")]
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_3_without_noise_the_release_alone_is_kept(
    tiny_data: RealData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With noise on, no tensor of state or releases is the clean sum."""
    clean: list[Tensor] = []
    drawn = noise.system_normal

    def spy(count: int) -> Tensor:
        return drawn(count)

    monkeypatch.setattr("gendistill.privacy.mechanism.system_normal", spy)
    trainer = embedding()
    run(trainer, tiny_data, tmp_path, "noisy")
    silent(monkeypatch)
    run(embedding(), tiny_data, tmp_path, "clean")
    clean = [torch.load(tmp_path / "clean" / "state.pt", weights_only=True)["trainer"]["means"]]
    noisy = torch.load(tmp_path / "noisy" / "state.pt", weights_only=True)["trainer"]
    assert noisy["means"].shape == clean[0].shape and float((noisy["means"] - clean[0]).abs().min()) > 0
    assert "sums" not in noisy and "_withheld" not in noisy


def test_4_normalisation_is_a_public_constant_and_whitening_is_refused(tiny_data: RealData) -> None:
    known = matching().known_of(tiny_data)
    assert known.description.normalisation.mean == (0.5,) and known.description.normalisation.std == (0.5,)
    whitened = tiny_data.with_normalisation(tiny_data.whitening())
    with pytest.raises(UserError, match="whitening"):
        matching().known_of(whitened)


def test_5_class_sizes_are_declared(tiny_data: RealData) -> None:
    for make in METHODS.values():
        with pytest.raises(UserError, match=r"class_size is None; give about how many"):
            make(class_size=None)
    assert len(stand_in(tiny_data, 7).train) == 9 and bool((stand_in(tiny_data).train.images == GREY).all())


def test_6_networks_take_no_statistics_and_no_lessons_of_private_images(tiny_data: RealData, tmp_path: Path) -> None:
    batch = {**LEARNER, "init_args": {**LEARNER["init_args"], "normalisation": "batch"}}  # type: ignore[dict-item]
    for number, make in enumerate((matching, gradients)):
        with pytest.raises(UserError, match="has batch norm"):
            run(make(learner=batch), tiny_data, tmp_path, f"{number}")
    judge = {
        "class_path": "gendistill.nets.dcgan.ConditionalDCGANDiscriminator",
        "init_args": {"ndf": 4, "bottom_width": 2},
    }
    with pytest.raises(UserError, match="has batch norm"):
        run(gan(discriminator=judge), tiny_data, tmp_path, "gan")
    for make in METHODS.values():
        for option in ("probe", "labeller", "terms"):
            with pytest.raises(TypeError, match=option):
                make(**{option: {"state": "pool"}})
    trainer = matching()
    with pytest.raises(UserError, match="private"):
        trainer.draw_real("loss", 3)


def test_7_nothing_is_chosen_on_private_images(tiny_data: RealData, tmp_path: Path) -> None:
    run(matching(), tiny_data, tmp_path)
    teacher = teachers.load(tmp_path / "run" / "teacher.safetensors")
    learning: dict[str, Any] = {"updates": [3], "seeds": 1, "batch_size": 4, "device": "cpu"}
    for rates in ("grid", [0.01, 0.1]):
        with pytest.raises(UserError, match="validation images choose one"):
            evaluate(teacher, tiny_data, learning=learning | {"lr": rates}, fidelity=None)
    found = evaluate(teacher, tiny_data, learning=learning, fidelity=None)
    assert "0.01" in json.dumps(found["learning"]) and matching().tunable(torch.device("cpu")) == {}
    assert found["dataset_fingerprint"] == evaluate(
        teacher, replace(tiny_data, train=tiny_data.test), learning=learning, fidelity=None
    )["dataset_fingerprint"]  # fmt: skip
    assert found["notes"][0].startswith("differentially private: epsilon")
    # Nor where learners are trained beside: in stages, and of other kinds.
    more = judged(teacher, tiny_data, learning=learning, fidelity=None, continual=1, others=[LEARNER])
    assert [one["lr"] for one in more["architectures"]] == [[0.01], [0.01]]
    for changed in (replace(tiny_data, validation=tiny_data.test), tiny_data):
        assert continual_learning(teacher, changed, stages=1, **learning)["accuracy"] == more["continual"]["accuracy"]
    with pytest.raises(UserError, match="validation images choose one"):
        continual_learning(teacher, tiny_data, stages=1, **learning | {"lr": "grid"})


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"keep_best": {}}, "run.keep_best chooses a step by validation images"),
        ({"evaluate_every": 2}, "run.evaluate_every is 2"),
    ],
)
def test_7_a_run_is_not_measured_on_private_images(
    tiny_data: RealData, tmp_path: Path, option: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        run(matching(), tiny_data, tmp_path, **option)
    assert not (tmp_path / "run" / "privacy.json").exists(), "it is refused before anything is released"


def test_8_callbacks_and_loggers_are_given_grey_images(tiny_data: RealData, tmp_path: Path) -> None:
    class Looks(Callback):
        seen: list[Tensor] = []

        def on_end(self, now: Any) -> None:
            parts = (now.data.train, now.data.validation, now.data.test)
            self.seen += [part.images.unique() for part in parts]

    quiet: dict[str, Any] = {"name": "run", "root": str(tmp_path), "steps": 2, "device": "cpu", "progress": False}
    train(matching(), tiny_data, RunOptions(**quiet), callbacks=[Looks()])
    assert Looks.seen and all(torch.equal(one, torch.tensor([GREY], dtype=torch.uint8)) for one in Looks.seen)


def test_8_and_9_the_run_holds_nothing_of_the_data(tiny_data: RealData, tmp_path: Path) -> None:
    """What the taint test finds in bytes is here by name: no count, checksum, note or picture of real images."""
    data = replace(tiny_data, notes=("3 pictures were left out",))
    run(matching(), data, tmp_path)
    state = torch.load(tmp_path / "run" / "state.pt", weights_only=True)
    assert state["data"]["train"]["images"] == 66 and len(data.train) == 96  # grey images, as many as a batch and more
    assert "left out" not in (tmp_path / "run" / "log.txt").read_text()


def test_10_augmentation_gives_a_record_one_vector(tiny_data: RealData, tmp_path: Path) -> None:
    trainer = matching()
    run(trainer, tiny_data, tmp_path)
    vectors = unit_features(trainer.network_of(0), trainer.normalisation.apply(tiny_data.train.images[:5]))
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(5))


def test_11_the_unit_is_said(tiny_data: RealData, tmp_path: Path) -> None:
    run(matching(unit="one picture of a person"), tiny_data, tmp_path)
    said = sentence(teachers.load(tmp_path / "run" / "teacher.safetensors").metadata[KEY])
    assert "(one picture of a person)" in said and "several images of one person are not covered together" in said


def test_12_several_processes_are_refused(tiny_data: RealData, tmp_path: Path) -> None:
    from gendistill.runs.context import RunContext
    from gendistill.runs.directory import RunDirectory
    from gendistill.runs.options import RunOptions
    from gendistill.seeds import Streams

    trainer = matching()
    options = RunOptions(root=str(tmp_path), device="cpu")
    context = RunContext(options, RunDirectory(tmp_path, "run"), torch.device("cpu"), Streams(0), Processes(0, 2))
    with pytest.raises(UserError, match="made by one process"):
        trainer.attach(context, trainer.known_of(tiny_data))


# -- what the methods compute -------------------------------------------------------------------------------------


def test_without_noise_the_means_are_those_of_a_slow_loop(
    tiny_data: RealData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent(monkeypatch)
    trainer = matching(chunk=5)
    run(trainer, tiny_data, tmp_path, steps=1)
    for place in range(3):
        network, change = trainer.network_of(place), trainer.change_of(place)
        for label in range(3):
            own = tiny_data.train.images[tiny_data.train.labels == label]
            total = torch.zeros(trainer.means.shape[-1], dtype=torch.float64)
            for image in own:
                features = network.features(change(trainer.normalisation.apply(image[None])[None], label)[0])
                total += (features / features.norm()).double()[0]
            torch.testing.assert_close(trainer.means[place, label], (total / 30).float(), rtol=1e-4, atol=1e-6)


def test_a_mean_embedding_is_that_of_the_kernel(tiny_data: RealData, tmp_path: Path) -> None:
    """z(x) . z(y) is exp(-|x - y|^2 / (2 s)) as frequencies grow; its norm is 1."""
    trainer = MeanEmbeddingTrainer(class_size=30, frequencies=20_000, bandwidths=[0.1], batch_size=3)
    run(trainer, tiny_data, tmp_path, steps=1)
    images = trainer.normalisation.apply(tiny_data.train.images[:6])
    pixels = (tiny_data.train.images[:6].double() / 255).flatten(1)
    found = trainer.embedded(images).double()
    expected = torch.exp(-torch.cdist(pixels, pixels).square() / (2 * 0.1 * 64))
    torch.testing.assert_close(found @ found.T, expected, rtol=0, atol=0.03)


def test_gradients_of_records_are_those_of_a_loop() -> None:
    from torch.nn.functional import cross_entropy

    from gendistill.nets.learners import ConvNet

    torch.manual_seed(0)
    network = ConvNet(3, (1, 8, 8), width=4, depth=2).eval()
    images, labels = torch.randn(5, 1, 8, 8), torch.tensor([0, 1, 2, 0, 1])
    found = record_gradients(network, lambda net, x, y: cross_entropy(net(x[None]), y[None]), images, labels)
    for place in range(5):
        network.zero_grad()
        cross_entropy(network(images[place : place + 1]), labels[place : place + 1]).backward()
        pieces = in_shapes(found[place], network)
        for piece, parameter in zip(pieces, network.parameters(), strict=True):
            torch.testing.assert_close(piece, parameter.grad, rtol=1e-4, atol=1e-6)


def test_a_pair_s_gradient_without_noise_is_that_of_the_usual_loss(
    tiny_data: RealData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All records, no noise, no clipping, one generated image: the sum is the gradient of the discriminator's loss."""
    silent(monkeypatch)
    trainer = gan(batch_size=3, clip=1e6, class_size=1, n_dis=1, epsilon=1e5)  # 3 of 3 records: the rate is 1
    small = replace(tiny_data, train=Split(tiny_data.train.images[:3], tiny_data.train.labels[:3]))
    seen: dict[str, Any] = {}

    def one_image(self: Any) -> Any:
        from trainers.batch import Batch

        image = torch.linspace(-1, 1, 64).view(1, 1, 8, 8).expand(3, -1, -1, -1)
        return Batch(image, torch.zeros(3, dtype=torch.int64))

    def keep(self: Any) -> None:
        seen["gradient"] = [parameter.grad.clone() for parameter in self.discriminator.parameters()]

    monkeypatch.setattr(type(trainer), "fakes", one_image)
    monkeypatch.setattr(type(trainer), "generator_step", keep)
    weights: dict[str, Tensor] = {}
    build = type(trainer).build

    def built(self: Any) -> None:
        build(self)
        weights.update({name: value.clone() for name, value in self.discriminator.state_dict().items()})

    monkeypatch.setattr(type(trainer), "build", built)
    run(trainer, small, tmp_path, steps=1, sample_every=0)
    trainer.discriminator.load_state_dict(weights)
    trainer.discriminator.zero_grad()
    fake = one_image(None)
    real = trainer.discriminator(trainer.normalisation.apply(small.train.images), small.train.labels)
    judged = trainer.discriminator(fake.images, fake.labels)
    trainer.discriminator.compute_gan_loss(output_real=real, output_fake=judged).backward()
    for parameter, found in zip(trainer.discriminator.parameters(), seen["gradient"], strict=True):
        torch.testing.assert_close(found, parameter.grad, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("by_class", [True, False])
def test_gradients_without_noise_are_those_of_the_images_of_a_class_or_of_all(
    tiny_data: RealData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by_class: bool
) -> None:
    """All records, no noise, no clipping: what images are to match is the gradient of the cross-entropy on records."""
    silent(monkeypatch)
    index = torch.cat([(tiny_data.train.labels == label).nonzero().flatten()[:2] for label in range(3)])
    small = replace(tiny_data, train=Split(tiny_data.train.images[index], tiny_data.train.labels[index]))
    trainer = gradients(by_class=by_class, class_size=2, sample=6, clip=1e6, epsilon=1e5)
    run(trainer, small, tmp_path, steps=1, sample_every=0)
    images = trainer.normalisation.apply(small.train.images)
    for place in range(3):
        network = trainer.gradient_network(place)
        found = trainer.released(place, network)
        assert len(found) == (3 if by_class else 1)
        for label, row in enumerate(found):
            rows = small.train.labels == label if by_class else slice(None)
            loss = torch.nn.functional.cross_entropy(network(images[rows]), small.train.labels[rows])
            expected = torch.autograd.grad(loss, list(network.parameters()))
            for piece, one in zip(in_shapes(row, network), expected, strict=True):
                torch.testing.assert_close(piece, one, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("by_class", [True, False])
def test_a_step_moves_classes_whose_gradient_is_another_one(
    tiny_data: RealData, tmp_path: Path, by_class: bool
) -> None:
    trainer = gradients(optimizer="sgd", by_class=by_class)
    run(trainer, tiny_data, tmp_path, steps=1, sample_every=0)
    network = trainer.gradient_network(0)
    before = trainer.images.detach().clone()
    labels = torch.arange(3)[:, None].expand(-1, 2)
    losses = torch.nn.functional.cross_entropy(network(before.flatten(0, 1)), labels.flatten(), reduction="none")
    of_classes = losses.view(3, 2).mean(1)
    parts = list(of_classes) if by_class else [of_classes.mean()]
    wanted = [torch.autograd.grad(part, list(network.parameters()), retain_graph=True) for part in parts]
    if by_class:
        wanted[2] = wanted[0]  # the other two have what they are to have
    trainer.wanted = torch.stack([torch.cat([piece.flatten() for piece in one]) for one in wanted])
    trainer.optimizer.param_groups[0].update(lr=0.1, momentum=0.0)
    trainer.optimizer.state.clear()
    distance = trainer.match(network, torch.zeros(3, 1))
    assert (distance > 1e-3) == by_class
    moved = (trainer.images.detach() - before).flatten(1).abs().amax(1)
    assert (moved > 1e-3).tolist() == [False, False, by_class]


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (matching, {"epsilon": 0}, "epsilon"),
        (matching, {"networks": 0}, "networks"),
        (matching, {"average": 1.0}, "average"),
        (embedding, {"bandwidths": [0.0]}, "bandwidths"),
        (gan, {"loss_type": "relativistic"}, "relativistic"),
        (gan, {"clip": 0.0}, "clip"),
        (gradients, {"spare": -1}, "spare"),
    ],
)
def test_options_out_of_range_are_refused(make: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make(**options)


def test_a_sample_larger_than_the_data_is_refused(tiny_data: RealData, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="a smaller one"):
        run(gradients(sample=1000), tiny_data, tmp_path)
