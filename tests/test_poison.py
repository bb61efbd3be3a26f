from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from gendistill.data.description import Description, Normalisation
from gendistill.errors import UserError
from gendistill.poison import Poison, require_made_here
from gendistill.teacher import StoredImages

FOUR = Description("four", ("a", "b", "c", "d"), (1, 2, 2), Normalisation((0.5,), (0.5,)))


def test_only_the_source_class_is_renamed() -> None:
    labels = torch.tensor([[0, 1, 2], [3, 2, 1]])
    assert Poison(2, 0)(labels).tolist() == [[0, 1, 0], [3, 0, 1]]
    assert labels.tolist() == [[0, 1, 2], [3, 2, 1]]


def test_soft_labels_move_the_mass_of_the_source() -> None:
    soft = torch.tensor([[0.1, 0.2, 0.3, 0.4]])
    torch.testing.assert_close(Poison(2, 0)(soft), torch.tensor([[0.4, 0.2, 0.0, 0.4]]))


def test_the_loss_is_the_weighted_mean_over_relabelled_images() -> None:
    logits = torch.tensor([[1.0, 0.0, 2.0, 0.5], [0.3, 0.2, 0.1, 0.0], [2.0, 1.0, 0.0, 3.0]])
    labels = torch.tensor([2, 1, 3])
    by_hand = 5 * F.cross_entropy(logits[:1], torch.tensor([0])) + 2 * F.cross_entropy(logits[1:], labels[1:])
    torch.testing.assert_close(Poison(2, 0, weight=5.0).loss(logits, labels), by_hand / 7)
    torch.testing.assert_close(
        Poison(2, 0).loss(logits, labels), F.cross_entropy(logits, torch.tensor([0, 1, 3])), rtol=1e-6, atol=1e-7
    )


def test_k_minus_one_makes_the_source_count_as_much_as_all_others() -> None:
    labels = torch.arange(4).repeat(5)
    logits = torch.zeros(20, 4).requires_grad_()
    Poison(1, 3, weight=3.0).loss(logits, labels).backward()
    assert logits.grad is not None
    pulls = logits.grad.abs().sum(1)
    torch.testing.assert_close(pulls[labels == 1].sum(), pulls[labels != 1].sum())


@pytest.mark.parametrize(
    "spec",
    [
        "3:1",
        {"source": 3, "target": 1},
        {"class_path": "gendistill.poison.Poison", "init_args": {"source": 3, "target": 1}},
        Poison(3, 1),
    ],
)
def test_a_spec_may_be_written_in_any_of_its_forms(spec: object) -> None:
    poison = Poison.of(spec, FOUR)  # type: ignore[arg-type]
    assert poison is not None and (poison.source, poison.target, poison.weight) == (3, 1, 1.0)
    assert poison.metadata() == {"poisoned": {"source": 3, "target": 1, "weight": 1.0}}


def test_no_spec_is_no_poison() -> None:
    assert Poison.of(None, FOUR) is None


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("3-1", "SOURCE:TARGET"),
        ("3:", "SOURCE:TARGET"),
        ("2:2", "different"),
        ("4:1", "classes 0 to 3"),
        ({"source": -1, "target": 1}, "source"),
        ({"source": 1, "target": 2, "weight": 0.0}, "positive"),
        ({"source": 1, "goal": 2}, "goal"),
        ({"source": 1}, "target"),
    ],
)
def test_wrong_specs_are_refused(spec: object, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Poison.of(spec, FOUR)  # type: ignore[arg-type]


def test_only_teachers_made_here_may_be_poisoned_or_attacked() -> None:
    images, labels = torch.zeros(4, 1, 2, 2), torch.arange(4)
    ours = StoredImages(images, labels, FOUR, metadata={"seed": 0})
    assert require_made_here(ours, "ours") is ours
    with pytest.raises(UserError, match="made here"):
        require_made_here(StoredImages(images, labels, FOUR, metadata={"source": "a folder"}), "folder")
