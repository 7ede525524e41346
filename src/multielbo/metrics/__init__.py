"""What is measured of a trained model, each metric on top of a pure function."""

from multielbo.metrics.classifiers import Classifiers, train_classifiers
from multielbo.metrics.coherence import conditional_coherence, joint_coherence
from multielbo.metrics.estimates import Estimate, by_inputs
from multielbo.metrics.evaluation import Evaluation, evaluate
from multielbo.metrics.likelihood import importance_log_likelihood
from multielbo.metrics.probe import linear_probe

__all__ = [
    "Classifiers",
    "Estimate",
    "Evaluation",
    "by_inputs",
    "conditional_coherence",
    "evaluate",
    "importance_log_likelihood",
    "joint_coherence",
    "linear_probe",
    "train_classifiers",
]
