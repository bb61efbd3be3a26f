"""Expert trajectories: networks trained on the real data, with a snapshot of their weights after every epoch.

Trajectory matching starts students where an expert was and asks them to arrive where it went. :func:`expert_buffer`
opens the experts of a run and trains those that are not there yet.
"""

from gendistill.experts.buffer import ExpertBuffer, expert_buffer
from gendistill.experts.recipe import Recipe

__all__ = ["ExpertBuffer", "Recipe", "expert_buffer"]
