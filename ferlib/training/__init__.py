"""Train a network: `fit`, its settings, and the search for a learning rate."""

from ferlib.training.config import TrainConfig
from ferlib.training.lr_finder import find_lr, suggest_lr
from ferlib.training.optim import choose_precision
from ferlib.training.trainer import FitResult, fit

__all__ = ["FitResult", "TrainConfig", "choose_precision", "find_lr", "fit", "suggest_lr"]
