from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from published import SHORT, digits, logits, pair, sets, some

from gendistill.data.real import RealData
from gendistill.decodes import Formation
from gendistill.errors import UserError
from gendistill.evaluation import investigation
from gendistill.evaluation.learning import learning_curve
from gendistill.evaluation.protocols import expand
from gendistill.evaluation.reading import Reading
from gendistill.evaluation.suspects import Case, quick_suspects
from gendistill.evaluation.verification import Claim
from gendistill.evaluation.verify import own_protocol, verify
from gendistill.teacher import StoredImages, save
from gendistill.teacher.export import export


@pytest.fixture(scope="module")
def data() -> RealData:
    return digits()


def reached(path, data, **options) -> float:
    """What the result reaches where it is read and judged rightly."""
    return verify(path, data, learning=SHORT, suspects="none", **options)["learning"]["accuracy"]["mean"][-1]


def best(result) -> dict:
    return max((one for one in result["suspects"] if one["skipped"] is None), key=lambda one: one["mean"])


def test_a_set_is_judged_by_the_protocol_of_its_form_and_agrees_with_its_own_number(tmp_path, data) -> None:
    images, labels = some(data)
    file = pair(tmp_path / "mtt", images, labels, 0.05)
    result = verify(file, data, learning=SHORT, claim=Claim(reached(file, data)), margin=0.2)
    assert json.loads(json.dumps(result)) == result
    assert result["verdict"]["word"] == "agrees" and result["sentence"].startswith("agrees: ")
    assert result["protocol"]["name"] == "condensation-mtt"
    assert (result["suspects"], result["finding"], result["note"]) == ([], None, None)
    teacher = StoredImages(images, labels, data.description, learning_rates=torch.tensor([0.05]))
    options = expand({"protocol": "condensation-mtt"} | SHORT, data.description)
    assert result["learning"]["accuracy"] == learning_curve(teacher, data, **options)["accuracy"]


def test_logits_that_are_taken_for_targets_are_found(tmp_path, data) -> None:
    images, labels = some(data)
    file = pair(tmp_path / "datm", images, logits(labels), 0.05)
    claim = Claim(reached(file, data), 0.01)  # read by itself it is right
    result = verify(file, data, learning=SHORT, reading=Reading(labels="targets"), claim=claim)
    assert result["verdict"]["word"] == "differs"
    assert best(result)["words"] == "labels read as logits" and best(result)["moved"]
    assert result["finding"].startswith("With labels read as logits it reaches ")
    assert "the file's labels are logits." in result["finding"]
    # What this file does not tell apart from it is named, too.
    assert result["finding"].endswith(
        "It comes as near, to within the margin of ±1, with: the likeliest class in place of soft labels."
    )
    assert "diagnosis, not a choice" in result["note"]
    # A move is a difference of the same learners, and its interval counts all that was tried.
    moved = best(result)
    pairs = zip(moved["runs"], result["learning"]["accuracy"]["runs"][-1], strict=True)
    assert moved["move"] == pytest.approx(sum(new - old for new, old in pairs) / 3)
    skipped = {one["words"]: one["skipped"] for one in result["suspects"] if one["skipped"]}
    assert skipped["labels read as targets"] == "the same as before"
    assert "probabilities are not negative" in skipped["labels read as probabilities"]


def test_classes_in_another_order_are_found(tmp_path, data) -> None:
    images, labels = some(data)
    order = torch.tensor([3, 1, 4, 0, 5, 9, 2, 6, 8, 7])
    right = sets(tmp_path / "right.pt", (images, labels))
    wrong = sets(tmp_path / "wrong.pt", (images, order[labels]))
    result = verify(wrong, data, learning=SHORT, claim=Claim(reached(right, data), 0.01))
    assert best(result)["kind"] == "classes"
    # What the file calls class k is the class order.index(k).
    assert best(result)["reading"]["classes"] == [order.tolist().index(place) for place in range(10)]
    assert result["finding"].endswith("the file's classes stand in another order.")


def test_a_set_among_several_is_found(tmp_path, data) -> None:
    images, labels = some(data)
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    file = sets(tmp_path / "res_X_ConvNet.pt", (noise, labels), (images, labels))
    claim = Claim(reached(file, data, reading=Reading(experiment=1)), 0.01)
    result = verify(file, data, learning=SHORT, claim=claim)
    assert best(result)["words"] == "the last of the file's 2 sets"
    # Of DataDAM's, one an evaluation, the last is the result anyway.
    datadam = sets(tmp_path / "res_DataDAM_ConvNet.pt", (noise, labels), (images, labels))
    found = verify(datadam, data, learning={**SHORT, "epochs": 1}, suspects="none")
    assert found["protocol"]["name"] == "condensation-datadam"
    assert found["learning"]["batch_size"] == 64


def test_images_of_another_normalisation_and_turned_images_are_found_by_all(tmp_path, data) -> None:
    images, labels = some(data)
    right = reached(sets(tmp_path / "right.pt", (images, labels)), data)
    turned = sets(tmp_path / "turned.pt", (images.transpose(2, 3), labels))
    result = verify(turned, data, learning=SHORT, claim=Claim(right, 0.02), suspects="all")
    assert result["finding"].startswith("With height and width of the images exchanged")
    assert {one["round"] for one in result["suspects"]} == {1}  # nothing is left to explain
    kinds = {one["kind"] for one in result["suspects"]}
    assert kinds == {"values", "images", "augmentation", "rate", "learner", "batch", "protocol"}


def test_a_second_round_goes_on_from_the_best_of_the_first(tmp_path, data, monkeypatch) -> None:
    images, labels = some(data)
    file = pair(tmp_path / "wrong", images.transpose(2, 3), logits(labels), 0.05)
    monkeypatch.setattr("gendistill.evaluation.suspects.class_order", lambda *_: None)

    def learn(self, teacher, learning, seeds) -> dict:
        """Half of the way from 20 to 80 % for images that are not turned, the other half for probabilities."""
        upright, sums = torch.equal(teacher.images, images), teacher.labels.sum(1)
        share = 0.3 * upright + 0.31 * bool((sums - 1).abs().max() < 1e-3)
        return {"accuracy": {"runs": [[0.2 + share + 0.001 * seed for seed in seeds]]}, "seeds": list(seeds)}

    monkeypatch.setattr(investigation.Verification, "learn", learn)
    options = {"reading": Reading(labels="targets"), "claim": Claim(0.812)}
    result = verify(file, data, suspects="all", **options)
    assert result["finding"] == (
        "With labels read as logits and height and width of the images exchanged it reaches 81.2 % (+61.0 points, 95 % "
        f"interval {result['finding'].split('interval ')[1].split(' over')[0]} over "
        f"{sum(one['skipped'] is None for one in result['suspects'])} suspects together), which agrees with the claim: "
        "the file's labels are logits; the file's images are transposed."
    )
    rounds = {number: {one["kind"] for one in result["suspects"] if one["round"] == number} for number in (1, 2)}
    assert "labels" in rounds[1] and rounds[2] == rounds[1] - {"labels"}
    quick = verify(file, data, suspects="quick", **options)
    assert quick["finding"].endswith(
        "the file's labels are logits, but that is not all; --suspects all goes on from there."
    )
    # What closes little of the difference is told, and nothing goes on from it.
    far = verify(file, data, suspects="all", reading=Reading(labels="targets"), claim=Claim(1.0))
    assert {one["round"] for one in far["suspects"]} == {1}
    assert "that is 39% of the difference and hardly the reason." in far["finding"]


def test_the_learned_rate_is_suspected_where_the_protocol_takes_another(tmp_path, data) -> None:
    images, labels = some(data)
    file = pair(tmp_path / "mtt", images, labels, 0.1)
    claim = Claim(reached(file, data), 0.01)
    result = verify(file, data, protocol="condensation-dsa", learning={**SHORT, "lr": 1e-4}, claim=claim)
    assert best(result)["kind"] == "rate" and best(result)["learning"] in ({"lr": "learned"}, {"lr": "teacher"})


def test_none_of_them_is_said_too(tmp_path, data) -> None:
    file = sets(tmp_path / "x.pt", some(data))
    result = verify(file, data, learning=SHORT, claim=Claim(1.0))
    assert (
        "brings it nearer to the claim by a difference that counts" in result["finding"]
        or "hardly the reason" in (result["finding"])
    )
    assert all(len(one["runs"]) == 3 for one in result["suspects"] if one["skipped"] is None)
    unclaimed = verify(file, data, learning={**SHORT, "epochs": 1}, suspects="quick")
    assert unclaimed["finding"].endswith("raises it by a difference that counts; --suspects all tries more.")


def test_few_learners_look_first_and_all_of_them_confirm(tmp_path, data, monkeypatch) -> None:
    images, labels = some(data)
    file = pair(tmp_path / "datm", images, logits(labels), 0.05)
    monkeypatch.setattr(investigation, "FIRST_LOOK", 2)
    said: list[str] = []
    options = {"learning": {**SHORT, "seeds": 4}, "reading": Reading(labels="targets"), "claim": Claim(0.9)}
    result = verify(file, data, tell=said.append, **options)
    learners = {one["words"]: len(one["runs"]) for one in result["suspects"] if one["skipped"] is None}
    assert learners["labels read as logits"] == 4 and 2 in learners.values()
    assert sum(count == 4 for count in learners.values()) <= investigation.SECOND_LOOKS
    # Seeds are continued, not drawn again.
    whole = verify(file, data, learning={**SHORT, "seeds": 4}, suspects="none")["learning"]["accuracy"]["runs"][-1]
    assert best(result)["runs"] == whole
    assert said[0] == "judging datm by condensation-mtt (it has one learned rate), 4 learners"
    assert "suspect 1 of " in said[1] and any(line.startswith("once more with all 4 learners") for line in said)


@pytest.mark.parametrize(
    ("form", "name"),
    [("mtt", "condensation-mtt"), ("no rate", "condensation-dsa"), ("res_DC_digits_ConvNet_5ipc.pt", "condensation"),
     ("res_DM_digits_ConvNet_5ipc.pt", "condensation-dsa"), ("idc", "condensation-idc"), ("folder", "condensation-dsa"),
     ("safetensors", "condensation-mtt"), ("steps", None)],
)  # fmt: skip
def test_every_form_has_a_protocol(tmp_path, data, form, name) -> None:
    images, labels = some(data)
    teacher = StoredImages(images, labels, data.description, learning_rates=torch.tensor([0.05]))
    if form in ("mtt", "no rate"):
        path = pair(tmp_path / "x", images, labels, 0.05 if form == "mtt" else None)
    elif form.startswith("res_"):
        path = sets(tmp_path / form, (images, labels))
    elif form == "idc":
        path = tmp_path / "data.pt"
        torch.save([data.description.normalisation.invert(images).clamp(0, 1), labels], path)
    elif form == "folder":  # RDED's: pictures, a folder a class
        path = tmp_path / "rded"
        export(StoredImages(images, labels, data.description), path)
        (path / "teacher.json").unlink()
    elif form == "safetensors":
        path = tmp_path / "t.safetensors"
        save(teacher, path)
    else:
        path = tmp_path / "results.pth"
        torch.save([(images, labels, torch.tensor(rate)) for rate in (0.1, 0.05, 0.02)], path)
    reading = Reading()
    assert own_protocol(reading.open(path, data), data)[0].get("protocol") == name
    learning = {**SHORT, "epochs": 2} if name else {key: SHORT[key] for key in ("learner", "seeds")}
    result = verify(path, data, learning=learning, suspects="none")
    assert result["protocol"]["name"] == name
    assert result["learning"]["learner_updates"] == (2 if name else 3)


@pytest.mark.parametrize(
    ("dataset", "factor", "each", "beside"),
    [("cifar10", 2, 1, {}), ("mnist", 1, 2, {}), ("mnist", 2, 2, {"cutmix": 0.0}), ("svhn", 1, 2, {}),
     ("svhn", 1, 1, {"cutmix": 0.0, "augment": "color_crop_cutout_scale_rotate"})],
)  # fmt: skip
def test_idcs_code_leaves_cutmix_out_for_some_sets(data, dataset, factor, each, beside) -> None:
    classes = data.description.num_classes
    description = replace(data.description, name=dataset)
    other = replace(data, description=description)
    labels = torch.arange(classes).repeat(each)
    images = torch.zeros(len(labels), *description.image_shape)
    decode = Formation(factor) if factor > 1 else None
    made = StoredImages(images, labels, description, decode=decode, metadata={"source": {"format": "idc"}})
    assert own_protocol(made, other)[0] == {"protocol": "condensation-idc"} | beside


def test_a_teacher_of_ones_own_is_read_as_it_says(tmp_path, data) -> None:
    images, labels = some(data)
    save(StoredImages(images, labels, data.description), tmp_path / "t.safetensors")
    with pytest.raises(UserError, match="leave out --labels"):
        verify(tmp_path / "t.safetensors", data, reading=Reading(labels="logits"))
    result = verify(tmp_path / "t.safetensors", data, learning={**SHORT, "epochs": 2}, suspects="quick")
    assert {one["kind"] for one in result["suspects"]} == {"augmentation"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"learning": {"seeds": 1}}, "judged by 2 learners or more"),
        ({"learning": {"seeds": [1, 1]}}, "judged by 2 learners or more"),
        ({"learning": {"epoch": 1}}, "did you mean 'epochs'"),
        ({"suspects": "some"}, "choose one of: auto, none, quick, all"),
        ({"protocol": "condensation-mtt"}, "give a number for lr"),
        ({"protocol": "condensation-mt"}, "did you mean 'condensation-mtt'"),
    ],
)
def test_mistakes_are_explained(tmp_path, data, options, message) -> None:
    with pytest.raises(UserError, match=message):
        verify(sets(tmp_path / "x.pt", some(data)), data, **options)


def test_a_margin_is_refused_before_anything_is_trained(tmp_path, data) -> None:
    images, labels = some(data)
    told = []
    with pytest.raises(UserError, match="the margin is -1 points"):
        verify(pair(tmp_path / "mtt", images, labels, 0.05), data, claim=Claim(0.5), margin=-0.01, tell=told.append)
    assert told == []


def test_sheets_of_smaller_images_are_read_as_such_or_suspected(tmp_path, data) -> None:
    images, labels = some(data)
    torch.save([data.description.normalisation.invert(images), labels], tmp_path / "data.pt")
    sheets = verify(
        tmp_path / "data.pt", data, reading=Reading(factor=2), learning={**SHORT, "epochs": 1}, suspects="none"
    )
    plain = verify(tmp_path / "data.pt", data, learning={**SHORT, "epochs": 1}, suspects="none")
    seen = [one["learning"]["epoch"]["images"] for one in (sheets, plain)]
    assert seen == [4 * len(images), len(images)]
    assert any("each image is a sheet of 2 x 2, as was said" in word for word in sheets["understood"])
    assert any("give it with --factor 2" in word for word in plain["understood"])
    case = Case(Reading().open(tmp_path / "data.pt", data), data, Reading(), True, {}, {}, None)
    suspect = next(one for one in quick_suspects(case) if "sheet" in one.words)  # before a classifier is asked
    assert suspect.reading == {"factor": 2}
