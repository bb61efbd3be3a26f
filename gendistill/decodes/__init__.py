"""What stands between the values that a teacher stores and the images that learners see."""

from gendistill.decodes.base import Decode, Identity
from gendistill.decodes.eight_bit import EightBit
from gendistill.decodes.formation import Formation
from gendistill.decodes.palette import Palette

__all__ = ["Decode", "EightBit", "Formation", "Identity", "Palette"]
