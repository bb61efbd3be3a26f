"""torch-mimicry and this project: its package, its checkpoints, its weights. See docs/methods/mimicry.md.

The package is optional. Without it, checkpoints of its SN-ResNet GANs can still be read (``convert``); with it, network
classes written for it run under this project's loop (``trainers/mimicry.py``).
"""

from gendistill.mimicry.adapter import GeneratorAdapter
from gendistill.mimicry.checkpoints import Checkpoint, latest_pair, read_checkpoint, write_checkpoint
from gendistill.mimicry.convert import from_mimicry, generator_spec, to_mimicry
from gendistill.mimicry.loader import INSTALL, installed, load
from gendistill.mimicry.metric_log import MetricLog
from gendistill.mimicry.networks import build_network, load_weights

__all__ = [
    "INSTALL",
    "Checkpoint",
    "GeneratorAdapter",
    "MetricLog",
    "build_network",
    "from_mimicry",
    "generator_spec",
    "installed",
    "latest_pair",
    "load",
    "load_weights",
    "read_checkpoint",
    "to_mimicry",
    "write_checkpoint",
]
