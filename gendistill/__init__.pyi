"""The names of the library for type checkers; ``__init__.py`` imports each when it is first asked for."""

from gendistill import plot as plot
from gendistill.data.real import RealData as RealData
from gendistill.errors import DivergenceError as DivergenceError
from gendistill.errors import GendistillError as GendistillError
from gendistill.errors import StorageError as StorageError
from gendistill.errors import UserError as UserError
from gendistill.library.judging import compare as compare
from gendistill.library.judging import evaluate as evaluate
from gendistill.library.opening import load as load
from gendistill.library.opening import load_data as load_data
from gendistill.library.results import Comparison as Comparison
from gendistill.library.results import Result as Result
from gendistill.library.training import Run as Run
from gendistill.library.training import train as train
from gendistill.runs.best import KeepBest as KeepBest
from gendistill.runs.callbacks import AtEnd as AtEnd
from gendistill.runs.callbacks import Callback as Callback
from gendistill.runs.callbacks import Every as Every
from gendistill.runs.callbacks import Now as Now
from gendistill.runs.callbacks import OnSave as OnSave
from gendistill.runs.loggers import Logger as Logger
from gendistill.teacher import Teacher as Teacher
from gendistill.teacher import export as export
from gendistill.teacher import save as save
from gendistill.teacher.dataset import TeacherDataset as TeacherDataset

__version__: str
