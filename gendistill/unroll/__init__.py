"""Training a learner as a differentiable function: the bilevel engine.

A learner starts at theta_0 and takes T steps of SGD with momentum on synthetic batches (torch's convention), or of Adam
(:mod:`gendistill.unroll.rules`):

    g_t = d/d theta  loss(learner(X_t; theta_t), Y_t)
    v_{t+1} = mu_t v_t + g_t,    theta_{t+1} = theta_t - alpha_t v_{t+1}

An outer loss looks at the parameters after any of the steps. :func:`unrolled_loss` returns the sum of the outer losses
as a scalar that can be differentiated with respect to the images X, soft labels Y, learning rates alpha, momenta mu and
the initial parameters theta_0. The gradient is exact in all memory modes:

- ``full`` keeps the graph of all T steps; memory grows with T times one step's activations.
- ``recompute`` keeps the state (theta_t, v_t) before every step and rebuilds one step's graph at a time on the way
  back.
- ``sqrt`` keeps the state before every ceil(sqrt(T))-th step and rebuilds so many steps at a time: fewer states, more
  activations; for learners whose states are larger than their activations.

With ``window=W`` only the last W steps are differentiated, in any of the modes: the steps before leave no graph, and
memory and time of the way back do not depend on T (RaT-BPTT, Feng et al. 2024, draws where the window ends).

The learner is a function of its weights, its batch and the step. What it draws, as dropout does, comes from a seed and
the step (:mod:`gendistill.unroll.draws`); its running statistics can be carried along and are differentiated
(:mod:`gendistill.nets.statistics`); layers whose second derivatives torch has wrong are called by other formulas
(:mod:`gendistill.nets.exact`). Spectral norm's singular vectors are constants, as its authors define the gradient.

:class:`CompiledStep` makes steps of SGD and their derivatives with ``torch.compile``.

Learners that share samples: :class:`SharedImages` makes the images once; call ``unrolled_loss(...).backward()``
for one learner after another, and send the summed gradient of the images through the generator once. Learners of one
architecture can also be trained at once: :class:`Together`. On a GPU a step can be recorded once and played again:
:class:`StepGraphs`.
"""

from gendistill.unroll.compiled import CompiledStep
from gendistill.unroll.engine import InnerLoss, OuterLoss, Unrolled, unrolled_loss
from gendistill.unroll.learner import Parameters, call, initial_parameters
from gendistill.unroll.modes import MEMORY_MODES, Memory
from gendistill.unroll.replay import StepGraphs
from gendistill.unroll.rules import RULES, Optimizer
from gendistill.unroll.shared import SharedImages
from gendistill.unroll.together import Together, representative, summed

__all__ = [
    "MEMORY_MODES",
    "RULES",
    "CompiledStep",
    "InnerLoss",
    "Memory",
    "Optimizer",
    "OuterLoss",
    "Parameters",
    "SharedImages",
    "StepGraphs",
    "Together",
    "Unrolled",
    "call",
    "initial_parameters",
    "representative",
    "summed",
    "unrolled_loss",
]
