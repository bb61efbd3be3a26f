from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gendistill.data.augment import augment
from gendistill.data.cutmix import cutmix
from gendistill.data.description import Normalisation
from gendistill.data.real import RealData
from gendistill.errors import UserError
from gendistill.evaluation.continual import remembered
from gendistill.evaluation.ensemble import Separate
from gendistill.evaluation.learning import learning_curve
from gendistill.evaluation.lessons import Lessons
from gendistill.evaluation.rates import Candidate
from gendistill.evaluation.robust_scores import robust_scores
from gendistill.evaluation.stacked import Stacked
from gendistill.evaluation.victims import trained_learners
from gendistill.evaluation.workers import Workers
from gendistill.objects import build
from gendistill.seeds import initialisation, stream
from gendistill.teacher import (
    GeneratorTeacher,
    Labeller,
    RealSubset,
    StoredImages,
    Teacher,
    describe,
    export,
    labelled,
    load,
    open_teacher,
    save,
)  # fmt: skip
from gendistill.teacher.fit import fitted
from gendistill.teacher.labeller import PREFIX

CONVNET: dict[str, Any] = {"class_path": "gendistill.nets.learners.ConvNet", "init_args": {"width": 4, "depth": 1}}
OWN = Normalisation((0.5,), (0.25,))


def drawn(lessons: Lessons, until: int) -> list[list[tuple[Tensor, Tensor]]]:
    """Return the batches of each seed up to a number of updates."""
    found: list[list[tuple[Tensor, Tensor]]] = [[] for _ in lessons.streams]
    for chunk in lessons.chunks([until]):
        for batches, more in zip(found, chunk, strict=True):
            batches += more
    return found


def network(data: RealData, **options: Any) -> nn.Module:
    spec = {**CONVNET, "init_args": CONVNET["init_args"] | options}
    description = data.description
    with initialisation(3, "labeller"):
        return build(spec, nn.Module, num_classes=description.num_classes, image_shape=description.image_shape)


@pytest.fixture
def subset(tiny_data: RealData) -> RealSubset:
    return RealSubset.random(tiny_data.train, tiny_data.description, generator=stream(0, "x"), images_per_class=4)


@pytest.fixture
def labeller(tiny_data: RealData) -> Labeller:
    return Labeller(network(tiny_data), OWN, temperature=2.0)


def test_labels_are_the_softened_answers_to_images_as_the_network_knows_them(
    tiny_data: RealData, labeller: Labeller
) -> None:
    pixels = tiny_data.train.images[:5] / 255
    seen = tiny_data.description.normalisation.apply(tiny_data.train.images[:5])
    expected = (labeller.network((pixels - 0.5) / 0.25) / 2).softmax(1)
    found = labeller(seen.requires_grad_(), tiny_data.description.normalisation)
    torch.testing.assert_close(found, expected.detach(), rtol=1e-4, atol=1e-5)
    assert not found.requires_grad
    torch.testing.assert_close(
        labeller.in_order([2, 0, 1])(seen, tiny_data.description.normalisation)[:, [2, 0, 1]], found
    )
    two = labeller.of_classes([2, 0])(seen, tiny_data.description.normalisation)
    torch.testing.assert_close(two, found[:, [2, 0]] / found[:, [2, 0]].sum(1, keepdim=True))


def test_it_is_a_copy_in_evaluation_mode(tiny_data: RealData) -> None:
    net = network(tiny_data, normalisation="batch").train()
    labeller = Labeller(net, OWN)
    before = {name: value.clone() for name, value in labeller.network.state_dict().items()}
    images = tiny_data.train.batch(torch.arange(8), OWN)[0]
    alone = torch.cat([labeller(image[None], OWN) for image in images])
    torch.testing.assert_close(labeller(images, OWN), alone)  # running statistics, not those of the batch
    with torch.no_grad():
        for weight in net.parameters():
            weight.add_(1.0)
    assert all(torch.equal(value, before[name]) for name, value in labeller.network.state_dict().items())


@pytest.mark.parametrize("temperature", [0, -1, float("nan"), float("inf"), True, "4"])
def test_a_temperature_is_positive(tiny_data: RealData, temperature: Any) -> None:
    with pytest.raises(UserError, match="temperature is .*; give a positive number"):
        Labeller(network(tiny_data), OWN, temperature=temperature)


def test_its_bytes_stand_apart(subset: RealSubset, labeller: Labeller) -> None:
    plain, teacher = subset.budget(), labelled(subset, labeller)
    weights = sum(4 * weight.numel() for weight in labeller.network.parameters())
    assert teacher.budget() == plain | {"bytes": plain["bytes"] + weights, "labeller_bytes": weights}
    assert subset.labeller is None and labelled(teacher, None).budget() == plain


def test_learners_are_given_labels_of_the_augmented_image(
    tiny_data: RealData, subset: RealSubset, labeller: Labeller
) -> None:
    teacher, how = labelled(subset, labeller), {"augment": "crop_rotate", "augment_mode": "single"}
    lessons = Lessons(teacher, tiny_data.description, [0, 1], 3, 6, **how)  # type: ignore[arg-type]
    for seed, batches in enumerate(drawn(lessons, 3)):
        shown = subset.batches(3, 6, stream(seed, "evaluation/batches"))
        draws = stream(seed, "evaluation/augment")
        for (images, labels), (raw, _, _) in zip(batches, shown, strict=True):
            assert torch.equal(images, augment(raw, "crop_rotate", draws))
            assert torch.equal(labels, labeller(images, tiny_data.description.normalisation))
    for words, expected in (("hard", True), ("stored", False)):
        lessons = Lessons(teacher, tiny_data.description, [0], 3, 6, labels=words, **how)  # type: ignore[arg-type]
        ((images, labels),) = drawn(lessons, 1)[0]
        asked = labeller(images, tiny_data.description.normalisation).argmax(1)
        _, own, _ = next(subset.batches(1, 6, stream(0, "evaluation/batches")))
        assert torch.equal(labels, asked if expected else own) and lessons.temperature == 1


def test_mixed_images_are_labelled_as_they_are_shown(
    tiny_data: RealData, subset: RealSubset, labeller: Labeller
) -> None:
    teacher, classes = labelled(subset, labeller), tiny_data.description.num_classes
    for augmentation in (None, "crop"):
        lessons = Lessons(teacher, tiny_data.description, [0, 1], 3, 6, augment=augmentation, cutmix=1.0)
        plain = Lessons(subset, tiny_data.description, [0, 1], 3, 6, augment=augmentation, cutmix=1.0)
        for seed, (batches, unlabelled) in enumerate(zip(drawn(lessons, 3), drawn(plain, 3), strict=True)):
            shown = subset.batches(3, 6, stream(seed, "evaluation/batches"))
            draws = stream(seed, "evaluation/augment")
            for (images, labels), (same, mixture), (raw, own, _) in zip(batches, unlabelled, shown, strict=True):
                moved = raw if augmentation is None else augment(raw, augmentation, draws)
                mixed, soft = cutmix(moved, own, classes, draws)
                assert torch.equal(images, mixed) and torch.equal(same, mixed) and torch.equal(mixture, soft)
                assert torch.equal(labels, labeller(images, tiny_data.description.normalisation))
    hard = Lessons(teacher, tiny_data.description, [0], 3, 6, cutmix=1.0, labels="hard")
    ((images, labels),) = drawn(hard, 1)[0]
    assert torch.equal(labels, labeller(images, tiny_data.description.normalisation).argmax(1))


def test_after_an_interruption_batches_are_mixed_on(tiny_data: RealData, subset: RealSubset) -> None:
    def lessons() -> Lessons:
        return Lessons(subset, tiny_data.description, [0], 6, 5, cutmix=0.5)

    whole, rest = lessons(), lessons()
    drawn(whole, 2)
    rest.skip(2, [generator.get_state() for generator in whole.augmenters])
    for one, other in zip(drawn(whole, 6)[0], drawn(rest, 6)[0], strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_after_an_interruption_labels_go_on(tiny_data: RealData, subset: RealSubset, labeller: Labeller) -> None:
    def lessons() -> Lessons:
        return Lessons(labelled(subset, labeller), tiny_data.description, [0], 6, 5, augment="crop")

    whole, rest = lessons(), lessons()
    assert len(drawn(whole, 2)[0]) == 2
    rest.skip(2, [generator.get_state() for generator in whole.augmenters])
    second, again = drawn(whole, 6)[0], drawn(rest, 6)[0]
    assert len(second) == len(again) == 4
    assert all(
        torch.equal(a, b) for one, other in zip(second, again, strict=True) for a, b in zip(one, other, strict=True)
    )


@pytest.mark.parametrize("kind", [Separate, Stacked])
def test_learners_are_asked_at_its_temperature(
    tiny_data: RealData, subset: RealSubset, labeller: Labeller, kind: Any
) -> None:
    way = Candidate(0.1, (0.1,) * 2, (0.0,) * 2, 0.0)
    lessons = Lessons(labelled(subset, labeller), tiny_data.description, [0], 2, 6)
    with Workers(1) as workers:
        ensemble = kind(
            CONVNET, tiny_data.description, [0], [way], optimizer="sgd", device=torch.device("cpu"), workers=workers,
            temperature=lessons.temperature,
        )  # fmt: skip
        with initialisation(0, "evaluation/learner"):
            slow = build(CONVNET, nn.Module, num_classes=3, image_shape=(1, 8, 8))
        batches = drawn(lessons, 2)
        ensemble.train(batches, 0)
    for images, labels in batches[0]:
        # KL divergence of the answers at temperature 2, as in the papers; its gradient is that of the cross-entropy.
        loss = F.kl_div(F.log_softmax(slow(images) / 2, 1), labels, reduction="batchmean")
        for weight, gradient in zip(slow.parameters(), torch.autograd.grad(loss, list(slow.parameters())), strict=True):
            weight.data -= 0.1 * gradient
    expected = torch.cat([weight.detach().flatten() for weight in slow.parameters()])
    torch.testing.assert_close(ensemble.parameters[0], expected, rtol=1e-4, atol=1e-6)


def test_learning_from_labels_of_a_good_network(tiny_data: RealData, subset: RealSubset) -> None:
    (net,) = trained_learners(CONVNET, tiny_data, [5], updates=60)
    teacher = labelled(
        StoredImages(*subset.everything(), tiny_data.description),
        Labeller(net, tiny_data.description.normalisation, temperature=2.0),
    )
    wrong = labelled(teacher, Labeller(net, tiny_data.description.normalisation).in_order([1, 2, 0]))
    options: dict[str, Any] = {"learner": CONVNET, "updates": [40], "seeds": 2, "lr": 0.3, "augment": "crop"}
    right, mistaken = (learning_curve(one, tiny_data, **options)["accuracy"]["mean"][0] for one in (teacher, wrong))
    assert right > 0.8 and mistaken < 0.2
    both = [learning_curve(teacher, tiny_data, batched=batched, **options) for batched in (False, True)]
    assert both[0]["accuracy"]["mean"] == both[1]["accuracy"]["mean"]


@pytest.mark.parametrize("kind", ["hard", "soft", "subset", "fresh", "pool", "curriculum"])
def test_a_file_keeps_it_whatever_it_labels(
    make: Callable[[str], Teacher], description: Any, kind: str, tmp_path: Path
) -> None:
    spec = {**CONVNET, "init_args": CONVNET["init_args"] | {"normalisation": "batch"}}
    with initialisation(0, "labeller"):
        net = build(spec, nn.Module, num_classes=3, image_shape=(1, 4, 4))
    labeller = Labeller(net, OWN, temperature=4, columns=[2, 0, 1])
    teacher = labelled(make(kind), labeller)
    save(teacher, tmp_path / "t.safetensors")
    noted = describe(tmp_path / "t.safetensors")
    assert noted["format_version"] == 4 and noted["labeller_bytes"] == labeller.bytes_stored
    assert noted["bytes"] == teacher.bytes_stored == make(kind).bytes_stored + labeller.bytes_stored
    found = load(tmp_path / "t.safetensors")
    images = torch.randn(3, *description.image_shape)
    assert found.labeller is not None and found.labeller.temperature == 4
    assert torch.equal(found.labeller(images, description.normalisation), labeller(images, description.normalisation))
    assert found.budget() == teacher.budget()
    save(found, tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == (tmp_path / "t.safetensors").read_bytes()


def header(**changed: Any) -> Callable[[dict[str, Any], dict[str, Tensor]], Any]:
    return lambda noted, tensors: noted["labeller"].update(changed)


STRANGE: list[tuple[Callable[[dict[str, Any], dict[str, Tensor]], Any], str]] = [
    (header(temperature=0), "temperature is 0"), (header(temperature="x"), "temperature is 'x'"),
    (header(network={"class_path": "os.system", "init_args": {}}), "outside this project"),
    (header(network=None), "labeller does not name a class as 'class_path'"),
    (header(network={**CONVNET, "init_args": {"width": 10**6}}), "far larger than the weights|lacks|shape"),
    (header(normalisation=None), "how its labeller is built and what it sees"),
    (header(columns=[0]), "one answer for each of 3"),
    (header(columns=[0, 1, 9]), "cannot look at images|out of bounds"),
    (header(normalisation={"mean": [0.1, 0.2], "std": [1, 1]}), "cannot look at images|must give"),
    (lambda noted, tensors: noted.pop("labeller"), "how its labeller is built"),
    (lambda noted, tensors: tensors.pop(sorted(tensors)[1]), "lacks the weights"),
    (lambda noted, tensors: tensors.update({f"{PREFIX}x": torch.zeros(1)}), "does not have"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "message"), STRANGE)
def test_what_a_strange_file_says_of_it_is_refused(
    subset: RealSubset, labeller: Labeller, tmp_path: Path, change: Any, message: str
) -> None:
    from test_decoded_teachers import hostile

    save(labelled(subset, labeller), tmp_path / "t.safetensors")
    hostile(tmp_path / "t.safetensors", change)
    with pytest.raises(UserError, match=message):
        load(tmp_path / "t.safetensors")


def test_networks_that_do_not_suit_are_refused(tiny_data: RealData, subset: RealSubset) -> None:
    with pytest.raises(UserError, match="must give 3 finite numbers an image of 'bands'"):
        labelled(subset, Labeller(network(tiny_data, num_classes=5), OWN))
    with pytest.raises(UserError, match="cannot look at images of 'bands'"):
        labelled(subset, Labeller(network(tiny_data, image_shape=(3, 8, 8)), Normalisation((0.5,) * 3, (0.5,) * 3)))
    with pytest.raises(UserError, match="cannot be saved without its spec"):
        save(labelled(subset, Labeller(nn.Sequential(nn.Flatten(), nn.Linear(64, 3)), OWN)), "unwritten.safetensors")


def test_any_teacher_takes_the_labeller_of_another_by_name(
    tiny_data: RealData, subset: RealSubset, labeller: Labeller, tmp_path: Path
) -> None:
    save(labelled(subset, labeller), tmp_path / "with.safetensors")
    save(subset, tmp_path / "without.safetensors")
    random = open_teacher(f"real:ipc=5,labels={tmp_path / 'with.safetensors'}", tiny_data)
    assert isinstance(random, RealSubset) and random.images_stored == 15
    assert random.budget()["labeller_bytes"] == labeller.bytes_stored
    other = open_teacher(f"{tmp_path / 'without.safetensors'},labels={tmp_path / 'with.safetensors'}")
    assert other.labeller is not None
    with pytest.raises(UserError, match="has no labeller to give away; name one that was saved with a labeller"):
        open_teacher(f"real:ipc=5,labels={tmp_path / 'without.safetensors'}", tiny_data)
    export(random, tmp_path / "out", "safetensors")
    assert open_teacher(tmp_path / "out", tiny_data).labeller is not None
    result = export(random, tmp_path / "plain", "pt")
    assert "the labeller stays behind: labels are those that are stored; safetensors keeps it" in result["lost"]
    assert open_teacher(tmp_path / "plain", tiny_data).labeller is None


def test_classes_in_another_order_and_some_classes(tiny_data: RealData, subset: RealSubset, labeller: Labeller) -> None:
    teacher, images = labelled(subset, labeller), tiny_data.train.batch(torch.arange(4), OWN)[0]
    turned = replace(tiny_data.description, class_names=("middle", "bottom", "top"))
    found = fitted(teacher, turned).labeller
    assert found is not None
    torch.testing.assert_close(found(images, OWN), labeller(images, OWN)[:, [1, 2, 0]])
    part = remembered(StoredImages(*subset.everything(), tiny_data.description), [0, 2])
    assert part.labeller is None
    whole = StoredImages(*subset.everything(), tiny_data.description)
    whole.labeller = labeller
    cut = remembered(whole, [0, 2]).labeller
    assert cut is not None and cut(images, OWN).shape == (4, 2)


def test_robust_scores_give_random_images_the_same_labels(
    tiny_data: RealData, subset: RealSubset, labeller: Labeller
) -> None:
    whole = StoredImages(*subset.everything(), tiny_data.description)
    options: dict[str, Any] = {"learner": CONVNET, "updates": [3], "seeds": 1, "lr": 0.1}
    found = robust_scores(labelled(whole, labeller), tiny_data, **options)["accuracy"]
    # The teacher is random images itself: with the labels of both they are alike, and its stored labels are not those.
    plain = learning_curve(whole, tiny_data, labels="hard", **options)["accuracy"]["mean"][0]
    assert found["teacher_hard"] == plain


def test_fresh_images_drawn_once_keep_it(make: Callable[[str], Teacher], description: Any) -> None:
    from gendistill.evaluation.epochs import with_images

    with initialisation(0, "labeller"):
        net = build(CONVNET, nn.Module, num_classes=3, image_shape=(1, 4, 4))
    endless = labelled(make("fresh"), Labeller(net, OWN))
    assert isinstance(endless, GeneratorTeacher)
    assert with_images(endless, 6, 9).labeller is endless.labeller


@pytest.mark.parametrize(
    "reference",
    [
        "real:ipc=1,labels=/elsewhere/x.safetensors",
        "/elsewhere/x.safetensors,labels=real:ipc=1",
        "real:ipc=1,labels=/elsewhere/x.safetensors@stored",
    ],
)
def test_a_file_of_results_chooses_no_place_of_a_labeller_either(
    reference: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gendistill.commands.report import _check_place

    with pytest.raises(UserError, match="a file chooses no place"):
        _check_place(reference, [], True)
    _check_place("real:ipc=1", [], True)
    for behind in ("", "@stored"):
        _check_place(f"real:ipc=1,labels={tmp_path / 'x.safetensors'}{behind}", [tmp_path], True)
        monkeypatch.chdir(tmp_path)
        _check_place(f"real:ipc=1,labels=x.safetensors{behind}", [], True)
