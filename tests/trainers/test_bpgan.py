"""A GAN cut in two in one process: it equals the GAN in one piece, whatever the base, and continues to the bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from gan_runs import SMALL, advance, attached
from torch import Tensor

from gendistill.data.real import RealData
from gendistill.errors import UserError
from gendistill.links.exchanges import OWN
from gendistill.links.ledger import total
from gendistill.runs.loop import train
from gendistill.runs.options import RunOptions
from gendistill.teacher import load
from trainers.bpgan import BPGANTrainer
from trainers.gan import ConditionalGANTrainer, GANTrainer
from trainers.wgan import ConditionalWGANTrainer

NETS = "gendistill.nets.dcgan.ConditionalDCGAN"
DCGAN = {
    "generator": {"class_path": f"{NETS}Generator", "init_args": {"nz": 5, "ngf": 4}},
    "discriminator": {"class_path": f"{NETS}Discriminator", "init_args": {"ndf": 4}},
}
PLAIN = {
    "generator": {"class_path": "gendistill.nets.dcgan.DCGANGenerator", "init_args": {"nz": 5, "ngf": 4}},
    "discriminator": {"class_path": "gendistill.nets.dcgan.DCGANDiscriminator",
                      "init_args": {"ndf": 4, "norm": "none"}},
}  # fmt: skip
FEATURES = [{"class_path": "trainers.terms.gradients.GradientDifference", "init_args": {"weight": 0.5}}]
BASES: dict[str, tuple[type[GANTrainer], dict[str, Any]]] = {
    "hinge with spectral norm": (ConditionalGANTrainer, {"n_dis": 2, "loss_type": "hinge"} | SMALL),
    "wgan-gp": (GANTrainer, {"n_dis": 2, "loss_type": "wasserstein", "gradient_penalty": 10.0} | PLAIN),
    "clipped critic": (ConditionalWGANTrainer, {"n_dis": 2} | DCGAN),
    "relativistic": (ConditionalGANTrainer, {"n_dis": 1, "loss_type": "relativistic", "r1": 0.1} | SMALL),
    "a term": (ConditionalGANTrainer, {"n_dis": 1, "terms": FEATURES} | SMALL),
    "packs": (ConditionalGANTrainer, {"n_dis": 1, "packing": 2} | DCGAN),
}


def spec(of: type[GANTrainer], arguments: dict[str, Any]) -> dict[str, Any]:
    return {"class_path": f"{of.__module__}.{of.__name__}", "init_args": {"batch_size": 12} | arguments}


def cut(name: str, **options: Any) -> Any:
    return BPGANTrainer(base=spec(*BASES[name]), **options)


@pytest.mark.parametrize("name", BASES)
def test_one_process_is_the_base_gan_to_the_bit(name: str, tiny_data: RealData, tmp_path: Path) -> None:
    of, arguments = BASES[name]
    whole = attached(of(**{"batch_size": 12} | arguments), tiny_data, tmp_path)
    halves = attached(cut(name), tiny_data, tmp_path)
    for one, other in zip(advance(whole), advance(halves), strict=True):
        assert one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)
    for key, value in whole.generator.state_dict().items():
        assert torch.equal(halves.maker.gan.generator.state_dict()[key], value), key
    for key, value in whole.discriminator.state_dict().items():
        assert torch.equal(halves.judge.gan.discriminator.state_dict()[key], value), key


def test_the_labels_of_the_thesis_cannot_train_a_generator() -> None:
    """What Algorithms 2 and 3 send back is the target of the loss; not even the scores carry a gradient."""
    generator, discriminator = torch.nn.Linear(3, 4), torch.nn.Linear(4, 1)
    images = generator(torch.randn(5, 3))
    there = images.detach()  # what arrives at the discriminator's block
    labels = torch.ones(5, 1)  # created before any image is there: the constant target "real"
    scores = discriminator(there).detach()  # what could be sent back of its judgement
    for answer in (labels, scores):
        loss = torch.nn.functional.binary_cross_entropy_with_logits(answer, labels)
        with pytest.raises(RuntimeError, match="does not require grad"):
            loss.backward()
    # The gradient with respect to the images does it, and it is as large as they are.
    there.requires_grad_()
    whole = torch.nn.functional.softplus(-discriminator(there)).mean()
    (feedback,) = torch.autograd.grad(whole, there)
    assert feedback.shape == images.shape
    images.backward(feedback)
    assert generator.weight.grad is not None and float(generator.weight.grad.abs().sum()) > 0


def test_split_gradients_are_those_of_the_whole() -> None:
    generator, discriminator = torch.nn.Linear(3, 4).double(), torch.nn.Linear(4, 1).double()
    noise = torch.randn(5, 3, dtype=torch.float64)

    def loss(images: Tensor) -> Tensor:
        return torch.nn.functional.softplus(-discriminator(images)).mean()

    (wanted,) = torch.autograd.grad(loss(generator(noise)), generator.weight)
    images = generator(noise)
    (feedback,) = torch.autograd.grad(loss(there := images.detach().requires_grad_()), there)
    (found,) = torch.autograd.grad((images * feedback).sum(), generator.weight)
    torch.testing.assert_close(found, wanted, rtol=1e-14, atol=1e-15)


def test_pipelined_feedback_is_from_before_the_update(tiny_data: RealData, tmp_path: Path) -> None:
    """After one step the generator has moved by the first discriminator's gradient, and both have learned."""
    name = "clipped critic"
    halves = attached(cut(name, schedule="pipelined"), tiny_data, tmp_path)
    start = {key: value.clone() for key, value in halves.judge.gan.discriminator.named_parameters()}
    sent: list[Tensor] = []
    whole = halves.judge.answer

    def answer(fake: Any = None) -> None:
        now = dict(halves.judge.gan.discriminator.named_parameters())
        sent.append(torch.stack([(now[key] - value).detach().abs().max() for key, value in start.items()]).max())
        whole(fake)

    halves.judge.answer = answer
    advance(halves, 1)
    assert float(sent[0]) == 0.0
    now = dict(halves.judge.gan.discriminator.named_parameters())
    assert any(not torch.equal(now[key], value) for key, value in start.items())


def test_a_hybrid_takes_each_half_of_its_own_gan(tiny_data: RealData, tmp_path: Path) -> None:
    """The critic's loss, clipping and updates; the generator's network and optimiser."""
    making = spec(ConditionalGANTrainer, {"lr_generator": 3e-3, "loss_type": "gan"} | DCGAN)
    halves = attached(BPGANTrainer(base=spec(*BASES["clipped critic"]), generator_base=making), tiny_data, tmp_path)
    records = advance(halves)
    maker, judge = halves.maker.gan, halves.judge.gan
    assert type(maker.generator_optimizer) is torch.optim.Adam
    assert type(judge.discriminator_optimizer) is torch.optim.RMSprop
    assert maker.generator_optimizer.param_groups[0]["initial_lr"] == 3e-3
    assert all(float(p.detach().abs().max()) <= 0.01 for p in judge.discriminator.parameters())
    # Wasserstein: the generator's loss is the mean logit with its sign turned, which a clipped critic keeps small.
    assert abs(float(records[-1]["loss/generator"])) < 0.1


@pytest.mark.parametrize("schedule", ["sync", "pipelined"])
def test_a_run_that_is_cut_off_continues_to_the_bit(schedule: str, tiny_data: RealData, tmp_path: Path) -> None:
    def run(name: str, steps: int, trainer: Any = None) -> Any:
        options = RunOptions(name=name, root=str(tmp_path), steps=steps, save_every=2, log_every=2, sample_every=2,
                             progress=False, device="cpu")  # fmt: skip
        train(trainer or cut("hinge with spectral norm", schedule=schedule), tiny_data, options)
        return torch.load(tmp_path / name / "state.pt", weights_only=True)["trainer"]["blocks"]

    whole = run("whole", 6)
    with pytest.raises(UserError, match="a mistake in step 5"):
        failing = cut("hinge with spectral norm", schedule=schedule)
        step = failing.train_step

        def fail(batch: Any) -> Any:
            if failing.step == 4:
                raise UserError("a mistake in step 5")
            return step(batch)

        failing.train_step = fail
        run("parts", 6, failing)
    parts = run("parts", 6)
    for block, part in whole.items():
        for name, network in part["gan"].items():
            if name in ("generator", "discriminator"):
                assert all(torch.equal(parts[block]["gan"][name][key], value) for key, value in network.items())
        assert all(torch.equal(parts[block]["streams"][key], value) for key, value in part["streams"].items())
    teacher = load(tmp_path / "parts" / "teacher.safetensors")
    assert teacher.sample(5, torch.Generator().manual_seed(0))[0].shape == (5, *tiny_data.description.image_shape)
    assert teacher.metadata["bpgan"]["pairs"] == 1


def test_a_pipelined_state_continues_and_sends_what_the_formula_says(tiny_data: RealData, tmp_path: Path) -> None:
    OWN.begin()
    halves = attached(cut("clipped critic", schedule="pipelined"), tiny_data, tmp_path)
    advance(halves, 2)
    assert total(OWN.ledger.rows(), kind="fakes") == halves.expected(2)["fakes"]
    assert total(OWN.ledger.rows(), kind="feedback") == halves.expected(2)["feedback"]
    other = attached(cut("clipped critic", schedule="pipelined"), tiny_data, tmp_path)
    advance(other, 2)
    again = attached(cut("clipped critic", schedule="pipelined"), tiny_data, tmp_path)
    again.load_state_dict({"blocks": halves._own()})
    again.run.step = 2
    advance(again, 2)
    advance(other, 2)
    for key, value in other.maker.gan.generator.state_dict().items():
        assert torch.equal(again.maker.gan.generator.state_dict()[key], value), key


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"schedule": "async"}, "schedule is 'async'; .*sync, pipelined"),
        ({"generator_sync": "all"}, "generator_sync is 'all'"),
        ({"sync_every": 0}, "sync_every is 0; give a whole number from 1"),
        ({"schedule": "pipelined", "fresh_fakes": True}, "fresh_fakes is true, but with schedule: pipelined"),
        ({"taught_by": "best"}, "taught_by is 'best'; give mixture, or the number of a pair"),
        ({"link_delay": -1.0}, "link_delay is -1.0; give seconds"),
        ({"generator_base": spec(ConditionalGANTrainer, {"batch_size": 6} | SMALL)}, "base has batch_size 12 and .* 6"),
        ({"terms": FEATURES}, "terms are those of the base GAN"),
    ],
)
def test_what_does_not_fit_is_said(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        cut("hinge with spectral norm", **options)


def test_a_gan_with_steps_of_its_own_is_refused() -> None:
    with pytest.raises(UserError, match="Own has a generator_step of its own, which cannot be cut in two"):
        BPGANTrainer(base={"class_path": "test_bpgan.Own", "init_args": SMALL})


class Own(ConditionalGANTrainer):
    """A GAN with a step of its own."""

    def generator_step(self) -> None:
        """Do nothing."""
