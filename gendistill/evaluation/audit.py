"""What a teacher tells of the images that it was made from: attacks, memorised images, its promise put to the test."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gendistill.data.description import as_pixels
from gendistill.data.fingerprint import contents
from gendistill.data.real import RealData, Split
from gendistill.errors import UserError
from gendistill.evaluation.membership import MakeTeacher, likelihood_ratio, margins, nearest, shadow_margins
from gendistill.evaluation.roc import told_apart
from gendistill.evaluation.victims import taught_learners
from gendistill.nets.learners import default_learner
from gendistill.privacy.promise import KEY, counted, sentence
from gendistill.privacy.rehearsal import rehearse
from gendistill.seeds import stream
from gendistill.teacher import StoredImages, Teacher
from gendistill.teacher.fit import fitted
from gendistill.teacher.subset import shows_real_images
from gendistill.untrusted import Spec

MEMBERS = 10_000
"""Members that are asked about at most, where nothing is said; so many others, too."""
DRAWN = 2_000
"""Images of a generator without end that are looked at."""
SHOWN = 16
SAME = 1e-3
"""Mean difference of a pixel, of 1, under which two images are one."""
ATTACKS = {
    "nearest": "distance to the nearest image of the teacher",
    "nearest, calibrated": "the same, less that to as many real images that were not used",
    "loss": "margin of learners that the teacher taught",
    "loss, calibrated": "the same, less that of learners of real images that were not used",
    "lira": "likelihood ratio, from shadow teachers made of random halves",
    "discriminator": "what the discriminator takes for real",
    "feedback": "norm of the gradient that the discriminator sends back to an image",
}
"""What each attack looks at."""
Scorer = Callable[[Split], Tensor]
"""Images -> (N,) scores, higher where an image looks like a member."""


@dataclass(frozen=True)
class Pictures:
    """What an audit shows, pixels in [0, 1].

    Attributes:
        memorised: Images of the teacher and the training image nearest to each, one after the other, nearest first.
        control: The same images and the image nearest to each of as many that were not used.
    """

    memorised: Tensor
    control: Tensor


def audit(
    teacher: Teacher,
    data: RealData,
    *,
    count: int | None = None,
    learner: Spec | None = None,
    learners: int = 2,
    updates: int = 300,
    make: MakeTeacher | None = None,
    shadows: int = 0,
    scorers: Mapping[str, Scorer] | None = None,
    seed: int = 0,
    device: torch.device | str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[dict[str, Any], Pictures]:
    """Attack a teacher with the images that it was made from, and as many that it was not.

    Members are training images; of a teacher that shows real images, those that it shows. Others are validation and
    test images, a third of which serve as the attacker's reference and are not asked about.

    Args:
        teacher: Any teacher.
        data: The real data that it was made from.
        count: Members, and others, at most; None: :data:`MEMBERS`.
        learner: What learners of the teacher are; None: the data set's own.
        learners: How many of them.
        updates: Of each.
        make: Makes a teacher of other data as this one was made; for shadows.
        shadows: How many shadow teachers; 0: no LiRA.
        scorers: Further attacks by name, such as a discriminator's scores.
        seed: Of every draw, and of learners.
        device: Where networks run; None: where the data is.
        progress: Told how many shadows are done.

    Returns:
        Plain values: ``promise`` (a sentence), ``private`` (bool), ``members`` and ``others`` (how many, and
        ``members_are``), ``attacks`` (name -> :func:`gendistill.evaluation.roc.told_apart` and ``looks_at``),
        ``memorised`` (``same``: images of the teacher that are training images, ``nearer``: share that are nearer to a
        training image than to any of as many others, ``looked_at``), ``one_run`` (of a private teacher:
        :func:`gendistill.privacy.rehearsal.rehearse` with ``without_noise`` and ``counted``, what the sums that its
        file names cost), ``notes`` (sentences on whether members are members), ``verdict``; and the pictures.

    Raises:
        UserError: The teacher does not fit the data, which must be pictures, or there are too few images.
    """
    if data.description.kind != "pictures":
        raise UserError(f"an audit looks at pictures, and '{data.description.name}' holds {data.description.kind}")
    teacher = fitted(teacher, data.description)
    notes = origin_notes(teacher, data)
    if device is not None:
        data = data.to(device)
    where = data.train.labels.device
    shown, _ = _shown(teacher, seed)
    shown = shown.to(where)
    held, reference = _held_out(data, min(count or MEMBERS, MEMBERS if count is None else count), seed)
    members, whose = _members(teacher, data.train, shown, count or MEMBERS, seed)
    pool = Split(torch.cat([members.images, held.images]), torch.cat([members.labels, held.labels]))
    size = len(members)
    scores: dict[str, Tensor] = {}

    pixels = as_pixels(pool.images)
    apart = nearest(pixels, shown)[0]
    beside = as_pixels(_alike(reference, len(shown), seed).images)
    scores["nearest"] = -apart
    scores["nearest, calibrated"] = nearest(pixels, beside)[0] - apart

    spec = learner if learner is not None else default_learner(data.description)
    seeds = [seed + place for place in range(learners)]
    # Learners see the teacher's own normalisation: what is private there is not brought into the attack's reach anew.
    described = teacher.description
    options: dict[str, Any] = {"updates": updates, "device": where}
    own = margins(taught_learners(spec, teacher, described, seeds, **options), pool, described.normalisation)
    outside = StoredImages(described.normalisation.apply(as_pixels(reference.images)), reference.labels, described)
    plain = margins(taught_learners(spec, outside, described, seeds, **options), pool, described.normalisation)
    scores["loss"], scores["loss, calibrated"] = own, own - plain

    if shadows:
        if make is None:
            raise UserError("shadow teachers are made as the teacher was: give a run's directory, or real images")
        included, found = shadow_margins(
            make, data, pool, shadows=shadows, learner=spec, description=described, seed=seed, updates=updates,
            progress=progress,
        )  # fmt: skip
        scores["lira"] = torch.from_numpy(likelihood_ratio(own, included, found))
    for name, scorer in (scorers or {}).items():
        scores[name] = scorer(pool)

    attacks = {}
    for name, values in scores.items():
        told = values.detach().double().cpu().numpy()
        attacks[name] = {
            "looks_at": ATTACKS.get(name.rstrip("0123456789 "), name),
            **told_apart(told[:size], told[size:]),
        }
    memory, pictures = _memorised(shown, data.train, held, seed)
    noted = teacher.metadata.get(KEY)
    one_run = None
    if isinstance(noted, Mapping):
        one_run = rehearse(noted)
        one_run["without_noise"] = rehearse(noted, noise=False, guesses=one_run["guesses"])["bound"]
        one_run["counted"] = counted(noted)
    result: dict[str, Any] = {
        "promise": sentence(noted),
        "private": isinstance(noted, Mapping),
        "members": size,
        "others": len(held),
        "members_are": whose,
        "attacks": attacks,
        "memorised": memory,
        "one_run": one_run,
        "notes": notes,
    }
    return result | {"verdict": verdict(result)}, pictures


def origin_notes(teacher: Teacher, data: RealData) -> list[str]:
    """Return sentences on data that the teacher was not made from: then no attack is told who the members are."""
    name = data.description.name
    if teacher.description.name != name:
        return [f"the teacher's file says that it is of '{teacher.description.name}', so images of '{name}' may be no "
                "members at all"]  # fmt: skip
    made_from = teacher.noted("data", dict)
    if made_from and "train" in made_from and made_from["train"] != contents(data)["train"]:
        return [f"the training images of '{name}' are other ones than when the teacher was made, so that some may be "
                "no members; load them as then"]  # fmt: skip
    return []


def verdict(result: Mapping[str, Any]) -> str:
    """Return in a sentence what an audit found."""
    caught = [name for name, found in result["attacks"].items() if found["low"] > 0.5]
    strongest = max(result["attacks"], key=lambda name: result["attacks"][name]["auc"])
    best = result["attacks"][strongest]
    band = f"[{best['low']:.3f}, {best['high']:.3f}]"
    words = f"the strongest attack ({strongest}) reaches an AUC of {best['auc']:.3f} {band}"
    if same := result["memorised"]["same"]:
        words += f", and {same:,} of its images are training images"
    if caught or same:
        return f"members are told from others: {words}"
    return f"no attack tells members from others: {words}; that is no proof of privacy"


def _shown(teacher: Teacher, seed: int) -> tuple[Tensor, Tensor]:
    """Return the teacher's images as pixels, and labels: all of them, or some of one without end."""
    most = teacher.decoded_images
    with torch.no_grad():
        if most is None or most > MEMBERS:
            images, labels = teacher.sample(DRAWN if most is None else MEMBERS, stream(seed, "audit/teacher"))
        else:
            images, labels = teacher.everything()
    return teacher.description.normalisation.invert(images.float()).clamp(0, 1), labels


def _some(split: Split, count: int, generator: torch.Generator) -> Split:
    index = torch.randperm(len(split), generator=generator)[:count].to(split.labels.device)
    return Split(split.images[index], split.labels[index])


def _held_out(data: RealData, count: int, seed: int) -> tuple[Split, Split]:
    """Return images that were not used: those that are asked about, and the attacker's reference, a third."""
    both = Split(
        torch.cat([data.validation.images, data.test.images]), torch.cat([data.validation.labels, data.test.labels])
    )
    if len(both) < 6:
        raise UserError(f"an audit needs at least 6 validation and test images together, not {len(both)}")
    mixed = _some(both, len(both), stream(seed, "audit/held-out"))
    third = len(mixed) // 3
    reference, held = (
        Split(mixed.images[:third], mixed.labels[:third]),
        Split(mixed.images[third:], mixed.labels[third:]),
    )
    return Split(held.images[:count], held.labels[:count]), reference


def _members(teacher: Teacher, train: Split, shown: Tensor, count: int, seed: int) -> tuple[Split, str]:
    """Return the images that are members, and in words which."""
    if shows_real_images(teacher) and teacher.images_stored is not None:
        pixels = as_pixels(train.images)
        apart, place = nearest(shown, pixels)
        used = place[apart / shown[0].numel() ** 0.5 < SAME].unique()
        if len(used) >= 2:
            chosen = Split(train.images[used], train.labels[used])
            return _some(chosen, count, stream(seed, "audit/members")), "the training images that it shows"
    return _some(train, count, stream(seed, "audit/members")), "training images"


def _alike(reference: Split, count: int, seed: int) -> Split:
    """Return as many images of the reference as the teacher has, as far as there are."""
    return _some(reference, min(count, len(reference)), stream(seed, "audit/reference"))


def _memorised(shown: Tensor, train: Split, held: Split, seed: int) -> tuple[dict[str, Any], Pictures]:
    """Return how near the teacher's images are to training images, and to as many that were not used."""
    known, control = as_pixels(train.images), as_pixels(held.images)
    apart, place = nearest(shown, known)
    per_pixel = apart / shown[0].numel() ** 0.5
    fair = as_pixels(_some(train, len(held), stream(seed, "audit/fair")).images)
    nearer = nearest(shown, fair)[0] < nearest(shown, control)[0]
    first = apart.argsort()[:SHOWN]
    beside = nearest(shown[first], control)[1]
    found = {
        "looked_at": len(shown),
        "same": int((per_pixel < SAME).sum()),
        "nearer": float(nearer.double().mean()),
        "nearest": [float(value) for value in per_pixel[first]],
    }

    def pairs(others: Tensor) -> Tensor:
        return torch.stack([shown[first], others], 1).flatten(0, 1).cpu()

    return found, Pictures(pairs(known[place[first]]), pairs(control[beside]))
