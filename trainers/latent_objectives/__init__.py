"""What is asked of the images of a latent search; each alone, or several with weights."""

from trainers.latent_objectives.confidence import Confidence
from trainers.latent_objectives.matching import FeatureMatching, GradientMatching
from trainers.latent_objectives.meta_loss import MetaLoss
from trainers.latent_objectives.thesis import ThesisLoss
from trainers.latent_objectives.trajectory import TrajectoryMatching

__all__ = ["Confidence", "FeatureMatching", "GradientMatching", "MetaLoss", "ThesisLoss", "TrajectoryMatching"]
