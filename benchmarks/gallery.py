"""The gallery: a picture of what each method makes of the embedded digits, with the config that made it.

Every entry is a run of a committed config; those that are there are taken as they are, so that the command goes on
where it stopped. Page and pictures are written after every run.

    python -m benchmarks.gallery [ROOT] [--only NAME,NAME] [--made] [--data-root DIR]

ROOT (default: checkpoints) holds the runs, in ROOT/gallery. ``--only`` names entries; ``--made`` trains nothing and
writes the page of those that are there. Entries of other data than digits are made where ``--data-root`` says where its
files lie. What the page says of entries whose runs are elsewhere stays as it is.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

from gendistill.commands.report import grid_of, stored_sheet
from gendistill.commands.train import run_experiment
from gendistill.config.command_line import Words, assemble
from gendistill.config.experiment import Experiment
from gendistill.data.pictures import read_picture
from gendistill.files import atomic_write
from gendistill.making import making
from gendistill.report.over_steps import sampled
from gendistill.report.pictures import picture_grid
from gendistill.runs.checkpoint import noted_step
from gendistill.runs.configuration import FREE, require_same
from gendistill.runs.directory import RunDirectory
from gendistill.spelling import typed
from gendistill.teacher import Teacher, load
from gendistill.words import byte_size, counted

DOCS = Path(__file__).resolve().parents[1] / "docs"
PICTURES = "images/gallery"
WIDTH = 260
"""Pixels of a picture, at least."""
COLOURS = 64
"""Of a picture's palette; digits have 17 greys."""
LARGEST_FILM = 60_000
"""Bytes of a film, at most; a larger one has fewer frames."""
FILM_WIDTH, FILM_COLOURS = 200, 16
"""Pixels and colours of a film's frames, at most."""


@dataclass(frozen=True)
class Entry:
    """One run.

    Attributes:
        name: Of its run and its picture.
        title: What the page calls it.
        page: The method's page.
        config: Its config, seen from ``configs/``.
        options: What is given beside it.
        scale: Of the config.
        shipped: The generator that comes with the project and was made by it; None: the entry is a run.
        command: What made it, where that is another command than ``train``; such a run is shown where it is there.
        data: The data set whose files it needs; None: none.
    """

    name: str
    title: str
    page: str
    config: str
    options: tuple[tuple[str, str], ...] = ()
    scale: str | None = None
    shipped: str | None = None
    command: str | None = None
    data: str | None = None


def sized(name: str, title: str, page: str) -> Entry:
    """Return the row of the grand table that stores ten images a class."""
    options = (("--trainer.images_per_class", "10"), ("--run.sample_every", "50"))
    return Entry(name, title, page, f"replication/grand/{name}.yaml", options, "reduced")


def row(name: str, title: str, page: str) -> Entry:
    """Return a row of the grand table that makes fresh images."""
    return Entry(name, title, page, f"replication/grand/{name}.yaml", (("--run.sample_every", "100"),), "reduced")


ENTRIES = (
    sized("dm", "Distribution matching", "distribution-matching"),
    sized("dm-sheets", "Distribution matching, each stored image showing four", "distribution-matching"),
    sized("dc", "Gradient matching (DC)", "gradient-matching"),
    row("gan", "A conditional GAN", "gan"),
    sized("latent", "Latents of that GAN, moved on the sphere", "latent-search"),
    sized("rded", "The easiest crops (RDED), four to a stored image", "easiest-crops"),
    row("gtn", "A generative teaching network", "gtn"),
    sized("dd", "Dataset distillation through training (RaT-BPTT)", "dataset-distillation"),
    sized("mtt", "Trajectory matching (MTT)", "trajectory-matching"),
    sized("dsa", "Gradient matching with augmentation (DSA)", "gradient-matching"),
    Entry(
        "embedding", "A private generator: noisy mean embedding", "private-teachers", "privacy/digits-embedding.yaml"
    ),
    Entry("private-gradients", "Private images: noisy gradients", "private-teachers", "privacy/digits-gradients.yaml"),
    Entry("condensation", "Condensed batches", "batch-condensation", "condensation/digits.yaml"),
    Entry("poisoning", "Poisoned images: a 7 is taken for a 1", "poisoning", "poisoning/digits.yaml"),
    Entry("digits-gan", "The GAN of the quickstart", "gan", "quickstart/gan.yaml", shipped="digits-gan"),
    Entry(
        "mnist-gan",
        "A GAN of MNIST",
        "latent-search",
        "",
        shipped="mnist-gan",
        command="gendistill replicate bradley-4.2-gan --scale mnist --data.root DIRECTORY",
    ),
    Entry(
        "mnist-sheets",
        "MNIST by distribution matching, each stored image showing four",
        "distribution-matching",
        "",
        command="gendistill train --config configs/dm/mnist-10.yaml --data.root DIRECTORY",
    ),
    Entry(
        "cifar10",
        "CIFAR-10 by distribution matching, each stored image showing four",
        "distribution-matching",
        "dm/cifar10-10.yaml",
        scale="reduced",
        data="cifar10",
    ),
    Entry(
        "mnist-private",
        "MNIST by private matching, epsilon 10",
        "private-teachers",
        "",
        command="gendistill replicate ours-private-mnist-e10 --scale reduced --data.root DIRECTORY",
    ),
    Entry(
        "mggan-mnist",
        "Two groups of GANs on MNIST",
        "mggan",
        "",
        command="gendistill replicate ours-mggan-mnist --scale reduced --data.root DIRECTORY",
    ),
    Entry(
        "mggan-ring",
        "Groups of GANs on eight points",
        "mggan",
        "",
        command="gendistill replicate ours-mggan-ring --scale reduced",
    ),
    Entry("mggan", "Two GANs that exchange their discriminators", "mggan", "mggan/digits.yaml"),
    Entry("bpgan", "A GAN cut in two", "bpgan", "bpgan/digits.yaml"),
    Entry("privacy-gan", "A GAN of three sites", "privacy-gan", "privacy-gan/digits.yaml"),
)


def main(argv: Sequence[str]) -> int:
    """Make the runs that are missing, and write pictures and page."""
    given = argparse.ArgumentParser(prog="python -m benchmarks.gallery")
    given.add_argument("root", nargs="?", default="checkpoints", type=Path)
    given.add_argument("--only", default="", metavar="NAME,NAME")
    given.add_argument("--made", action="store_true")
    given.add_argument("--data-root", metavar="DIR")
    asked = given.parse_args(argv)
    known = [entry.name for entry in ENTRIES]
    only = [name for name in asked.only.split(",") if name] or known
    if unknown := [name for name in only if name not in known]:
        given.error(f"there is no entry '{unknown[0]}'; choose among: {', '.join(known)}")
    root = asked.root
    for entry in ENTRIES:
        if entry.name not in only:
            continue
        run = RunDirectory(root, f"gallery/{entry.name}")
        here = entry.data is None or asked.data_root is not None
        if not finished(entry, run) and not asked.made and here and not entry.shipped and not entry.command:
            print(entry.name, file=sys.stderr)
            run_experiment(experiment(entry, root, asked.data_root))
        if entry.shipped or finished(entry, run):
            draw(entry, run)
            write_page(root)
    return 0


def finished(entry: Entry, run: RunDirectory) -> bool:
    """Return whether a run is at its last step.

    Raises:
        UserError: It was made with other settings than those of the entry, whose command would stand above its picture.
    """
    if not (run.teacher.exists() and run.state.exists()):
        return False
    steps = ((run.read_config() or {}).get("run") or {}).get("steps")
    if entry.config:
        asked = experiment(entry, run.path.parents[1])
        require_same(run, asked.to_dict(), FREE | {"run.loggers", "trainer.init_args.generator"})
        steps = asked.options.steps
    return noted_step(run.state) >= int(steps or 1)


def experiment(entry: Entry, root: Path, data_root: str | None = None) -> Experiment:
    """Return the run of an entry."""
    placed: list[tuple[str, str | None]] = [
        *entry.options, ("--run.root", str(root)), ("--run.name", f"gallery/{entry.name}"), ("--run.seed", "0"),
        ("--run.progress", "false"), ("--run.tune", "off"),
    ]  # fmt: skip
    if entry.name == "latent":
        placed.append(("--trainer.generator", str(root / "gallery/gan")))
    if data_root is not None:
        placed.append(("--data.root", data_root))
    config = str(DOCS.parent / "configs" / entry.config)
    return assemble(Words(configs=[config], scale=entry.scale, overrides=placed))


def draw(entry: Entry, run: RunDirectory) -> None:
    """Write an entry's picture, that of the stored sheets, and a film where the run was looked at on its way."""
    teacher = load(entry.shipped or run.teacher)
    write_png(picture_grid(grid_of(teacher), width=WIDTH), entry.name)
    if (sheet := stored_sheet(teacher)) is not None:
        write_png(picture_grid(sheet, width=WIDTH), f"{entry.name}-stored")
    if not entry.shipped and any(run.samples.glob("*.png")):
        frames = [read_picture(file).convert("RGB") for file in sampled(run.path, None)[1].values()]
        write_film(frames, entry.name)


def write_png(picture: object, name: str) -> None:
    """Write a picture with few colours."""
    from PIL import Image

    assert isinstance(picture, Image.Image)
    white = Image.new("RGBA", picture.size, "white")
    white.alpha_composite(picture)
    small = white.convert("RGB").quantize(COLOURS)
    atomic_write(DOCS / PICTURES / f"{name}.png", lambda out: small.save(out, format="PNG", optimize=True))


def write_film(frames: Sequence[object], name: str) -> None:
    """Write a film as a GIF, with every second frame left out until it is small; two frames are no film."""
    import io

    from PIL import Image

    kept = [
        frame.resize((FILM_WIDTH, round(FILM_WIDTH * frame.height / frame.width)), Image.Resampling.BOX).quantize(
            FILM_COLOURS
        )
        for frame in frames
        if isinstance(frame, Image.Image)
    ]
    while len(kept) > 2:
        buffer = io.BytesIO()
        times = [350] * (len(kept) - 1) + [1500]
        kept[0].save(buffer, format="GIF", save_all=True, append_images=kept[1:], duration=times, loop=0)
        content = buffer.getvalue()
        if len(content) <= LARGEST_FILM:
            atomic_write(DOCS / PICTURES / f"{name}.gif", partial(_put, content))
            return
        kept = [*kept[:-1][::2], kept[-1]]


def _put(content: bytes, out: BinaryIO) -> None:
    out.write(content)


def write_page(root: Path) -> None:
    """Write docs/gallery.md of the entries that are there."""
    lines = [
        "# Gallery",
        "",
        "What each method makes of the embedded digits (8 x 8 pixels) and of some other data, at sizes that two cores "
        "make in seconds to minutes.",
        "A column a class, where the method knows classes. Made by `python -m benchmarks.gallery`:",
        "every picture is of the command above it, seed 0, as it came. CPU seconds and bytes are those of "
        "the teachers' files. Which method",
        "teaches how well is another question: [choose.md](choose.md).",
    ]
    before = sections((DOCS / "gallery.md").read_text(encoding="utf-8")) if (DOCS / "gallery.md").exists() else {}
    for entry in ENTRIES:
        run = RunDirectory(root, f"gallery/{entry.name}")
        there = entry.shipped or finished(entry, run)
        if not (DOCS / PICTURES / f"{entry.name}.png").exists():
            continue
        if not there:
            lines += ["", *before[entry.title]] if entry.title in before else []
            continue
        lines += ["", f"## {entry.title}", "", *described(entry, load(entry.shipped or run.teacher))]
        for ending, words in ((".png", "images"), ("-stored.png", "as stored"), (".gif", "on the way")):
            if (DOCS / PICTURES / f"{entry.name}{ending}").exists():
                lines += ["", f"![{entry.title}, {words}]({PICTURES}/{entry.name}{ending})"]
    text = "\n".join(lines) + "\n"
    atomic_write(DOCS / "gallery.md", lambda out: out.write(text.encode()) and None)


def sections(page: str) -> dict[str, list[str]]:
    """Return the lines of a page's sections, their headings first, by what they are called."""
    found: dict[str, list[str]] = {}
    for part in page.split("\n## ")[1:]:
        lines = part.strip().splitlines()
        found[lines[0]] = [f"## {lines[0]}", *lines[1:]]
    return found


def described(entry: Entry, teacher: Teacher) -> list[str]:
    """Return the lines above an entry's picture: what it is, what it took, and the command that made it."""
    spent, stored = making(teacher) or {}, teacher.images_stored
    images = "Fresh images without end" if stored is None else f"{counted(stored, 'image')} stored"
    if stored is not None and teacher.decoded_images != stored:
        images += f" that show {teacher.decoded_images:,}"
    parts = [images, byte_size(teacher.bytes_stored)]
    if "cpu_seconds" in spent:
        parts.append(f"{spent['cpu_seconds']:,.0f} CPU seconds to make")
    options = [part for pair in entry.options if pair[0] != "--run.sample_every" for part in pair]
    scale = [] if entry.scale is None else ["--scale", entry.scale]
    generator = ["--trainer.generator", "checkpoints/gallery/gan"] if entry.name == "latent" else []
    name = [] if entry.shipped else ["--run.name", f"gallery/{entry.name}"]
    data = [] if entry.data is None else ["--data.root", "DIRECTORY"]
    command = entry.command or typed(
        "train", "--config", f"configs/{entry.config}", *scale, *options, *generator, *data, *name
    )
    return [f"{', '.join(parts)}. [The method](methods/{entry.page}.md).", "", f"    {command}"]


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
