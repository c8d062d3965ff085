"""Named ways to train: a network, what its faces go through, and the settings of the loop, put together."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from ferlib.models import build_model, input_spec
from ferlib.training import TrainConfig
from ferlib.transforms import BatchAugment


@dataclass(frozen=True)
class Recipe:
    """One named recipe: `model` holds `build_model`'s arguments, `augment` `BatchAugment`'s, or None for none."""

    name: str
    description: str
    model: dict[str, Any]
    config: TrainConfig
    augment: dict[str, Any] | None = field(default_factory=dict)
    per_image: Callable[[], Callable[[np.ndarray], torch.Tensor]] | None = None  # makes a dataset's transform

    def build(self, size: int = 48) -> tuple[nn.Module, BatchAugment | None]:
        """A fresh model for faces of `size` px, seeded by the config, and the batch transform to train it with."""
        torch.manual_seed(self.config.seed)
        model = build_model(**self.model, size=size)
        return model, None if self.augment is None else BatchAugment(input_spec(model), **self.augment)


RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            "cpu", "FerNet from scratch, twenty epochs: what two CPU cores can bear",
            {"name": "fernet", "widths": (32, 64, 256, 512), "depths": (1, 1, 1), "drop_rate": 0.3},
            TrainConfig(batch_size=64, lr=0.002, ema=0.998), {"rotate": 12, "scale": 0.18, "shift": 0.1, "erase": 0.4},
        ),
        Recipe(
            "plain_cnn", "the textbook network, Adam at a constant rate, early stopping: where students start",
            {"name": "plain_cnn"},
            TrainConfig(
                epochs=30, batch_size=64, optimizer="adam", lr=1e-3, weight_decay=0, schedule="constant",
                clip_norm=None, label_smoothing=0, patience=5, keep="best",
            ),
            {"rotate": 10, "scale": 0.1, "shift": 0, "brightness": 0, "contrast": 0},
        ),
    )
}  # fmt: skip


def get_recipe(name: str) -> Recipe:
    """The recipe of that name; raises `ValueError` listing the names there are."""
    if name not in RECIPES:
        raise ValueError(f"no recipe is called {name!r}; allowed are {', '.join(RECIPES)}")
    return RECIPES[name]
