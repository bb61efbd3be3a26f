"""PrivacyGAN in one process: what it is equal to, how the joint restraint loss is made, and that it resumes."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from gendistill.data.real import RealData
from gendistill.errors import UserError
from gendistill.evaluation.evaluate import evaluate
from gendistill.federated.messages import Terms
from gendistill.federated.server import Hub, Seat
from gendistill.federated.shares import Shares
from gendistill.federated.site import InProcess, Site
from gendistill.runs.attributes import capture
from gendistill.runs.context import RunContext
from gendistill.runs.directory import RunDirectory
from gendistill.runs.options import RunOptions
from gendistill.seeds import Streams
from gendistill.teacher import GeneratorTeacher, load, save
from gendistill.teacher.fit import fitted
from gendistill.teacher.generated import open_generator
from trainers.gan import GANTrainer
from trainers.privacy_gan import PrivacyGANTrainer
from trainers.privacy_sides import DiscriminatorHalf, GeneratorHalf, Teaching

STEPS = 4
NETWORKS: dict[str, Any] = {
    "generator": {"class_path": "gendistill.nets.cgan_pd.CGANPDGenerator", "init_args": {"nz": 6, "ngf": 6}},
    "discriminator": {"class_path": "gendistill.nets.cgan_pd.CGANPDDiscriminator", "init_args": {"ndf": 6}},
    "batch_size": 12,
    "n_dis": 2,
    "lr_generator": 1e-3,
}
DCGAN: dict[str, Any] = {
    "generator": {"class_path": "gendistill.nets.dcgan.DCGANGenerator", "init_args": {"nz": 5, "ngf": 3}},
    "discriminator": {"class_path": "gendistill.nets.dcgan.DCGANDiscriminator", "init_args": {"ndf": 3}},
    "batch_size": 8,
    "n_dis": 1,
    "loss_type": "gan",
    "ema_decay": 0.0,
}


def context(root: Path, name: str = "run", **options: Any) -> RunContext:
    settings: dict[str, Any] = {"name": name, "root": str(root), "steps": STEPS, "device": "cpu", "seed": 5}
    chosen = RunOptions(**settings | options)
    return RunContext(chosen, RunDirectory(chosen.root, chosen.name), torch.device("cpu"), Streams(chosen.seed))


def conditional(**options: Any) -> dict[str, Any]:
    return {"class_path": "trainers.gan.ConditionalGANTrainer", "init_args": NETWORKS | options}


def attached(trainer: Any, data: RealData, root: Path, **options: Any) -> Any:
    trainer.attach(context(root, **options), data)
    return trainer


def advance(trainer: Any, steps: int = STEPS) -> list[dict[str, Tensor]]:
    found = []
    for _ in range(steps):
        found.append(trainer.train_step(trainer.next_batch()) | trainer.recorded())
        trainer.run.step += 1
    return found


def same(ours: Any, other: Any) -> bool:
    if isinstance(ours, Tensor):
        return bool(torch.equal(ours, other))
    if isinstance(ours, dict):
        return ours.keys() == other.keys() and all(same(ours[key], other[key]) for key in ours)
    if isinstance(ours, (list, tuple)):
        return len(ours) == len(other) and all(map(same, ours, other))
    return bool(ours == other)


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"loss_type": "relativistic"},
        {"gradient_penalty": 1.0},
        {"diff_augment": "color_shift_cutout"},
        {"packing": 2},
    ],
    ids=lambda change: "-".join(change) or "hinge",
)
def test_alpha_1_is_a_plain_local_gan_to_the_bit(tiny_data: RealData, tmp_path: Path, change: dict[str, Any]) -> None:
    base = conditional(**change)
    ours = PrivacyGANTrainer(clients=1, alpha=1.0, base=base, global_split="superset")
    attached(ours, tiny_data, tmp_path)
    plain = attached(PrivacyGANTrainer(base=base, clients=1)._gan(), tiny_data, tmp_path)
    made, alone = advance(ours), advance(plain)
    generator, discriminator = ours.generators[0].gan, ours.discriminators[0].gan
    for name in ("generator", "ema", "generator_optimizer"):
        assert same(capture(getattr(generator, name)), capture(getattr(plain, name))), name
    for name in ("discriminator", "discriminator_optimizer"):
        assert same(capture(getattr(discriminator, name)), capture(getattr(plain, name))), name
    assert [float(one["loss/discriminator"]) for one in made] == [float(one["loss/discriminator"]) for one in alone]
    assert generator.discriminator is None and not isinstance(discriminator.generator, torch.nn.Module)


@pytest.mark.parametrize("alpha", [0.3, 0.85])
def test_divided_training_is_joint_training(tiny_data: RealData, tmp_path: Path, alpha: float) -> None:
    """Through the messages, in float64, against one autograd graph of Eq. (5.9) that is written out here."""
    torch.set_default_dtype(torch.float64)
    try:
        server, client = context(tmp_path, "server"), context(tmp_path, "client")
        teacher = GANTrainer(**DCGAN)
        teacher.attach(context(tmp_path, "teacher", seed=9), tiny_data)
        half = GeneratorHalf(
            GANTrainer(**DCGAN), server, tiny_data, alpha=alpha, warmup=0, balance="none",
            teaching=Teaching(teacher, live=False), estimator=None,
        )  # fmt: skip
        site = DiscriminatorHalf(GANTrainer(**DCGAN), client, tiny_data, "gradient")
        drawn: list[Tensor] = []
        draw = site.gan.next_batch

        def batch() -> tuple[Tensor, Tensor]:
            images, labels = draw()
            drawn.append(images.double())
            return drawn[-1], labels

        site.gan.next_batch = batch  # type: ignore[method-assign]
        g, d = copy.deepcopy(half.gan.generator), copy.deepcopy(site.gan.discriminator)
        by_g = torch.optim.Adam(g.parameters(), 2e-4, (0.0, 0.9))
        by_d = torch.optim.Adam(d.parameters(), 2e-4, (0.0, 0.9))
        noise = Streams(server.options.seed)["noise"]
        terms = Terms(STEPS, 8, 1, 100, *tiny_data.description.image_shape, 0, 1.0, numbers="float64")
        hub = Hub(bytes(16), terms, {"a": Seat(half)}, lambda line: None)
        member = Site(bytes(16), terms, site, InProcess(hub, "a"))
        for step in range(STEPS):
            member.turn()
            for optimizer in (by_g, by_d):
                optimizer.param_groups[0]["lr"] = 2e-4 * (1 - step / STEPS)
            fake = g(torch.randn(8, 5, generator=noise)).detach()
            loss = F.softplus(-d(drawn[step])).mean() + F.softplus(d(fake)).mean()
            by_d.zero_grad()
            loss.backward()
            by_d.step()
            images = g(torch.randn(8, 5, generator=noise))
            joint = alpha * F.softplus(-d(images)).mean()
            joint = joint + (1 - alpha) * F.softplus(-teacher.discriminator(images)).mean()
            by_g.zero_grad()
            joint.backward()
            by_g.step()
    finally:
        torch.set_default_dtype(torch.float32)
    assert all(parameter.dtype == torch.float64 for parameter in half.gan.generator.parameters())
    for ours, theirs in ((half.gan.generator, g), (site.gan.discriminator, d)):
        for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
            torch.testing.assert_close(mine, other, rtol=1e-9, atol=1e-11)


MANY: list[dict[str, Any]] = [
    {"teacher": "frozen"},
    {"teacher": "live", "balance": "rms", "warmup": 1},
    {"feedback": "score"},
    {"feedback": "score", "estimator": "es", "split": "classes", "global_split": "superset"},
    {"alpha": 1.0, "clip": 0.1},
]


@pytest.mark.parametrize("options", MANY, ids=lambda options: "-".join(map(str, options.values())))
def test_a_run_that_is_continued_ends_as_one_that_was_not(
    tiny_data: RealData, tmp_path: Path, options: dict[str, Any]
) -> None:
    def make(name: str) -> Any:
        trainer = PrivacyGANTrainer(clients=2, base=conditional(n_dis=1, batch_size=6), teacher_steps=2, **options)
        return attached(trainer, tiny_data, tmp_path, name=name)

    whole = make("whole")
    advance(whole)
    first = make("first")
    advance(first, 2)
    kept = copy.deepcopy(first.state_dict())
    second = make("second")
    second.load_state_dict(kept)
    second.run.step = 2
    advance(second, 2)
    assert same(second.state_dict(), whole.state_dict())
    assert whole.teacher().metadata["privacy_gan"]["formal_guarantee"] == "none"
    images, labels = whole.teacher().sample(4, torch.Generator())
    assert images.shape[1:] == tiny_data.description.image_shape and images.isfinite().all()


def test_noise_that_a_site_adds_is_from_the_system_and_is_counted(tiny_data: RealData, tmp_path: Path) -> None:
    def make() -> Any:
        trainer = PrivacyGANTrainer(
            clients=1, alpha=1.0, base=conditional(n_dis=1), clip=0.1, noise_multiplier=50.0, global_split="superset"
        )
        attached(trainer, tiny_data, tmp_path)
        advance(trainer, 2)
        return trainer

    one, two = make(), make()
    assert not same(one.generators[0].state_dict(), two.generators[0].state_dict())
    assert one.sanitisers[0].releases == 2
    assert one.sanitisers[0].rho == pytest.approx(2 * 2 * 12 / 50.0**2)
    assert one.teacher().metadata["privacy_gan"]["formal_guarantee"] == "feedback"


def test_shares_are_disjoint_and_what_they_say(tiny_data: RealData) -> None:
    def pictures(data: RealData) -> set[bytes]:
        return {image.numpy().tobytes() for image in data.train.images}

    for split in ("random", "classes"):
        shares = Shares(3, split)
        parts = [shares.of_site(tiny_data, number, 1) for number in range(3)]
        server = shares.of_server(tiny_data, 1)
        sizes = [len(part.train) for part in parts]
        assert len(server.train) + sum(sizes) == len(tiny_data.train)
        everyone = [pictures(part) for part in (*parts, server)]
        if split == "classes":
            kinds = [set(part.train.labels.tolist()) for part in parts]
            assert kinds == [set(shares.kinds_of_site(3, number) or ()) for number in range(3)]
            assert not kinds[0] & kinds[1] and kinds[0] | kinds[1] | kinds[2] == set(tiny_data.train.labels.tolist())
        if len(pictures(tiny_data)) == len(tiny_data.train):
            assert sum(map(len, everyone)) == len(set.union(*everyone))
    shifted = Shares(2, "random", None, "shifted")
    assert not set(shifted.of_server(tiny_data, 1).train.labels.tolist()) & set(
        shifted.of_site(tiny_data, 0, 1).train.labels.tolist()
    )
    assert len(Shares(2, images=3).of_site(tiny_data, 1, 0).train) == 3


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"alpha": 0.0}, "alpha is 0.0"),
        ({"clients": 0}, "clients is 0"),
        ({"noise_multiplier": 1.0}, "--trainer.clip"),
        ({"epsilon": 1.0}, "epsilon"),
        ({"taught_by": 3}, "taught_by is 3"),
        ({"base": conditional(terms=["trainers.terms.gradients.GradientMagnitude"])}, "base"),
        ({"base": {"class_path": "trainers.unrolled_gan.UnrolledGANTrainer"}}, "of its own"),
        ({"feedback": "score", "base": conditional(packing=2)}, "packing"),
        ({"feedback": "labels"}, "gradient, score"),
    ],
)
def test_options_that_do_not_fit_are_one_sentence(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        PrivacyGANTrainer(**options)


def test_a_site_with_fewer_images_than_a_batch_is_told_so(tiny_data: RealData, tmp_path: Path) -> None:
    trainer = PrivacyGANTrainer(clients=2, base=conditional(n_dis=1, batch_size=20), alpha=1.0, client_images=8)
    with pytest.raises(UserError, match="8 training images here; give all sides 1 to 8"):
        attached(trainer, tiny_data, tmp_path)


def test_sites_by_class_are_asked_for_their_classes_and_make_them(tiny_data: RealData, tmp_path: Path) -> None:
    trainer = attached(
        PrivacyGANTrainer(clients=2, base=conditional(n_dis=1, batch_size=6), split="classes", alpha=1.0),
        tiny_data,
        tmp_path,
    )
    asked = [set(half.fakes()[1].tolist()) for half in trainer.generators]
    assert asked[0] <= {0, 2} and asked[1] == {1}
    teacher = trainer.teacher()
    assert teacher.network.knows == [[0, 2], [1]]
    save(teacher, tmp_path / "teacher.safetensors")
    assert load(tmp_path / "teacher.safetensors").network.knows == [[0, 2], [1]]
    # A site's own generator, alone, is asked for no class that it has never learned either, wherever it goes.
    alone = trainer.generators[0].teacher()
    save(alone, tmp_path / "site.safetensors")
    back = load(tmp_path / "site.safetensors")
    assert teacher.classes is None and alone.classes == back.classes == [0, 2]
    for one in (alone, back):
        drawn = [one.sample(20, torch.Generator(), balanced)[1] for balanced in (True, False)]
        shown = next(iter(one.batches(1, 20, torch.Generator())))[1]
        assert [set(labels.tolist()) for labels in (*drawn, shown)] == [{0, 2}] * 3
    assert torch.bincount(back.sample(20, torch.Generator())[1], minlength=3).tolist() == [10, 0, 10]
    turned = replace(back.description, class_names=tuple(reversed(back.description.class_names)))
    assert fitted(back, turned).classes == [0, 2] and GeneratorTeacher(
        back.network, back.description, classes=[0, 1]
    ).in_order(torch.tensor([2, 0, 1]), turned).classes == [0, 2]
    found = evaluate(back, tiny_data, learning=None, fidelity=None)
    said = f"has learned no images of {tiny_data.description.class_names[1]}, and shows learners none"
    assert any(said in one for one in found["notes"])
    assert trainer.generators[0].gan.samples()["generator"].columns == 2
    with pytest.raises(UserError, match="alone, and latents of every class are looked for"):
        open_generator(str(tmp_path / "site.safetensors"), tiny_data, torch.device("cpu"))
    for classes in ([], [0, 0], [3], ["a"], 1):
        with pytest.raises(UserError, match="classes says of which classes fresh images are"):
            GeneratorTeacher(back.network, back.description, classes=classes)


def test_generators_of_sites_do_not_share_what_one_of_them_sent(tiny_data: RealData, tmp_path: Path) -> None:
    """Another site's images change nothing of a site's generator: what a hospital gets tells nothing of the next."""
    base = conditional(n_dis=1, batch_size=6)
    for kind in ("frozen", "live"):
        made = []
        for other in (
            tiny_data,
            replace(tiny_data, train=replace(tiny_data.train, images=255 - tiny_data.train.images)),
        ):
            trainer = PrivacyGANTrainer(clients=2, base=base, teacher=kind, teacher_steps=1)
            run = context(tmp_path)
            halves = trainer.generator_halves(run, tiny_data, 2)
            hub = Hub(
                bytes(16), trainer.agreement(run, tiny_data), dict(zip("ab", map(Seat, halves), strict=True)), print
            )
            sites = [
                Site(hub.run, hub.terms, trainer.discriminator_half(run, data, number), InProcess(hub, name))
                for number, (name, data) in enumerate((("a", tiny_data), ("b", other)))
            ]
            for _ in range(2):
                for site in sites:
                    site.turn()
            made.append(copy.deepcopy([half.state_dict()["gan"]["generator"] for half in halves]))
        assert same(made[0][0], made[1][0]) and not same(made[0][1], made[1][1])
