from __future__ import annotations

import copy
import math
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn

from gendistill.data.description import Description, symmetric
from gendistill.errors import UserError
from gendistill.nets.gtn import GTNGenerator
from gendistill.teacher import GeneratorTeacher


def by_hand(network: nn.Module, z: torch.Tensor, y: torch.Tensor, batch: bool) -> torch.Tensor:
    """Compute the tiny generator with its batch norm written out."""
    h = network.hidden(z + network.embedding(y))
    norm = network.norm
    mean = h.mean(0) if batch else norm.running_mean
    variance = h.var(0, unbiased=False) if batch else norm.running_var
    h = (h - mean) / torch.sqrt(variance + norm.eps) * norm.weight + norm.bias
    return torch.tanh(network.out(torch.relu(h))).view(-1, 1, 4, 4)


@pytest.mark.parametrize("mode", ["eval", "batch"])
def test_batch_norm_modes_equal_the_formula_and_change_nothing(
    mode: str, network: nn.Module, description: Description, rng: torch.Generator
) -> None:
    before = copy.deepcopy(network.state_dict())
    teacher = GeneratorTeacher(network, description, batch_norm=mode)  # type: ignore[arg-type]
    z, y = torch.randn(8, 4, generator=rng), torch.arange(8) % 3
    made = teacher.generate(z, y)
    torch.testing.assert_close(made, by_hand(network, z, y, batch=mode == "batch").detach())
    assert not made.requires_grad
    assert network.training, "the network in training keeps its mode"
    for state in (network.state_dict(), teacher.network.state_dict()):
        assert state.keys() == before.keys()
        assert all(torch.equal(state[name], before[name]) for name in before)


def test_threads_may_share_a_teacher(network: nn.Module, description: Description, rng: torch.Generator) -> None:
    teacher = GeneratorTeacher(network, description, batch_norm="batch")
    z, y = torch.randn(64, 4, generator=rng), torch.arange(64) % 3
    expected = teacher.generate(z, y)
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: teacher.generate(z, y), range(200)))
    assert all(torch.equal(images, expected) for images in made)
    assert teacher.network.norm.running_mean is not None


def test_the_teacher_is_a_snapshot(network: nn.Module, description: Description) -> None:
    latents = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    teacher = GeneratorTeacher(network, description, latents=latents)
    before, _ = teacher.everything()
    with torch.no_grad():
        network.out.weight.add_(1)
        latents.zero_()
    assert torch.equal(teacher.everything()[0], before)
    assert all(parameter.requires_grad for parameter in network.parameters())
    assert not any(parameter.requires_grad for parameter in teacher.network.parameters())


def test_a_network_with_hooked_spectral_norm_can_be_copied(network: nn.Module, description: Description) -> None:
    nn.utils.spectral_norm(network.out)
    network(torch.randn(4, 4), torch.zeros(4).long()).sum().backward()
    teacher = GeneratorTeacher(network, description)
    z, y = torch.ones(2, 4), torch.tensor([0, 1])
    network.eval()
    torch.testing.assert_close(teacher.generate(z, y), network(z, y).detach())


def test_fresh_noise_has_its_prior_and_balanced_labels(network: nn.Module, description: Description) -> None:
    rng = torch.Generator().manual_seed(0)
    noise = GeneratorTeacher(network, description).fresh(4000, rng)
    assert abs(float(noise.mean())) < 0.03 and abs(float(noise.std()) - 1) < 0.03
    sphere = GeneratorTeacher(network, description, prior="sphere")
    torch.testing.assert_close(sphere.fresh(50, rng).norm(dim=1), torch.full((50,), math.sqrt(4)))
    batches = list(sphere.batches(3, 9, rng))
    assert [torch.bincount(labels).tolist() for _, labels, _ in batches] == [[3, 3, 3]] * 3
    assert not torch.equal(batches[0][0], batches[1][0])
    images, labels = sphere.sample(600, rng)
    assert images.shape == (600, 1, 4, 4) and abs(int((labels == 0).sum()) - 200) <= 2
    unbounded = dict.fromkeys(("images", "distinct_images", "decoded_images"))
    bytes_ = {"bytes": sphere.bytes_stored, "image_bytes": sphere.bytes_stored, "label_bytes": 0, "labeller_bytes": 0}
    assert sphere.budget() == unbounded | bytes_
    assert sphere.label_counts is None


def test_a_pool_is_shown_in_shuffled_epochs(network: nn.Module, description: Description, rng: torch.Generator) -> None:
    latents, labels = torch.randn(7, 4, generator=rng), torch.tensor([0, 1, 2, 2, 1, 0, 0])
    teacher = GeneratorTeacher(network, description, latents=latents, labels=labels)
    made, _ = teacher.everything()
    network.eval()
    torch.testing.assert_close(made, network(latents, labels).detach())
    shown = list(teacher.batches(7, 2, rng))
    images, told = torch.cat([batch[0] for batch in shown]), torch.cat([batch[1] for batch in shown])
    index = torch.cdist(images.flatten(1), made.flatten(1)).argmin(1)
    assert torch.bincount(index).tolist() == [2] * 7
    assert torch.equal(told, labels[index])
    assert teacher.budget()["images"] == 7 and teacher.label_counts == [3, 2, 2]
    drawn, drawn_labels = teacher.sample(6, rng)
    assert torch.bincount(drawn_labels).tolist() == [2, 2, 2]
    assert len(torch.cdist(drawn.flatten(1), made.flatten(1)).argmin(1).unique()) == 6


@pytest.mark.parametrize(("norm", "held", "calls"), [("eval", 2**26, 1), ("eval", 4, 6), ("batch", 2**26, 6)])
def test_a_pool_is_made_once_where_an_image_is_the_same_in_every_batch(
    norm: str, held: int, calls: int, network: nn.Module, description: Description, monkeypatch: pytest.MonkeyPatch
) -> None:
    latents = torch.randn(9, 4, generator=torch.Generator().manual_seed(0))
    teacher = GeneratorTeacher(network, description, latents=latents, batch_norm=norm)  # type: ignore[arg-type]
    render, made = teacher.render, []
    monkeypatch.setattr("gendistill.teacher.generator.HELD", held)
    monkeypatch.setattr(teacher, "render", lambda z, y: made.append((z, y)) or render(z, y))
    batches = list(teacher.batches(6, 3, torch.Generator().manual_seed(1)))
    assert len(made) == calls
    by_batch = list(GeneratorTeacher.batches(teacher, 1, 3, torch.Generator().manual_seed(1)))
    torch.testing.assert_close(batches[0][0], by_batch[0][0])
    assert torch.equal(batches[0][1], by_batch[0][1])


def test_a_curriculum_keeps_its_batches_labels_and_rates(network: nn.Module, description: Description) -> None:
    rng = torch.Generator().manual_seed(0)
    latents, soft = torch.randn(3, 5, 4, generator=rng), torch.rand(3, 5, 3, generator=rng)
    conditions = torch.arange(15).view(3, 5) % 3
    teacher = GeneratorTeacher(
        network,
        description,
        latents=latents,
        labels=soft,
        conditions=conditions,
        learning_rates=torch.tensor([0.1, 0.2, 0.3]),
        batch_norm="batch",
    )
    for step, (images, labels, rate) in enumerate(teacher.batches(7, 99, rng)):
        turn = step % 3
        torch.testing.assert_close(images, by_hand(network, latents[turn], conditions[turn], batch=True).detach())
        assert torch.equal(labels, soft[turn])
        assert rate == pytest.approx((0.1, 0.2, 0.3)[step] if step < 3 else 0.03)
    assert teacher.images_stored == 15 and teacher.labels_are_soft
    made, told = teacher.everything()
    assert made.shape == (15, 1, 4, 4) and torch.equal(told, soft.flatten(0, 1))
    drawn, drawn_labels = teacher.sample(15, rng, balanced=False)
    # Each drawn image is the one of its own batch, batch statistics included.
    index = torch.cdist(drawn_labels, told).argmin(1)
    assert sorted(index.tolist()) == list(range(15))
    torch.testing.assert_close(drawn, made[index])


def test_labels_left_out_cover_the_classes(network: nn.Module, description: Description) -> None:
    pool = GeneratorTeacher(network, description, latents=torch.zeros(5, 4))
    assert pool.labels is not None and pool.labels.tolist() == [0, 1, 2, 0, 1]
    assert pool.distinct_images == 3, "equal latents of one class make one image"


BAD = {
    "prior": (dict(prior="uniform"), "normal, sphere, got 'uniform'"),
    "batch norm": (dict(batch_norm="train"), "eval, batch"),
    "labels without latents": (dict(labels=torch.zeros(3).long()), "belong to stored latents"),
    "latent size": (dict(latents=torch.zeros(3, 5)), r"\(M, 4\).*got \(3, 5\)"),
    "no latents": (dict(latents=torch.zeros(0, 4)), "at least one item"),
    "latents not finite": (dict(latents=torch.full((3, 4), torch.inf)), "'latents'"),
    "label shape": (dict(latents=torch.zeros(2, 3, 4), labels=torch.zeros(2).long()), r"\(2, 3\)"),
    "rates": (dict(latents=torch.zeros(2, 3, 4), learning_rates=torch.ones(3)), "2 batches .* got 3"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_does_not_fit_is_refused(case: str, network: nn.Module, description: Description) -> None:
    options, sentence = BAD[case]
    with pytest.raises(UserError, match=sentence):
        GeneratorTeacher(network, description, **options)  # type: ignore[arg-type]


def test_images_of_another_shape_are_refused(network: nn.Module, rng: torch.Generator) -> None:
    large = Description("large", ("a", "b", "c"), (1, 8, 8), symmetric(1))
    with pytest.raises(UserError, match=r"\(1, 4, 4\), but 'large' has \(1, 8, 8\)"):
        GeneratorTeacher(network, large).sample(2, rng)


def test_a_network_without_latent_size_is_refused(description: Description) -> None:
    with pytest.raises(UserError, match="'nz'"):
        GeneratorTeacher(nn.Linear(2, 2), description)


def test_render_is_differentiable_in_the_latents(network: nn.Module, description: Description) -> None:
    teacher = GeneratorTeacher(network.double(), description, batch_norm="batch")
    z, y = torch.randn(3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64), torch.arange(3)
    z.requires_grad_()
    (gradient,) = torch.autograd.grad(teacher.render(z, y).square().sum(), z)
    (expected,) = torch.autograd.grad(by_hand(network, z, y, batch=True).square().sum(), z)
    torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("shuffle", ["batches", "all"])
def test_a_shuffled_curriculum_shows_all_its_items_once_an_epoch(
    shuffle: str, network: nn.Module, description: Description, rng: torch.Generator
) -> None:
    latents = torch.randn(5, 6, 4, generator=rng)
    rates = torch.rand(5, generator=rng)
    teacher = GeneratorTeacher(
        network,
        description,
        latents=latents,
        shuffle=shuffle,  # type: ignore[arg-type]
        learning_rates=rates,
    )
    teacher = GeneratorTeacher.restore(teacher.tensors(), teacher.header(), description, {})
    assert teacher.shuffle == shuffle
    ordered, _ = teacher.everything()
    runs = [list(teacher.batches(10, 3, torch.Generator().manual_seed(seed))) for seed in (0, 0, 1)]
    for epoch in (runs[0][:5], runs[0][5:]):
        shown = torch.cat([images for images, _, _ in epoch])
        found = (shown[:, None] - ordered[None]).abs().amax((2, 3, 4)).argmin(1)
        assert torch.equal(found.sort().values, torch.arange(30))
        assert not torch.equal(found, torch.arange(30))
        # Whole batches stay together, or every batch mixes; classes stay balanced in both.
        whole = [len(set((part // 6).tolist())) == 1 for part in found.split(6)]
        assert all(whole) if shuffle == "batches" else not any(whole)
        assert all(torch.equal(labels.bincount(minlength=3), torch.tensor([2, 2, 2])) for _, labels, _ in epoch)
        assert torch.equal(found % 3, torch.cat([labels for _, labels, _ in epoch]))
    assert [rate for _, _, rate in runs[0][:5]] == list(rates), "rates belong to the step, not to the batch"
    assert all(torch.equal(one[0], same[0]) for one, same in zip(runs[0], runs[1], strict=True))
    assert any(not torch.equal(one[0], other[0]) for one, other in zip(runs[0], runs[2], strict=True))


def test_a_single_image_of_a_network_that_needs_several_is_one_sentence() -> None:
    described = Description("set", ("a", "b"), (1, 8, 8), symmetric(1))
    network = GTNGenerator(2, (1, 8, 8), nz=4, hidden=8, channels=4)
    teacher, one = GeneratorTeacher(network, described), torch.zeros(1, dtype=torch.int64)
    with pytest.raises(UserError, match="cannot make a single one; ask for two or more"):
        teacher.generate(torch.zeros(1, 4), one)


def test_latents_that_are_no_real_numbers_are_refused(network: nn.Module, description: Description) -> None:
    with pytest.raises(UserError, match="latents must be real numbers, got complex64"):
        GeneratorTeacher(network, description, latents=torch.zeros(6, 4, dtype=torch.complex64))
