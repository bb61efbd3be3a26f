"""One step of each method at the published shapes: ours as a person gets it, beside the loop that everybody knows.

CIFAR-10's shape, the ConvNet of width 128 and depth 3 with instance norm, 10 images a class, 256 real images of each,
one thread. The public loops are restated from the papers' algorithms and the descriptions of their code; none of it
is copied. In common they have a network of ``nn.Conv2d``, ``nn.GroupNorm``, ``nn.ReLU`` and ``nn.AvgPool2d`` in the
default memory format, all images of a class in one pass, autograd's graph for everything that is differentiated.

- DM: for each class the mean features of its real images (no graph: the weights want no gradient) and of its synthetic
  ones; one backward pass through the sum over classes.
- DC, DSA: for each class the gradient of its real images and, with a graph, that of its synthetic ones; one backward
  pass through the sum of the distances, which also reaches the weights; then the network's epochs on the synthetic
  images. DSA augments both sides of each class alike, and the images of each of the network's batches.
- MTT: all weights as one vector; the graph of all of a student's steps on 100 images; one backward pass through it.
- DD: the graph of every step of gradient descent kept; the loss on real images led back step by step.

"As given" is a run without a trial. ``float32`` and ``bfloat16`` are the fastest of the ways below that each allows,
which are among those that ``run.tune: auto`` tries (:mod:`gendistill.runs.tune`); here they are given by hand.

DC's network is trained for 50 epochs after a match but the last of ten, here as there. A match is timed with few
classes, and goes in proportion to them: each is a pass of its own. An epoch is timed on the images of all ten classes.
A step is a match of ten classes and nine tenths of 50 epochs.

Memory is what a process's peak grows by in one step after a smallest one, each way in a process of its own; what
``torch.compile`` loads and compiles is not in it.

    python benchmarks/run.py public_loops
"""

from __future__ import annotations

import gc
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

HERE = Path(__file__).resolve()
if str(HERE.parents[1]) not in sys.path:
    sys.path.insert(0, str(HERE.parents[1]))

from benchmarks.dm_step import random_data  # noqa: E402
from benchmarks.gan_step import most_memory  # noqa: E402
from benchmarks.memory_slopes import now  # noqa: E402
from benchmarks.meta_step import own_process  # noqa: E402
from gendistill.allocation import keep_freed_memory  # noqa: E402
from gendistill.data.augment import apply, draw_parameters  # noqa: E402
from gendistill.data.real import RealData  # noqa: E402
from gendistill.runs.choice import Choice, of_run  # noqa: E402
from gendistill.runs.context import RunContext  # noqa: E402
from gendistill.runs.directory import RunDirectory  # noqa: E402
from gendistill.runs.options import RunOptions  # noqa: E402
from gendistill.runs.processes import Processes  # noqa: E402
from gendistill.seeds import Streams, stream  # noqa: E402
from gendistill.unroll import CompiledStep, unrolled_loss  # noqa: E402
from trainers.dataset_distillation import DatasetDistillationTrainer, DistillationInner  # noqa: E402
from trainers.distribution_matching import DistributionMatchingTrainer  # noqa: E402
from trainers.gradient_matching import GradientMatchingTrainer  # noqa: E402

THREADS = 1
SHAPE = (3, 32, 32)
DSA = "color_crop_cutout_flip_scale_rotate"
PUBLISHED_CLASSES, PUBLISHED_EPOCHS, TRAINED = 10, 50, 0.9
"""CIFAR-10's classes; epochs of the network after a match, at 10 images a class; which share of matches they follow."""
COMPILED: Choice = {"run.compile": True, "run.channels_last": True}
WAYS: dict[str, Choice] = {
    "as given": {},
    "compiled": COMPILED,
    "compiled, bfloat16": COMPILED | {"run.precision": "bfloat16"},
}
"""How matching methods are timed; the last one rounds."""
Step = Callable[[], Any]


class PublicConvNet(nn.Module):
    """Three blocks of convolution, one group a channel, ReLU and pooling, and a linear layer."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = SHAPE[0]
        for _ in range(3):
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.GroupNorm(width, width), nn.ReLU(), nn.AvgPool2d(2)]
            channels = width
        self.blocks, self.classifier = nn.Sequential(*layers), nn.Linear(16 * width, classes)

    def embed(self, images: Tensor) -> Tensor:
        """Return the features (N, F)."""
        return self.blocks(images).flatten(1)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (N, K)."""
        logits: Tensor = self.classifier(self.embed(images))
        return logits


class Shapes:
    """What all steps share.

    Args:
        classes: Of the data; a step of DM, DC and DSA takes so many times as long as one class.
        width: Of the network.
        real_batch: Real images of each class.
        images_per_class: Synthetic ones.
    """

    def __init__(self, classes: int, width: int, real_batch: int, images_per_class: int) -> None:
        self.classes, self.width, self.real_batch, self.images_per_class = classes, width, real_batch, images_per_class
        self.data: RealData = random_data(2 * real_batch, SHAPE, classes)
        self.learner = {"class_path": "gendistill.nets.learners.ConvNet", "init_args": {"width": width, "depth": 3}}
        draw = stream(0, "public")
        self.synthetic = torch.randn(classes, images_per_class, *SHAPE, generator=draw)
        self.labels = torch.arange(classes).repeat_interleave(images_per_class)

    def real(self, label: int, draw: torch.Generator) -> Tensor:
        """Return a random batch of a class's real images, normalised."""
        own = (self.data.train.labels == label).nonzero().flatten()
        index = own[torch.randperm(len(own), generator=draw)[: self.real_batch]]
        return self.data.train.batch(index, self.data.description.normalisation)[0]


def public_dm(shapes: Shapes) -> Step:
    """Return a step of the public loop of DM, with DSA."""
    images = shapes.synthetic.clone().requires_grad_()
    optimizer = torch.optim.SGD([images], lr=1.0, momentum=0.5)
    draw = stream(0, "public/dm")

    def step() -> None:
        network = PublicConvNet(shapes.width, shapes.classes).requires_grad_(False)
        loss = torch.zeros(())
        for label in range(shapes.classes):
            how = draw_parameters(DSA, 1, SHAPE, draw)
            real, own = apply(shapes.real(label, draw), how), apply(images[label], how)
            wanted, found = network.embed(real).detach(), network.embed(own)
            loss = loss + (wanted.mean(0) - found.mean(0)).square().sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def public_match(shapes: Shapes, dsa: bool) -> Step:
    """Return a match of the public loop of DC or DSA, without the network's epochs."""
    images = shapes.synthetic.clone().requires_grad_()
    optimizer = torch.optim.SGD([images], lr=0.1, momentum=0.5)
    network = PublicConvNet(shapes.width, shapes.classes)
    weights, draw = list(network.parameters()), stream(0, "public/dc")

    def step() -> None:
        loss = torch.zeros(())
        for label in range(shapes.classes):
            real, own = shapes.real(label, draw), images[label]
            if dsa:
                how = draw_parameters(DSA, 1, SHAPE, draw)
                real, own = apply(real, how), apply(own, how)
            wanted = torch.autograd.grad(_loss(network, real, label), weights)
            found = torch.autograd.grad(_loss(network, own, label), weights, create_graph=True)
            for one, other in zip(wanted, found, strict=True):
                if one.ndim > 1:
                    cosine = F.cosine_similarity(one.detach().flatten(1), other.flatten(1))
                    loss = loss + (1 - cosine).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def public_epoch(shapes: Shapes, dsa: bool) -> Step:
    """Return an epoch of the network on the synthetic images, in batches of 256."""
    network = PublicConvNet(shapes.width, shapes.classes)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01)
    images, draw = shapes.synthetic.flatten(0, 1), stream(0, "public/epoch")

    def step() -> None:
        for index in torch.randperm(len(images), generator=draw).split(256):
            shown = images[index]
            if dsa:
                shown = apply(shown, draw_parameters(DSA, 1, SHAPE, draw))
            loss = F.cross_entropy(network(shown), shapes.labels[index])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return step


def _loss(network: nn.Module, images: Tensor, label: int) -> Tensor:
    return F.cross_entropy(network(images), torch.full((len(images),), label))


def public_mtt(shapes: Shapes, steps: int) -> Step:
    """Return a student's training in the public loop of MTT, and the way back through its graph."""
    network = PublicConvNet(shapes.width, shapes.classes)
    names, sizes = zip(*((name, value.shape) for name, value in network.named_parameters()), strict=True)
    start = torch.cat([value.detach().flatten() for value in network.parameters()])
    target = start + 0.01 * torch.randn(start.shape, generator=stream(0, "public/mtt"))
    images = shapes.synthetic.flatten(0, 1).clone().requires_grad_()
    rate = torch.tensor(0.01, requires_grad=True)

    def step() -> None:
        weights = start.clone().requires_grad_()
        for _ in range(steps):
            parts = weights.split([size.numel() for size in sizes])
            named = {name: part.view(size) for name, part, size in zip(names, parts, sizes, strict=True)}
            logits = torch.func.functional_call(network, named, (images,))
            (gradient,) = torch.autograd.grad(F.cross_entropy(logits, shapes.labels), weights, create_graph=True)
            weights = weights - rate * gradient
        distance = (weights - target).square().sum() / (start - target).square().sum()
        images.grad = rate.grad = None
        distance.backward()

    return step


def our_mtt(shapes: Shapes, steps: int, compile: bool) -> Step:
    """Return a student's training in ours, at the trainer's default memory mode."""
    from gendistill.losses.trajectory import ParameterDistance
    from gendistill.objects import build

    sizes = {"num_classes": shapes.classes, "image_shape": SHAPE}
    network = build(shapes.learner, nn.Module, **sizes)
    start = {name: value.detach() for name, value in network.named_parameters()}
    target = {name: value + 0.01 * torch.randn(value.shape) for name, value in start.items()}
    images = shapes.synthetic.flatten(0, 1).clone().requires_grad_()
    rate = torch.tensor(0.01, requires_grad=True)
    compiled = CompiledStep.where(network, compile)

    def step() -> None:
        images.grad = rate.grad = None
        rates = rate.expand(steps)
        unrolled_loss(
            network,
            [images] * steps,
            [shapes.labels] * steps,
            rates,
            torch.zeros_like(rates),
            ParameterDistance(steps, target, start),
            parameters=start,
            memory="recompute",
            seed=0,
            compiled=compiled,
        ).loss.backward()

    return step


def public_dd(shapes: Shapes, steps: int, real_batch: int) -> Step:
    """Return a meta-step of the public loop of DD: each step's graph, led back one by one."""
    draw = stream(0, "public/dd")
    batches = [shapes.synthetic[:, 0].clone().requires_grad_() for _ in range(steps)]
    rates = [torch.tensor(0.02, requires_grad=True) for _ in range(steps)]
    labels = torch.arange(shapes.classes)
    index = torch.randperm(len(shapes.data.train), generator=draw)[:real_batch]
    real, truth = shapes.data.train.batch(index, shapes.data.description.normalisation)

    def step() -> None:
        network = PublicConvNet(shapes.width, shapes.classes)
        names = [name for name, _ in network.named_parameters()]
        sizes = [value.shape for value in network.parameters()]
        weights = torch.cat([value.detach().flatten() for value in network.parameters()]).requires_grad_()

        def call(vector: Tensor, images: Tensor) -> Tensor:
            parts = vector.split([size.numel() for size in sizes])
            named = {name: part.view(size) for name, part, size in zip(names, parts, sizes, strict=True)}
            return torch.func.functional_call(network, named, (images,))

        passed, gradients = [], []
        for images in batches:
            loss = F.cross_entropy(call(weights, images), labels)
            (gradient,) = torch.autograd.grad(loss, weights, create_graph=True)
            passed.append(weights)
            gradients.append(gradient)
            weights = (weights - rates[len(passed) - 1] * gradient).detach().requires_grad_()
        (slope,) = torch.autograd.grad(F.cross_entropy(call(weights, real), truth), weights)
        for place in reversed(range(steps)):
            led = torch.autograd.grad(gradients[place], [passed[place], batches[place]], -rates[place].detach() * slope)
            rates[place].grad = -(gradients[place].detach() * slope).sum()
            slope, batches[place].grad = slope + led[0], led[1]

    return step


# -- ours -------------------------------------------------------------------------------------------------------------


class Ours:
    """A trainer of ours, ready for steps.

    Args:
        trainer: Not attached.
        data: Its data.
        root: Where its run would be.
        chosen: Options that are not left at their defaults.
    """

    def __init__(self, trainer: Any, data: RealData, root: str, chosen: Choice) -> None:
        self.trainer, self.data, self.root, self.chosen = trainer, data, root, chosen

    def attached(self) -> Any:
        """Return the trainer, attached; once."""
        options = RunOptions(root=self.root, device="cpu", **of_run(self.chosen))
        directory = RunDirectory(self.root, "run")
        run = RunContext(options, directory, torch.device("cpu"), Streams(0), Processes())
        self.trainer.attach(run, self.data)
        return self.trainer

    def step(self) -> Step:
        """Return a step of it."""
        trainer = self.attached()

        def make() -> None:
            trainer.train_step(trainer.next_batch())
            trainer.run.step += 1

        return make


def epoch_of(ours: Ours) -> Step:
    """Return an epoch of a gradient matching trainer's network on the synthetic images."""
    trainer = ours.attached()
    trainer.new_network()
    trainer.inner_loops = 1
    return lambda: trainer.train_network()


def timed(steps: dict[str, Step], rounds: int) -> dict[str, float]:
    """Return the median CPU seconds of each; they take turns, after one call each that is not timed."""
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for step in steps.values():
        step()
    for turn in range(rounds):
        for name in sorted(steps, reverse=bool(turn % 2)):
            gc.collect()
            began = time.process_time()
            steps[name]()
            seconds[name].append(time.process_time() - began)
    return {name: statistics.median(times) for name, times in seconds.items()}


def _row(seconds: dict[str, float], **more: Any) -> dict[str, Any]:
    faster = {name: seconds["public"] / value for name, value in seconds.items() if name != "public"}
    return {"cpu_seconds": seconds, "times_as_fast_as_public": faster, **more}


def _given(shapes: Shapes, method: str, inner_steps: int, meta_real: int) -> Any:
    """Return a method's trainer; the steps of gradient matching are matches without the network's epochs."""
    learner: dict[str, Any] = {"learner": shapes.learner}
    if method == "dd":
        inner = DistillationInner(steps=inner_steps, epochs=1)
        return DatasetDistillationTrainer(**learner, inner=inner, batch_size=meta_real)
    augment = "none" if method == "dc" else "dsa"
    images: dict[str, Any] = {"images_per_class": shapes.images_per_class, "images": "noise", "augment": augment}
    matching = learner | images | {"real_batch": shapes.real_batch}
    if method == "dm":
        return DistributionMatchingTrainer(**matching)
    return GradientMatchingTrainer(**matching, inner_loops=0, outer_loops=1)


def _public(shapes: Shapes, method: str, student_steps: int, inner_steps: int, meta_real: int) -> Step:
    if method == "dm":
        return public_dm(shapes)
    if method == "mtt":
        return public_mtt(shapes, student_steps)
    if method == "dd":
        return public_dd(shapes, inner_steps, meta_real)
    return public_match(shapes, method == "dsa")


def measure(
    classes: int = 2,
    width: int = 128,
    real_batch: int = 256,
    images_per_class: int = 10,
    student_steps: int = 2,
    inner_steps: int = 6,
    meta_real: int = 256,
    rounds: int = 1,
    methods: Sequence[str] = ("dsa", "mtt", "dd", "dm", "dc"),
    memory: bool = True,
) -> Any:
    """Measure each method's step.

    Args:
        classes: Of the data where classes are matched one by one; else there are ten.
        width: Of the network.
        real_batch: Real images of each class (DM, DC, DSA).
        images_per_class: Synthetic images of each.
        student_steps: Of MTT's student; time and the public loop's memory grow in proportion.
        inner_steps: Of DD's learner, each on one image a class.
        meta_real: DD's real images.
        rounds: How often each way is timed.
        methods: Which.
        memory: Whether memory is measured, too.
    """
    setting = {name: value for name, value in locals().items() if name not in ("methods", "memory")}
    sizes: dict[str, Any] = {name: value for name, value in setting.items() if name != "rounds"}
    table: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as root:
        for method in methods:
            torch._dynamo.reset()
            gc.collect()
            table[method] = _measured(method, root, rounds, **sizes)
            if memory and method != "dc":  # which holds what DSA holds
                ways = {way: own_process("held", script=HERE, method=method, way=way, **sizes) for way in MEMORIES}
                table[method]["mib"] = {way: found["mib"] for way, found in ways.items()}
            print(json.dumps({method: table[method]}), flush=True)
    return {"setting": setting, "methods": table}


MEMORIES = ("public", "as given")


def _shapes(method: str, classes: int, width: int, real_batch: int, images_per_class: int) -> Shapes:
    """Return the shapes of a method's step: with few classes where they come one by one."""
    if method in ("mtt", "dd"):
        return Shapes(PUBLISHED_CLASSES, width, 32, images_per_class)
    return Shapes(classes, width, real_batch, images_per_class)


def _measured(
    method: str,
    root: str,
    rounds: int,
    classes: int,
    width: int,
    real_batch: int,
    images_per_class: int,
    student_steps: int,
    inner_steps: int,
    meta_real: int,
) -> dict[str, Any]:
    shapes = _shapes(method, classes, width, real_batch, images_per_class)
    steps = {"public": _public(shapes, method, student_steps, inner_steps, meta_real)}
    if method == "mtt":
        ways = {"as given": our_mtt(shapes, student_steps, False), "float32": our_mtt(shapes, student_steps, True)}
        return _row(timed(steps | ways, rounds))

    def ours(of: Shapes, way: str) -> Ours:
        return Ours(_given(of, method, inner_steps, meta_real), of.data, root, WAYS[way])

    if method == "dd":
        ready = {"as given": ours(shapes, "as given"), "float32": ours(shapes, "compiled")}
        return _row(timed(steps | {name: one.step() for name, one in ready.items()}, rounds))
    whole = timed(steps | {name: ours(shapes, name).step() for name in WAYS}, rounds)
    whole, parts = {name: PUBLISHED_CLASSES / classes * seconds for name, seconds in whole.items()}, {}
    if method in ("dc", "dsa"):
        shown = Shapes(PUBLISHED_CLASSES, width, 1, images_per_class)
        epochs = {"public": public_epoch(shown, method == "dsa")}
        epoch = timed(epochs | {name: epoch_of(ours(shown, name)) for name in WAYS}, 3 * rounds)
        parts = {"match": _row(whole), "epoch": _row(epoch)}
        whole = {name: whole[name] + TRAINED * PUBLISHED_EPOCHS * epoch[name] for name in whole}
    exact = [name for name in WAYS if "bfloat16" not in name]
    chosen = {"float32": min(exact, key=whole.__getitem__), "bfloat16": min(WAYS, key=whole.__getitem__)}
    best = {name: whole[way] for name, way in chosen.items()}
    return _row(whole | best, chosen=chosen, parts=parts)


def held(method: str, way: str, student_steps: int, inner_steps: int, meta_real: int, **sizes: Any) -> dict[str, float]:
    """Return the MiB (``mib``) that this process's peak grows by in one step, after one of a smallest form.

    Args:
        method: Which method.
        way: One of :data:`MEMORIES`.
        student_steps: See :func:`measure`, as for the rest.
        inner_steps: See there.
        meta_real: See there.
        **sizes: Classes, width, real_batch and images_per_class.
    """

    def step_of(shapes: Shapes, root: str) -> Step:
        if way == "public":
            return _public(shapes, method, student_steps, inner_steps, meta_real)
        if method == "mtt":
            return our_mtt(shapes, student_steps, False)
        return Ours(_given(shapes, method, inner_steps, meta_real), shapes.data, root, WAYS[way]).step()

    with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as root:
        step_of(_shapes(method, 2, 2, 1, 1), first)()
        step = step_of(_shapes(method, **sizes), root)
        before = now()
        step()
        return {"mib": most_memory() - before}


OF_THEIR_OWN: dict[str, Callable[..., dict[str, float]]] = {"held": held}

if __name__ == "__main__":
    torch.set_num_threads(THREADS)
    keep_freed_memory()
    asked = json.loads(sys.argv[1])
    print(f"\n{json.dumps(OF_THEIR_OWN[asked.pop('what')](**asked))}", flush=True)
