"""The default extractor: a classifier of the real training set, trained once and kept."""

from __future__ import annotations

import json
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import gendistill
from gendistill import objects, seeds
from gendistill.counter import Counter
from gendistill.data.description import Description, Normalisation
from gendistill.data.fingerprint import split_fingerprint, text_fingerprint
from gendistill.data.real import RealData, Split
from gendistill.data.sampling import EpochSampler
from gendistill.errors import UserError
from gendistill.evaluation.cache import cache_folder, is_kept, made_anew, read_tensors, write_tensors
from gendistill.evaluation.ensemble import right
from gendistill.evaluation.extractors import Extractor
from gendistill.finite import is_finite
from gendistill.nets.learners import Learner, default_learner

RECIPE: dict[str, Any] = {
    "optimizer": "AdamW",
    "lr": 3e-3,
    "weight_decay": 1e-2,
    "batch_size": 128,
    "schedule": "one cycle, cosine",
    "shift": "up to a sixteenth of the side",
}
"""What is the same for every data set. It is part of the cache key: a change here retrains every classifier."""


class ClassifierExtractor(Extractor):
    """A convolutional classifier whose last layer reads an embedding of modest width.

    The width keeps the covariance of a few thousand images well-conditioned. Its units are smooth, so that none dies.

    Args:
        description: The data set that it classifies.
    """

    def __init__(self, description: Description) -> None:
        super().__init__()
        self.name = f"{description.name} classifier"
        self.description = description
        self.backbone = objects.build(
            architecture(description),
            Learner,  # type: ignore[type-abstract]
            num_classes=description.num_classes,
            image_shape=description.image_shape,
        )
        width = embedding_width(description)
        self.embedding = nn.Linear(self.backbone.classifier.in_features, width)
        # The learner's own last layer is not used; without it the weights file holds nothing idle.
        self.backbone.classifier = nn.Identity()  # type: ignore[assignment]
        self.head = nn.Linear(width, description.num_classes)

    def features(self, images: Tensor, normalisation: Normalisation) -> Tensor:
        """Return embeddings (N, D) of images (N, C, H, W)."""
        images = normalisation.convert(images, self.description.normalisation)
        return F.gelu(self.embedding(self.backbone.features(images)))

    def probabilities(self, features: Tensor) -> Tensor:
        """Return class probabilities (N, K) for embeddings (N, D)."""
        return self.forward_head(features).softmax(1)

    def forward_head(self, features: Tensor) -> Tensor:
        """Return logits (N, K) for embeddings (N, D)."""
        logits: Tensor = self.head(features.to(self.head.weight))
        return logits


def embedding_width(description: Description) -> int:
    """Return the number of features: 64 for images under 16 pixels a side, 128 for others."""
    return 64 if min(description.image_shape[1:]) < 16 else 128


def architecture(description: Description) -> dict[str, Any]:
    """Return the spec of the network under the embedding: a narrow ConvNet; of texts and points their learner."""
    if description.kind != "pictures":
        return default_learner(description)
    side = min(description.image_shape[1:])
    depth = 1 if side < 4 else 2 if side < 16 else 3 if side < 64 else 4
    return {
        "class_path": "gendistill.nets.learners.ConvNet",
        "init_args": {"width": 32 if side < 16 else 64, "depth": depth, "normalisation": "batch"},
    }


def training_steps(count: int, batch_size: int) -> int:
    """Return the number of updates: 40 passes over the data, but at least 400 and at most 2,000 updates."""
    return min(2000, max(400, 40 * count // batch_size))


def trained_classifier(data: RealData, *, seed: int = 0, folder: Path | None = None) -> ClassifierExtractor:
    """Return the classifier of a data set, from the cache or trained now, as stderr is told, and put there.

    A file that is damaged is made anew.

    Args:
        data: The real data; only ``train`` and ``validation`` are looked at.
        seed: Seed of weights, data order and shifts.
        folder: Where classifiers are kept; by default ``$GENDISTILL_CACHE/classifiers`` or
            ``~/.cache/gendistill/classifiers``.

    Raises:
        StorageError: The cache cannot be written.
    """
    description = data.description
    with seeds.initialisation(seed, "fidelity/classifier"):
        classifier = ClassifierExtractor(description)
    classifier.to(data.train.images.device)
    key = {
        "data": description.to_dict(),
        "train": split_fingerprint(data.train),
        "validation": split_fingerprint(data.validation),
        "architecture": architecture(description),
        "embedding": embedding_width(description),
        "recipe": RECIPE,
        "seed": seed,
        "version": gendistill.__version__,
    }
    text = json.dumps(key, sort_keys=True)
    path = (folder or cache_folder("classifiers")) / f"{text_fingerprint(text)}.safetensors"
    if not _taken_over(classifier, path):
        tell = partial(print, file=sys.stderr, flush=True)
        tell(f"training the {classifier.name}, once for this data set; it is then kept as {path}")
        started = time.perf_counter()
        accuracy = train_classifier(classifier, data, seed=seed)
        seconds = time.perf_counter() - started
        tell(f"trained the {classifier.name} in {seconds:.0f} s; validation accuracy {100 * accuracy:.2f} %")
        metadata = {"key": text, "validation_accuracy": repr(accuracy), "name": classifier.name}
        write_tensors(path, classifier.state_dict(), metadata)
    return classifier.requires_grad_(False).eval()


def _taken_over(classifier: ClassifierExtractor, path: Path) -> bool:
    """Load the weights that are kept; return whether there are any, and whole ones."""
    if not is_kept(path):
        return False
    try:
        state = read_tensors(path)[0]
    except UserError as error:
        made_anew(error)
        return False
    if {name: value.shape for name, value in state.items()} != {
        name: value.shape for name, value in classifier.state_dict().items()
    } or not all(is_finite(value) for value in state.values()):
        return False
    classifier.load_state_dict(state)
    return True


def train_classifier(classifier: ClassifierExtractor, data: RealData, *, seed: int = 0) -> float:
    """Train on ``data.train`` and leave the weights that were best on ``data.validation``; return that accuracy."""
    normalisation = data.description.normalisation
    device = data.train.images.device
    batch_size = min(RECIPE["batch_size"], len(data.train))
    steps = training_steps(len(data.train), batch_size)
    sampler = EpochSampler(len(data.train), batch_size, seeds.stream(seed, "fidelity/order", device))
    shifts = seeds.stream(seed, "fidelity/shift")
    optimizer = torch.optim.AdamW(classifier.parameters(), RECIPE["lr"], weight_decay=RECIPE["weight_decay"])
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RECIPE["lr"], total_steps=steps)
    best, best_state = -1.0, {name: value.clone() for name, value in classifier.state_dict().items()}
    tell = Counter(classifier.name, "updates")
    for step in range(1, steps + 1):
        classifier.train()
        images, labels = data.train.batch(sampler.next(), normalisation)
        logits = classifier.forward_head(classifier.features(_shifted(images, normalisation, shifts), normalisation))
        loss = F.cross_entropy(logits, labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
        # The rate is near zero at the end, where the best weights are; earlier looks catch a run that overfits.
        if step % max(1, steps // 10) == 0 or step == steps:
            accuracy = classification_accuracy(classifier, data.validation, normalisation)
            if accuracy >= best:
                best, best_state = accuracy, {name: value.clone() for name, value in classifier.state_dict().items()}
        tell(step, steps)
    classifier.load_state_dict(best_state)
    return best


@torch.no_grad()
def classification_accuracy(classifier: ClassifierExtractor, split: Split, normalisation: Normalisation) -> float:
    """Return the fraction of a split that the classifier gets right, not finite being wrong; 0 for an empty split."""
    classifier.eval()
    count = 0
    for index in torch.arange(len(split), device=split.labels.device).split(classifier.batch_size):
        images, labels = split.batch(index, normalisation)
        logits = classifier.forward_head(classifier.features(images, normalisation))
        count += int(right(logits, labels).sum())
    return count / max(1, len(split))


def _shifted(images: Tensor, normalisation: Normalisation, generator: torch.Generator) -> Tensor:
    """Move the whole batch by one random offset a side, black coming in, so that features are not tied to a pixel.

    Images under 16 pixels a side stay: their content fills them, and a pixel is much of it. So do sentences.
    """
    if normalisation.embedding is not None:
        return images
    height, width = images.shape[2:]
    reach = min(height, width) // 16
    if reach == 0:
        return images
    down, right = (int(value) for value in torch.randint(-reach, reach + 1, (2,), generator=generator))
    padded = F.pad(normalisation.invert(images), (reach, reach, reach, reach))
    return normalisation.apply(
        padded[:, :, reach + down : reach + down + height, reach + right : reach + right + width]
    )
