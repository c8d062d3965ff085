"""Named ways to train: a network, what its faces go through, and the settings of the loop, put together.

Five are the library's own, five are published student projects, told in `ferlib`'s terms and kept with their flaws.
What a project did not tell (`onecycle_resnet18`'s learning rate, say) is our guess at the common.
"""

import dataclasses
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from ferlib.models import FaceModel, build_model, freeze
from ferlib.training.config import TrainConfig
from ferlib.transforms import BatchAugment, preset

IMAGENET = {"in_chans": 3, "mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225), "weights": "imagenet"}


@dataclass(frozen=True)
class Recipe:
    """One named recipe: how its model is built, what its faces go through, how it is trained, and where it errs.

    `model` holds `build_model`'s arguments. Faces go through either `augment` (`BatchAugment`'s arguments) or the
    Albumentations `preset` of that name, or through neither. With `trainable`, only those parts of the model learn.
    """

    name: str
    description: str
    model: dict[str, Any]
    config: TrainConfig
    augment: dict[str, Any] | None = None
    preset: str | None = None
    trainable: tuple[str, ...] = ()
    flaws: tuple[str, ...] = field(default=(), kw_only=True)

    def build(self, classes: Sequence[str] | None = None) -> tuple[FaceModel, BatchAugment | None, Any]:
        """Build a fresh model, seeded by the config, and the batch transform and `A.Compose` to train it with.

        classes: the names of its outputs; by default those of the weights it starts from, else the seven emotions.
        """
        torch.manual_seed(self.config.seed)
        model = build_model(classes=classes, **self.model)
        if self.trainable:
            freeze(model, self.trainable)
        spec = model.input_spec
        augment = None if self.augment is None else BatchAugment(spec, **self.augment)
        return model, augment, None if self.preset is None else preset(self.preset, spec.size)


RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            "fast", "FerNet from scratch, three epochs: a first model in minutes on two CPU cores",
            {"name": "fernet"},
            TrainConfig(epochs=3), {},
        ),
        Recipe(
            "cpu", "FerNet from scratch, twenty epochs: what two CPU cores can bear",
            {"name": "fernet", "widths": (32, 64, 256, 512), "depths": (1, 1, 1), "drop_rate": 0.3},
            TrainConfig(batch_size=64, lr=0.002, ema=0.998), {"rotate": 12, "scale": 0.18, "shift": 0.1, "erase": 0.4},
        ),
        Recipe(
            "long", "a FerNet of 2.0 M parameters from scratch with mixup, sixty-four epochs, the first 24 at 36 px",
            {"name": "fernet", "drop_rate": 0.3},
            TrainConfig(epochs=64, mixup=0.2, ema=0.998, progressive=(36, 0.375)),
            {"rotate": 15, "scale": 0.2, "shift": 0.1, "erase": 0.3},
        ),
        Recipe(
            "small", "a FerNet of 0.5 M parameters, distilled from a larger model (--teacher)",
            {"name": "fernet", "widths": (32, 48, 96, 144), "drop_rate": 0.1},
            TrainConfig(epochs=40, lr=0.004, ema=0.998, distill=0.7, label_smoothing=0.0),
            {"rotate": 12, "scale": 0.15, "shift": 0.1},
        ),
        Recipe(
            "gpu", "a wider, deeper FerNet from scratch with mixup, a hundred epochs: for a GPU",
            {"name": "fernet", "widths": (64, 128, 256, 512), "depths": (2, 2, 2), "drop_rate": 0.3},
            TrainConfig(epochs=100, batch_size=256, lr=0.003, mixup=0.2, ema=0.999),
            {"rotate": 15, "scale": 0.2, "shift": 0.1, "erase": 0.4},
        ),
        Recipe(
            "scratch_jitter", "ResNet-18 with its own stem from scratch, rotation and jitter: claims 60%",
            {"name": "resnet18", "small_stem": False},
            TrainConfig(
                epochs=20, batch_size=64, optimizer="adam", lr=1e-3, weight_decay=0, schedule="constant",
                clip_norm=None, label_smoothing=0,
            ),
            preset="scratch_jitter",
            flaws=(
                "jittering the saturation does nothing: the faces are gray",
                "it calls 65% the state of the art; the challenge of 2013 was won with 71.2%",
                "its stem, made for 224 px, leaves a 2x2 map of a 48-px face",
            ),
        ),
        Recipe(
            "onecycle_resnet18", "ImageNet's ResNet-18 with a new last layer, in colour, at 48 px, one-cycle",
            {"name": "resnet18.tv_in1k", "small_stem": False, **IMAGENET},
            TrainConfig(
                epochs=10, batch_size=64, optimizer="adam", lr=1e-3, weight_decay=1e-4, schedule="onecycle", warmup=0.3,
                clip_norm=0.1, label_smoothing=0,
            ),
            preset="onecycle_resnet18",
            flaws=("three equal channels of a gray face: three times the first layer's work for nothing",),
        ),
        Recipe(
            "albumentations_timm", "ImageNet's EfficientNet-B0 by timm, in colour, at 224 px, Albumentations",
            {"name": "efficientnet_b0.ra_in1k", "size": 224, **IMAGENET},
            TrainConfig(
                epochs=10, batch_size=64, optimizer="adam", lr=3e-4, weight_decay=0, schedule="constant",
                clip_norm=None, label_smoothing=0,
            ),
            preset="albumentations_timm",
            flaws=(
                "its copy of the data, images/train and images/validation, has a split of its own: its scores compare "
                "with no published figure",
            ),
        ),
        Recipe(
            "gray_resnet18", "ImageNet's ResNet-18 in gray at 224 px, layer3, layer4 and the head: claims 66.88%",
            {"name": "resnet18.tv_in1k", "size": 224, "mean": (0.485,), "std": (0.229,), "weights": "imagenet",
             "gray": "mean", "drop_rate": 0.5},
            TrainConfig(
                epochs=20, batch_size=64, lr=1e-3, weight_decay=0.01, schedule="plateau", clip_norm=1.0,
                label_smoothing=0, keep="best", freeze_bn=False,
                lr_scales=(("conv1", 0.1), ("layer3", 0.3), ("layer4", 0.5), ("fc", 1.0)),
            ),
            preset="gray_resnet18", trainable=("layer3", "layer4", "fc"),
            flaws=(
                "its first layer, averaged to gray, answers a third as strongly; the moving BatchNorm makes up for it",
                "conv1 has a learning rate, yet its weights are frozen: that group is dead",
                "the frozen layers' BatchNorm statistics still move",
                "it keeps the best epoch by its accuracy on the test folder, which merges PublicTest and PrivateTest",
                "its report counts 937 fear images of the test folder's 1,024: 87 were lost without a word",
                "the recalls of its report imply 67.9%, not 66.88%",
            ),
        ),
        Recipe(
            "plain_cnn", "the textbook network, Adam at a constant rate, early stopping: where students start",
            {"name": "plain_cnn"},
            TrainConfig(
                epochs=30, batch_size=64, optimizer="adam", lr=1e-3, weight_decay=0, schedule="constant",
                clip_norm=None, label_smoothing=0, patience=5, keep="best",
            ),
            preset="plain_cnn",
            flaws=("it stops, and keeps an epoch, by the accuracy on the faces that it reports",),
        ),
    )
}  # fmt: skip


def get_recipe(name: str) -> Recipe:
    """The recipe of that name; raises `ValueError` listing the names there are."""
    if name not in RECIPES:
        raise ValueError(f"no recipe is called {name!r}; allowed are {', '.join(RECIPES)}")
    return RECIPES[name]


def altered(
    recipe: Recipe, model: str | None = None, size: int | None = None, weights: str | None = None, **config: Any
) -> Recipe:
    """A recipe with another model, input size, weights to start from (`"none"` for random) or settings.

    Another model is built from scratch, in the recipe's colours, unless `weights` are given with it; what only the
    recipe's own model has (its options, its parts) is dropped. From scratch all of a model learns, at one rate.
    """
    built = dict(recipe.model)
    if model is not None:
        built = {name: built[name] for name in ("size", "in_chans", "mean", "std") if name in built} | {"name": model}
        recipe = dataclasses.replace(recipe, trainable=())
        config = {"lr_scales": ()} | config
    if size is not None:
        built["size"] = size
    if weights is not None:
        built["weights"] = None if weights == "none" else weights
    if weights == "none":
        recipe = dataclasses.replace(recipe, trainable=())
        config = {"lr_scales": ()} | config
    return dataclasses.replace(recipe, model=built, config=dataclasses.replace(recipe.config, **config))


def describe(recipe: Recipe) -> str:
    """All of a recipe as text, in lines of up to 96 characters."""
    faces = f"preset {recipe.preset}" if recipe.preset else f"BatchAugment {recipe.augment}"
    usual = vars(TrainConfig())
    told = ("epochs", "batch_size", "optimizer", "lr", "schedule")
    settings = {name: value for name, value in vars(recipe.config).items() if value != usual[name] or name in told}
    lines = [f"{recipe.name}: {recipe.description}"]
    lines += [f"  model     {_told(recipe.model)}", f"  faces     {faces}", f"  training  {_told(settings)}"]
    lines += [f"  learns    only {', '.join(recipe.trainable)}"] if recipe.trainable else []
    lines += [f"  flaw      {flaw}" for flaw in recipe.flaws]
    return "\n".join(textwrap.fill(line, 96, subsequent_indent=" " * 12, break_on_hyphens=False) for line in lines)


def _told(facts: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in facts.items())
