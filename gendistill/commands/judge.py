"""Judging a teacher: the options that ``evaluate`` and ``compare`` share, and the call to the evaluators."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gendistill.commands.options import image_number, momentum, named_numbers, or_none, positive, rate_list, update_list
from gendistill.errors import UserError
from gendistill.plain import readable
from gendistill.regular import expanded, real_path
from gendistill.spelling import judging_option, typed

if TYPE_CHECKING:
    from gendistill.data.real import RealData
    from gendistill.teacher import Teacher

REFERENCES = (
    "a teacher file, a run directory, 'real' (all training images), 'real:subset=K' (K random ones), 'real:ipc=K' "
    "(K a class), a coreset such as 'real:herding=K' (kcenter, kmeans, kmeans-mean), a folder of images, "
    "an export, or a torch-mimicry checkpoint of a generator (.pth); X,labels=Y gives X the labeller of Y, "
    "X,labels=Y@stored the labels that it gives X's images once"
)

FILE_NAME = "teacher.safetensors"
PROTOCOLS = (
    "thesis", "condensation", "condensation-dsa", "condensation-mnist", "condensation-mtt", "condensation-datadam",
    "condensation-idc", "condensation-ncfm", "rded", "shi-chen",
)  # fmt: skip
"""Those of gendistill.evaluation.protocols, named here so that --help need not wait for torch."""
SAME_NAME = (
    "updates", "epochs", "measure_every", "generated", "seeds", "batch_size", "optimizer", "select", "measure",
    "momentum", "weight_decay", "schedule", "augment", "augment_mode", "augment_strength", "cutmix", "labels",
    "normalisation", "split", "precision", "compile",
)  # fmt: skip


SMOKE = {"updates": "5,10", "seeds": "2"}
"""How teachers are judged at ``--scale smoke``, which is to show in seconds that everything works."""
OF_DATA = (
    "image_size", "channels", "background", "whitening", "length", "vocabulary", "embedding", "text_column",
    "label_column",
)  # fmt: skip
"""Options of the data that are called alike everywhere."""


def add_data(parser: argparse.ArgumentParser) -> None:
    """Add the options that name the real data."""
    parser.add_argument("--dataset", metavar="NAME", help="real data set, or a folder of images; None: that which the "
                        "teacher was made from, with the options below, else digits")  # fmt: skip
    add_data_files(parser)


def add_data_files(parser: argparse.ArgumentParser) -> None:
    """Add the options that say where the real data's files are and how to read images and texts of one's own.

    ``none`` for one of them is its default, also where a teacher remembers something else.
    """
    count = or_none(positive)
    parser.add_argument("--data-root", metavar="DIR", help="where its files are; None: see docs/data.md")
    parser.add_argument("--image-size", type=count, metavar="N", help="height and width in pixels that the images "
                        "of a data folder are brought to; None: as they are")  # fmt: skip
    parser.add_argument("--channels", type=count, metavar="N", help="1 or 3: bring the images of a data folder to "
                        "grey or colour; None: as they are")  # fmt: skip
    parser.add_argument("--background", metavar="COLOUR", help="what transparent pixels of the images of a data folder "
                        "let through, such as black or #8040ff; None: white")  # fmt: skip
    parser.add_argument("--length", type=count, metavar="N", help="words of a sentence of a text; None: what most "
                        "have")  # fmt: skip
    parser.add_argument("--vocabulary", type=count, metavar="N", help="words of a text that are kept, the most "
                        "frequent; None: 5000")  # fmt: skip
    parser.add_argument("--embedding", metavar="WHAT", help="numbers of a word's vector, learned from a text, or a "
                        "file of vectors in GloVe's form; None: see docs/data.md")  # fmt: skip
    parser.add_argument("--text-column", metavar="NAME", help="column of a table that holds its texts, or its number "
                        "from 1; None: found out")  # fmt: skip
    parser.add_argument("--label-column", metavar="NAME", help="column of a table that holds the classes, or its "
                        "number from 1; None: found out")  # fmt: skip
    parser.add_argument("--whitening", type=or_none(float), metavar="EPS", help="ZCA-whiten the real data with this "
                        "epsilon, such as 0.1; None: mean and standard deviation")  # fmt: skip


def add_learning(parser: argparse.ArgumentParser, *, labels: bool = True) -> argparse._ArgumentGroup:
    """Add the options of training learners and testing them, and return their group.

    Args:
        parser: Gets them.
        labels: Whether ``--labels`` is among them; another command's may say what a file's labels are.
    """
    learning = parser.add_argument_group("learning: fresh learners train on the teacher and are tested on real images")
    add = learning.add_argument
    add("--protocol", choices=PROTOCOLS, metavar="NAME", help="take the options below from a published protocol, but "
        f"for those that are given: {', '.join(PROTOCOLS)}; docs/evaluation-learning.md has them in full")  # fmt: skip
    add(
        "--learner",
        metavar="SPEC",
        help="name (ConvNet), timm:NAME (such as timm:resnet18; pip install 'gendistill[timm]'), dotted path or "
        "{class_path: ..., init_args: ...}; evaluate and compare also take several, A,B,C: a table of what each "
        "of them learns, the first being the main one; None: the data set's own",
    )
    add("--updates", type=update_list, default="10,30,100,300,1000", metavar="N,N", help="updates to test after")
    add("--epochs", type=positive, metavar="N", help="length of the training in passes over the teacher; None: the "
        "largest number of --updates")  # fmt: skip
    add(
        "--measure-every",
        type=int,
        default=1,
        metavar="N",
        help="with --epochs, passes between two tests; 0: at the end",
    )
    add("--generated", type=image_number, default="fresh", metavar="N", help="images drawn once from a generator "
        "without end: a number or 'train' (as many as real ones); fresh: new ones in every batch")  # fmt: skip
    add("--seeds", type=positive, default=5, metavar="N", help="number of learners, one seed each")
    add("--batch-size", type=positive, default=64, metavar="N", help="images per learner update")
    add("--optimizer", default="sgd", metavar="NAME", help="the learner's: sgd, adam or adamw")
    add("--lr", type=rate_list, metavar="LR,LR", help="learning rates, 'grid', 'teacher' (its learned ones, by plain "
        "SGD) or 'learned' (its one rate, with the momentum, decay and schedule below), the validation split chooses; "
        "None: the teacher's own where it learned some, else a grid")  # fmt: skip
    add("--select", default="each", metavar="HOW", help="choose the rate for each number of updates, or at the last")
    add("--measure", default="accuracy", metavar="NAME", help="what that choice is by: accuracy, or balanced, the mean "
        "of the classes' accuracies; both are reported")  # fmt: skip
    add("--momentum", type=momentum, default=0.9, metavar="M", help="of sgd, in [0, 1); two numbers are cycled")
    add("--weight-decay", type=float, default=5e-4, metavar="W", help="of the learner, at least 0")
    add("--schedule", default="constant", metavar="NAME", help="of the learning rate: constant, cosine, "
        "half-cosine, step, two-steps, halving or one-cycle")  # fmt: skip
    add("--augment", metavar="OPS", help="augmentation of the learner's batches: dsa, or such as crop_flip; None: none")
    add("--augment-mode", default="single", metavar="HOW", help="single: one of them for each batch; each: one "
        "for each image; all: each of them; idc: flips, colours and cut-outs, and one other a batch")  # fmt: skip
    add("--augment-strength", type=named_numbers, metavar="OP=X,OP=X", help="how far they reach, such as rotate=45; "
        "None: as far as DSA's")  # fmt: skip
    add("--cutmix", type=float, default=0.0, metavar="P", help="probability, 0 to 1, with which a batch is mixed by "
        "CutMix: a box of one image in another, and both labels")  # fmt: skip
    if labels:
        add("--labels", default="given", metavar="HOW", help="given: the teacher's labels, or those of its labeller; "
            "hard: their likeliest class; stored: without its labeller")  # fmt: skip
    add("--normalisation", default="auto", metavar="WHOSE", help="in which learners see images: data, teacher, or "
        "auto: the teacher's where it is whitened and the data is not")  # fmt: skip
    add("--precision", default="float32", metavar="NAME", help="of updates: float32, or bfloat16 with weights in "
        "float32, which is faster where the processor has it")  # fmt: skip
    add("--compile", action=argparse.BooleanOptionalAction, help="compile updates, which takes a C++ compiler and ten "
        "seconds; None: on a CPU where a training is long")  # fmt: skip
    add("--split", default="test", metavar="NAME", help="real images to test on: test, validation or train")
    add("--device", default="auto", metavar="NAME", help="auto (a GPU if there is one), cpu, cuda or cuda:1")
    return learning


def add_judging(parser: argparse.ArgumentParser) -> None:
    """Add the options of the evaluators."""
    add = add_learning(parser).add_argument
    add("--seed", type=int, default=0, metavar="N", help="seed of random subsets and of the fidelity scores")
    add("--continual", type=positive, metavar="N", help="also learn the classes in N stages from the images kept of "
        "those seen so far; None: do not")  # fmt: skip
    add("--robust", action="store_true", help="also measure DD-Ranking's scores, against all real images and as many "
        "random ones")  # fmt: skip
    fidelity = parser.add_argument_group("fidelity: how close the images are to real ones")
    add = fidelity.add_argument
    add("--fidelity", action=argparse.BooleanOptionalAction, default=True, help="measure it")
    add("--extractor", default="classifier", metavar="NAME", help="features to compare in: classifier (trained on real "
        "images), inception, dinov2 (with --weights), or a dotted path")  # fmt: skip
    add("--reference", choices=("train", "test", "both"), default="train", help="real images to compare with; both: "
        "train, and beside it the distance to test, which tells of memorising")  # fmt: skip
    add("--weights", metavar="FILE", help="weights: of dinov2 its authors' file, of inception "
        "that of pytorch-fid or of torch-fidelity; None: torch's hub folder, else a download")  # fmt: skip
    add("--count", type=positive, metavar="N", help="images drawn; None: as many as real ones, at most 10,000; "
        "compare: as many as the smallest set has, so that distances can be compared")  # fmt: skip
    add("--draws", type=positive, default=5, metavar="N", help="draws of so many images where there are more; scores "
        "are their means")  # fmt: skip


def data_given(options: argparse.Namespace) -> dict[str, Any]:
    """Return the options of :func:`add_data` that were given, by the names of :func:`gendistill.data.load`."""
    given = {name: getattr(options, name) for name in OF_DATA}
    given |= {"name": options.dataset, "root": options.data_root}
    return {name: value for name, value in given.items() if value is not None}


def load_data(
    options: argparse.Namespace,
    *references: str,
    results: Sequence[tuple[str, Mapping[str, Any]]] = (),
    without: Sequence[str] = (),
) -> RealData:
    """Load the data set that the options of :func:`add_data` name, and what they leave out as teachers remember it.

    Args:
        options: What was given; it wins.
        *references: Teachers that are judged on the data.
        results: Earlier results that stand beside them, each with its file.
        without: Options that teachers have no say in.

    Raises:
        UserError: Teachers were made from different data and no ``--dataset`` says which is meant; see also
            :func:`gendistill.data.recorded.load_recorded`.
    """
    from gendistill.data.recorded import Recorded, agreed, load_recorded
    from gendistill.teacher.reference import recorded_data

    given = data_given(options)
    try:
        noted = [*map(recorded_data, references), *(Recorded.read(one.get("data"), file) for file, one in results)]
        recorded = agreed([one for one in noted if one is not None])
    except UserError:
        if options.dataset is None:
            raise
        recorded = None
    return load_recorded(None if recorded is None else recorded.without(*without), given)


def dataset_name(dataset: str) -> str:
    """Return what results call the data set of ``--dataset``: a folder by its last name."""
    from gendistill.data.load import FOLDER_PREFIX, NAMES, known_name

    known = known_name(dataset)
    return known if known in NAMES else readable(real_path(expanded(dataset.removeprefix(FOLDER_PREFIX))).name)


def learner_specs(text: str | None) -> list[Any]:
    """Read ``--learner`` with perhaps several learners, ``A,B,C``; see :func:`learner_spec`.

    Raises:
        UserError: One is no learner, or two are the same.
    """
    if text is None:
        return [None]
    parts, depth = [""], 0
    for letter in text:
        depth += (letter in "{[") - (letter in "}]")
        if letter == "," and not depth:
            parts.append("")
        else:
            parts[-1] += letter
    parts = [part.strip() for part in parts]
    if len(set(parts)) < len(parts) or not all(parts):
        raise UserError(
            f"--learner is '{text}'; give one learner, or different ones with commas between, such as ConvNet,MLP"
        )
    return [learner_spec(part) for part in parts]


def learner_spec(text: str | None) -> Any:
    """Read one learner: a class of this project by its name, ``timm:NAME``, a dotted path or a mapping in YAML.

    Raises:
        UserError: It is none of them, or several classes have the name.
    """
    if text is None:
        return None
    from gendistill.class_names import TIMM, TIMM_PREFIX

    if text.startswith(TIMM_PREFIX):
        return {"class_path": TIMM, "init_args": {"model": text.removeprefix(TIMM_PREFIX)}}
    from torch import nn

    from gendistill.objects import full_path, full_paths
    from gendistill.yaml_file import parse_yaml

    if "{" not in text:
        path = full_path(text, nn.Module)
        _refuse_others(path)
        return path
    spec = parse_yaml(text, judging_option("learner"))
    if not isinstance(spec, dict):
        raise UserError(
            f"{judging_option('learner')} is {text!r}, expected a dotted path or "
            "{class_path: ..., init_args: {...}}"
        )
    spec = full_paths(spec)
    _refuse_others(str(spec.get("class_path", "")))
    return spec


def _refuse_others(path: str) -> None:
    """Refuse a name that is none, and classes of this project that classify no images, such as generators."""
    from gendistill.class_names import PACKAGES, paths_of, suggestion
    from gendistill.nets.learners import Learner

    name = path.rpartition(".")[2]
    ours = path.split(".")[0] in PACKAGES and path in paths_of(name)
    if "." not in path or (ours and path not in paths_of(name, Learner)):
        what = ", which is no learner" if ours else ""
        raise UserError(
            f"{judging_option('learner')} is '{path}'{what}; {suggestion(path, Learner)}write the "
            "name of a learner such as ConvNet, or package.module.Name"
        )


def short_name(reference: str) -> str:
    """Return what to call a teacher: the run's or the file's name."""
    if reference == "real" or reference.startswith("real:"):
        return reference
    from gendistill.teacher.reference import LABELS, STORED, labelled_by

    base, between, other = reference.rpartition(LABELS)
    if between:
        by, once = labelled_by(other)
        return f"{short_name(base)}{between}{short_name(by)}{STORED if once else ''}"
    path = Path(reference)
    return readable(real_path(path).parent.name if path.name == FILE_NAME else path.stem or real_path(path).name)


def learning_options(options: argparse.Namespace) -> dict[str, Any]:
    """Return the options of learning that were given: all of them, or a protocol and what stands beside it."""
    learning = named_learning(options)
    if options.protocol is not None:
        # Whatever stands at its default is the protocol's to say.
        learning = {name: value for name, value in learning.items() if name in options.explicit}
        learning["protocol"] = options.protocol
    return learning


def named_learning(options: argparse.Namespace) -> dict[str, Any]:
    """Return the options of :func:`gendistill.evaluation.learning.learning_curve` that a command line has."""
    rates = options.lr
    learning = {"learner": learner_specs(options.learner)[0], "lr": rates[0] if rates and len(rates) == 1 else rates}
    return learning | {name: getattr(options, name) for name in SAME_NAME}


def running(options: argparse.Namespace) -> dict[str, Any]:
    """Return where learners train and a count of their updates on stderr, as options of learning."""
    from gendistill.counter import Counter
    from gendistill.runs.device import choose_device

    return {"device": choose_device(options.device), "progress": Counter("learners", "updates")}


def judge(
    teacher: Teacher, data: RealData, options: argparse.Namespace, path: str, name: str, *, count: int | None = None
) -> dict[str, Any]:
    """Run the evaluators on one teacher.

    Args:
        teacher: The teacher.
        data: The real data.
        options: Those of :func:`add_judging`.
        path: How the teacher was named.
        name: What to call it.
        count: Images drawn for fidelity; None: what the options say.

    Returns:
        The result of :func:`gendistill.evaluation.judging.judged`.
    """
    from gendistill.evaluation.judging import judged
    from gendistill.evaluation.private_teachers import is_private

    if options.robust and teacher.label_counts is None:
        many = str(10 * data.description.num_classes)
        how = typed("export", path, "--format", "safetensors", "--count", many, "--output", f"{many}-images")
        raise UserError(
            f"--robust compares with as many random real images, and '{path}' makes images without end; judge some of "
            f"them: {how}"
        )
    learning = learning_options(options) | running(options)
    fidelity = {name: getattr(options, name) for name in ("extractor", "weights", "draws", "reference", "seed")}
    fidelity |= {"device": learning["device"], "count": options.count if count is None else count}
    # Fidelity compares with training images; of a private teacher it is measured when it is asked for by name.
    looks = not is_private(teacher) or "fidelity" in options.explicit
    return judged(
        teacher,
        data,
        path=path,
        name=name,
        learning=learning,
        fidelity=fidelity if options.fidelity and looks else None,
        seed=options.seed,
        continual=options.continual,
        robust=options.robust,
        others=learner_specs(options.learner)[1:],
    )


def more_words(result: Mapping[str, Any]) -> str:
    """Return the results of ``--continual`` and ``--robust`` as lines for a person, each with its end."""
    lines = []
    if (continual := result.get("continual")) is not None:
        by_stage = zip(continual["classes_seen"], continual["accuracy"]["mean"], strict=True)
        lines.append("continual  " + ", ".join(f"{seen} classes {100 * mean:.1f} %" for seen, mean in by_stage))
    if (robust := result.get("robust")) is not None:
        ars = "none without --augment" if robust["ars"] is None else f"{robust['ars']:.3f}"
        lines.append(f"robust     label-robust score {robust['lrs']:.3f}, augmentation-robust score {ars}")
    return "".join(f"{line}\n" for line in lines)
