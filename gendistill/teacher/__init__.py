"""Teachers: what every method makes, in one interface and one file format."""

from gendistill.teacher.base import Batch, Teacher
from gendistill.teacher.export import export, materialise
from gendistill.teacher.files import describe, load, save
from gendistill.teacher.generator import GeneratorTeacher
from gendistill.teacher.labeller import Labeller, labelled
from gendistill.teacher.reference import open_teacher
from gendistill.teacher.stored import StoredImages
from gendistill.teacher.stored_labels import with_stored_labels
from gendistill.teacher.subset import RealSubset

__all__ = [
    "Batch",
    "GeneratorTeacher",
    "Labeller",
    "RealSubset",
    "StoredImages",
    "Teacher",
    "describe",
    "export",
    "labelled",
    "load",
    "materialise",
    "open_teacher",
    "save",
    "with_stored_labels",
]
