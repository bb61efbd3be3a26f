"""The training of learners inside a method: what they are shown, how they move, and what is differentiated.

Every method that looks at learners which it trained itself holds one :class:`InnerTraining`, made of one block of
options (:class:`InnerOptions`): a GTN, dataset distillation, trajectory matching, the meta-loss of a GAN and that of a
latent search. So each of them has every optimiser, window, memory mode and precision of the engine
(:mod:`gendistill.unroll`), and what is checked is checked once.

    inner = InnerTraining(InnerOptions(steps=20, window=5))
    end = inner.end(lambda: stream)  # a window ends somewhere
    tasks = [Task(learner, loss, seed)]
    for taught in inner.train(tasks, lambda task: Lesson(images[:end], labels[:end], rates[:end])):
        taught.loss.backward()
"""

from gendistill.inner.lesson import Lesson, Task, Taught
from gendistill.inner.options import InnerOptions
from gendistill.inner.shown import ShownImages
from gendistill.inner.training import InnerTraining

__all__ = ["InnerOptions", "InnerTraining", "Lesson", "ShownImages", "Task", "Taught"]
