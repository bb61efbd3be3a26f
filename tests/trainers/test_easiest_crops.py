"""The choice of crops against a loop over candidates, what is handed over, and resume."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from image_runs import LEARNER, run
from torch import Tensor

from gendistill import teacher as teachers
from gendistill.data.real import RealData
from gendistill.errors import UserError
from gendistill.runs.context import RunContext
from gendistill.runs.directory import RunDirectory
from gendistill.runs.options import RunOptions
from gendistill.runs.processes import Processes
from gendistill.seeds import Streams
from gendistill.teacher import Labeller, StoredImages
from trainers import easiest_crops
from trainers.easiest_crops import EasiestCropsTrainer, random_crops

OBSERVER = {"learner": LEARNER, "updates": 40}


def tiny(**options: Any) -> EasiestCropsTrainer:
    given: dict[str, Any] = {"images_per_class": 2, "candidates": 12, "crops": 3, "least": 0.25, "observer": OBSERVER}
    return EasiestCropsTrainer(**(given | options))


def attached(trainer: EasiestCropsTrainer, data: RealData, root: Path) -> EasiestCropsTrainer:
    chosen = RunOptions(root=str(root), device="cpu")
    trainer.attach(
        RunContext(chosen, RunDirectory(root, "run"), torch.device("cpu"), Streams(chosen.seed), Processes()), data
    )
    return trainer


@pytest.mark.parametrize("factor", [1, 2])
def test_what_is_stored_is_what_a_loop_over_candidates_and_crops_chooses(
    tiny_data: RealData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, factor: int
) -> None:
    seen: list[Tensor] = []
    monkeypatch.setattr(easiest_crops, "random_crops", lambda *given: seen.append(random_crops(*given)) or seen[-1])
    trainer = attached(tiny(decode={"factor": factor}), tiny_data, tmp_path)
    cells, stored = factor**2, trainer.images
    assert stored.shape == (6, 1, 8, 8) and len(seen) == 9
    kept, scores = [], []
    for label in range(3):
        best = []
        for image in range(12):
            found = []
            for crop in (views[image] for views in seen[3 * label : 3 * label + 3]):
                # One crop at a time, reduced and enlarged alone.
                alone = trainer.decode(trainer.decode.encode(crop.expand(cells, -1, -1, -1)), torch.tensor([label]))[:1]
                probability = trainer.observer(alone).softmax(1)[0, label]  # type: ignore[misc]
                found.append((-float(probability.log()), crop))
            best.append(min(found, key=lambda one: one[0]))
        best.sort(key=lambda one: one[0])
        kept += [crop for _, crop in best[: 2 * cells]]
        scores += [score for score, _ in best[: 2 * cells]]
    torch.testing.assert_close(stored, trainer.decode.encode(torch.stack(kept)), rtol=1e-4, atol=1e-5)
    assert float(trainer.train_step((stored, stored))["loss/observer"]) == pytest.approx(
        sum(scores) / len(scores), rel=1e-3, abs=1e-5
    )


def test_easiest_crops_are_easier_than_random_ones(tiny_data: RealData, tmp_path: Path) -> None:
    easiest, at_random = (attached(tiny(order=order), tiny_data, tmp_path) for order in ("easiest", "random"))
    assert float(easiest.score) < 0.5 * float(at_random.score)
    for one in (easiest, at_random):
        images, labels = one.teacher().everything()  # type: ignore[attr-defined]
        loss = F.cross_entropy(one.observer(images), labels)  # type: ignore[misc]
        torch.testing.assert_close(loss, one.score, rtol=1e-3, atol=1e-5)


def test_crops_are_of_the_area_that_was_asked_for_and_lie_inside() -> None:
    ramp = torch.linspace(0, 1, 32).expand(200, 1, 32, 32).contiguous()
    ramp = torch.stack([ramp[:, 0], ramp[:, 0].transpose(1, 2)], 1)  # where a point lies, across and down
    assert torch.allclose(random_crops(ramp, 1.0, torch.Generator()), ramp, atol=1e-6)
    crops = random_crops(ramp, 0.09, torch.Generator().manual_seed(0))
    across, down = (
        (crops[:, 0].amax((1, 2)) - crops[:, 0].amin((1, 2))),
        (crops[:, 1].amax((1, 2)) - crops[:, 1].amin((1, 2))),
    )
    area = across * down
    assert float(area.min()) < 0.15 and float(area.max()) > 0.9 and 0.45 < float(area.mean()) < 0.6
    torch.testing.assert_close(across, down, rtol=0.1, atol=0.05)
    assert float(crops.min()) >= 0 and float(crops.max()) <= 1


@pytest.mark.parametrize("soft", [True, False])
def test_the_observer_is_handed_over_when_labels_are_soft_and_a_run_goes_on_as_it_was(
    tiny_data: RealData, tmp_path: Path, soft: bool
) -> None:
    options: dict[str, Any] = {"decode": {"factor": 2}, "soft_labels": soft}
    for name, steps in (("whole", 4), ("halves", 2), ("halves", 4)):
        run(tiny(**options), tiny_data, tmp_path, name, steps, save_every=2)  # type: ignore[arg-type]
    whole, halves = (teachers.load(tmp_path / name / "teacher.safetensors") for name in ("whole", "halves"))
    for name, tensor in whole.tensors().items():
        assert torch.equal(tensor, halves.tensors()[name]), name
    assert isinstance(whole, StoredImages) and whole.decoded_images == 24 and whole.label_counts == [2, 2, 2]
    assert (whole.labeller is not None) == soft
    if soft:
        assert isinstance(whole.labeller, Labeller) and whole.labeller.temperature == 20.0


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"images_per_class": 0}, "images_per_class is 0"),
        ({"least": 0.0}, "least is 0.0"),
        ({"order": "hardest"}, "order is 'hardest'"),
        ({"candidates": 3, "decode": {"factor": 2}}, "candidates is 3, of which 8 cannot be chosen"),
        ({"observer": {"update": 3}}, "observer has no key 'update'; did you mean 'updates'"),
    ],
)
def test_a_wrong_option_is_one_sentence(
    tiny_data: RealData, tmp_path: Path, options: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(UserError, match=sentence):
        trainer = tiny(**options)
        trainer.typed = frozenset(options)
        attached(trainer, tiny_data, tmp_path)


def test_a_config_that_asks_for_too_few_candidates_looks_at_as_many_as_are_chosen(
    tiny_data: RealData, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer = tiny(candidates=3, decode={"factor": 2})
    attached(trainer, tiny_data, tmp_path)
    assert trainer.candidates == 8
    assert "--trainer.candidates is 3, but 8 are chosen of each class: 8 are taken" in capsys.readouterr().err


def test_labels_that_are_stored_are_given_at_a_temperature_of_one(tiny_data: RealData, tmp_path: Path) -> None:
    trainer = attached(tiny(decode={"factor": 2}, observer={**OBSERVER, "stored": True}), tiny_data, tmp_path)
    made = trainer.teacher()
    assert isinstance(made, StoredImages) and made.labeller is None and made.labels.shape == (24, 3)
    by = Labeller(trainer.observer, tiny_data.description.normalisation)  # type: ignore[arg-type]
    expected = by.logits(made.everything()[0], made.description.normalisation).softmax(1)
    right = expected.argmax(1) == made.decoded_classes
    assert right.any()
    torch.testing.assert_close(made.labels[right], expected[right])
    warm = tiny(observer={**OBSERVER, "stored": True, "temperature": 4.0})
    assert warm.plan.temperature == 4 and tiny().plan.temperature == 20 and trainer.plan.temperature == 1
