"""Named recipes: a network, the augmentation of its faces, and the settings of its training.

Seven are ours. Five are published student projects, written in the terms of `ferlib` with their flaws. Where a
project does not give a setting, such as the learning rate of `onecycle_resnet18`, we chose a common value. "Not run
here" means: not from its ImageNet weights; `benchmarks/README.md` has half an epoch of each from random ones.
"""

import dataclasses
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from ferlib.models.build import build_model, freeze
from ferlib.models.face_model import FaceModel
from ferlib.training.config import TrainConfig
from ferlib.transforms import BatchAugment, InputSpec, pipeline_parts
from ferlib.utils import require

IMAGENET = {"in_chans": 3, "mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225), "weights": "imagenet"}
STUDENT: dict[str, Any] = {"batch_size": 64, "optimizer": "adam", "lr": 1e-3, "weight_decay": 0, "schedule": "constant",
                           "clip_norm": None, "label_smoothing": 0}  # fmt: skip


@dataclass(frozen=True)
class Recipe:
    """Describe one way to train.

    Args:
        name: the recipe's name.
        description: one line about it.
        model: arguments of `build_model`.
        config: the settings of the training.
        augment: arguments of `BatchAugment`; None for no batch augmentation.
        pipeline: a function of the side in pixels that gives an `A.Compose`, in place of `augment`.
        trainable: the only parts of the model that learn; by default all of them.
        flaws: what is wrong with it.
    """

    name: str
    description: str
    model: dict[str, Any]
    config: TrainConfig
    augment: dict[str, Any] | None = None
    pipeline: Callable[[int | InputSpec], Any] | None = None
    trainable: tuple[str, ...] = ()
    flaws: tuple[str, ...] = field(default=(), kw_only=True)

    def build(self, classes: Sequence[str] | None = None) -> tuple[FaceModel, BatchAugment | None, Any]:
        """Build a new model, seeded by the config, and its transforms.

        Args:
            classes: names of the outputs; by default those of the weights, else the seven emotions.

        Returns:
            The model, its batch augmentation or None, and its Albumentations pipeline or None.

        >>> model, augment, pipeline = get_recipe("fast").build(("open", "shut"))
        >>> model.classes, augment.rotate, pipeline
        (('open', 'shut'), 10.0, None)
        """
        torch.manual_seed(self.config.seed)
        model = build_model(classes=classes, **self.model)
        if self.trainable:
            freeze(model, self.trainable)
        augment = None if self.augment is None else BatchAugment(model.input_spec, **self.augment)
        return model, augment, self.pipeline and self.pipeline(model.input_spec.size)


# The students' pipelines. Each takes the side that the network needs in pixels, or its `InputSpec`, and returns an
# `A.Compose`, as `transforms.light` does.


def scratch_jitter(size: int | InputSpec = 48) -> Any:
    """Build the pipeline of the recipe `scratch_jitter`; `size` as in `transforms.light`."""
    A, side, last = pipeline_parts(size)
    return A.Compose([
        A.Resize(side, side),
        A.Rotate(limit=(-20, 20), border_mode=0, p=1),
        A.ColorJitter(brightness=(0.5, 1.5), contrast=(0.5, 1.5), saturation=(0.5, 1.5), hue=(0, 0), p=1),
        *last])  # fmt: skip


def onecycle_resnet18(size: int | InputSpec = 48) -> Any:
    """Build the pipeline of the recipe `onecycle_resnet18`; `size` as in `transforms.light`."""
    A, side, last = pipeline_parts(size)
    return A.Compose([
        A.Resize(side, side),
        A.Pad(padding=4, border_mode=4),
        A.RandomCrop(side, side),
        A.HorizontalFlip(p=0.5),
        A.ColorJitter(brightness=(0.8, 1.2), contrast=(0.8, 1.2), saturation=(0.8, 1.2), hue=(0, 0), p=1),
        *last])  # fmt: skip


def albumentations_timm(size: int | InputSpec = 48) -> Any:
    """Build the pipeline of the recipe `albumentations_timm`; `size` as in `transforms.light`."""
    A, side, last = pipeline_parts(size)
    return A.Compose([
        A.Resize(side, side),
        A.Rotate(limit=(-15, 15), border_mode=4, p=0.5),
        A.HorizontalFlip(p=0.5),
        A.RandomBrightnessContrast(brightness_limit=0.2, contrast_limit=0, p=0.5), *last])  # fmt: skip


def gray_resnet18(size: int | InputSpec = 48) -> Any:
    """Build the pipeline of the recipe `gray_resnet18`; `size` as in `transforms.light`."""
    A, side, last = pipeline_parts(size)
    return A.Compose([
        A.Resize(side, side),
        A.HorizontalFlip(p=0.5),
        A.Affine(rotate=(-10, 10), scale=(0.95, 1.05), translate_percent=(-0.05, 0.05), p=1),
        A.Sharpen(alpha=(0.1, 0.1), lightness=(1, 1), p=0.3),
        A.AutoContrast(p=0.3), *last])  # fmt: skip


def plain_cnn(size: int | InputSpec = 48) -> Any:
    """Build the pipeline of the recipe `plain_cnn`; `size` as in `transforms.light`."""
    A, side, last = pipeline_parts(size)
    return A.Compose([
        A.Resize(side, side),
        A.Affine(rotate=(-10, 10), scale=(0.9, 1.1), border_mode=1, p=1),
        A.HorizontalFlip(p=0.5), *last])  # fmt: skip


RECIPES = {recipe.name: recipe for recipe in (
    Recipe("fast", "FerNet from scratch, three epochs: a first model in minutes on two CPU cores",
           {"name": "fernet"}, TrainConfig(epochs=3), {}),
    Recipe("cpu", "FerNet from scratch, twenty epochs, for two CPU cores",
           {"name": "fernet", "widths": (32, 64, 256, 512), "depths": (1, 1, 1), "drop_rate": 0.3},
           TrainConfig(batch_size=64, lr=0.002, ema=0.998),
           {"rotate": 12, "scale": 0.18, "shift": 0.1, "erase": 0.4}),
    Recipe("long", "a FerNet of 2.0 M parameters from scratch with mixup, sixty-four epochs, the first 24 at 36 px",
           {"name": "fernet", "drop_rate": 0.3},
           TrainConfig(epochs=64, mixup=0.2, ema=0.998, progressive=(36, 0.375)),
           {"rotate": 15, "scale": 0.2, "shift": 0.1, "erase": 0.3}),
    Recipe("small", "a FerNet of 0.5 M parameters, distilled from a larger model (--teacher)",
           {"name": "fernet", "widths": (32, 48, 96, 144), "drop_rate": 0.1},
           TrainConfig(epochs=40, lr=0.004, ema=0.998, distill=0.7, label_smoothing=0.0),
           {"rotate": 12, "scale": 0.15, "shift": 0.1}),
    Recipe("fine_tune", "ImageNet's EfficientNet-Lite0 in gray at 96 px, eight epochs: 68.6% after six, flip averaged",
           {"name": "tf_efficientnet_lite0", "size": 96, "small_stem": False, "mean": (0.5,), "std": (0.5,),
            "weights": "imagenet"},
           TrainConfig(epochs=8, batch_size=64, lr=1e-3, warmup=0.1, ema=0.998, precision="fp32"),
           {"rotate": 12, "scale": 0.15, "shift": 0.08, "erase": 0.3}),
    Recipe("resnet", "timm's ResNet-18 at half its width, from scratch with mixup: ten epochs at 64 px, ten at 96",
           {"name": "resnet18", "channels": (32, 64, 128, 256), "size": 96, "small_stem": False, "drop_rate": 0.3},
           TrainConfig(epochs=20, mixup=0.2, ema=0.998, progressive=(64, 0.5)),
           {"rotate": 15, "scale": 0.2, "shift": 0.1, "erase": 0.3}),
    Recipe("gpu", "a wider, deeper FerNet from scratch with mixup, a hundred epochs: for a GPU",
           {"name": "fernet", "widths": (64, 128, 256, 512), "depths": (2, 2, 2), "drop_rate": 0.3},
           TrainConfig(epochs=100, batch_size=256, lr=0.003, mixup=0.2, ema=0.999),
           {"rotate": 15, "scale": 0.2, "shift": 0.1, "erase": 0.4}),
    Recipe("scratch_jitter", "ResNet-18 with its own stem from scratch, rotation and jitter: claims 60%",
           {"name": "resnet18", "small_stem": False}, TrainConfig(**STUDENT | {"epochs": 20}),
           pipeline=scratch_jitter,
           flaws=("jitter of the saturation does nothing: the faces are gray",
                  "it calls 65% the state of the art; the winner of the challenge in 2013 had 71.2%",
                  "its stem, made for 224 px, leaves a 2x2 map of a 48-px face")),
    Recipe("onecycle_resnet18", "ImageNet's ResNet-18 with a new last layer, in colour, 48 px, one-cycle: not run here",
           {"name": "resnet18.tv_in1k", "small_stem": False, **IMAGENET},
           TrainConfig(**STUDENT | {"epochs": 10, "weight_decay": 1e-4, "schedule": "onecycle", "warmup": 0.3,
                                    "clip_norm": 0.1}),
           pipeline=onecycle_resnet18,
           flaws=("three equal channels of a gray face: three times the work in the first layer, for nothing",)),
    Recipe("albumentations_timm", "ImageNet's EfficientNet-B0 by timm, colour, 224 px, Albumentations: not run here",
           {"name": "efficientnet_b0.ra_in1k", "size": 224, **IMAGENET},
           TrainConfig(**STUDENT | {"epochs": 10, "lr": 3e-4}),
           pipeline=albumentations_timm,
           flaws=("its images/train and images/validation are a split of its own: no published score compares",)),
    Recipe("gray_resnet18", "ImageNet's ResNet-18 in gray at 224 px, layer3, layer4, head: claims 66.88%, not run here",
           {"name": "resnet18.tv_in1k", "size": 224, "mean": (0.485,), "std": (0.229,), "weights": "imagenet",
            "gray": "mean", "drop_rate": 0.5},
           TrainConfig(epochs=20, batch_size=64, lr=1e-3, weight_decay=0.01, schedule="plateau", clip_norm=1.0,
                       label_smoothing=0, keep="best", freeze_bn=False,
                       lr_scales=(("conv1", 0.1), ("layer3", 0.3), ("layer4", 0.5), ("fc", 1.0))),
           pipeline=gray_resnet18, trainable=("layer3", "layer4", "fc"),
           flaws=("its first layer, averaged to gray, answers a third as strongly; the moving BatchNorm compensates",
                  "conv1 has a learning rate, yet its weights are frozen: that group does nothing",
                  "the frozen layers' BatchNorm statistics still move",
                  "it keeps the best epoch by its accuracy on the test folder, which merges PublicTest and PrivateTest",
                  "its report counts 937 fear images of the test folder's 1,024: 87 are missing without a note",
                  "the recalls of its report imply 67.9%, not 66.88%")),
    Recipe("plain_cnn", "the textbook network, Adam at a constant rate, early stopping: where students start",
           {"name": "plain_cnn"}, TrainConfig(**STUDENT | {"epochs": 30, "patience": 5, "keep": "best"}),
           pipeline=plain_cnn,
           flaws=("it stops, and keeps an epoch, by the accuracy on the faces that it reports",)),
)}  # fmt: skip


def get_recipe(name: str) -> Recipe:
    """Return the recipe of a name.

    Args:
        name: a key of `RECIPES`.

    Raises:
        ValueError: there is no such recipe; the message lists them.

    >>> get_recipe("fast").config.epochs
    3
    """
    require(name in RECIPES, f"no recipe is called {name!r}; allowed are {', '.join(RECIPES)}")
    return RECIPES[name]


def altered(
    recipe: Recipe, model: str | None = None, size: int | None = None, weights: str | None = None, **config: Any
) -> Recipe:
    """Return a recipe with another model, size, start or settings.

    Another model starts from random weights unless `weights` are given. It keeps size and colours of the recipe, not
    its other options. From random weights the whole model learns, at one rate.

    Args:
        recipe: the recipe; it stays as it is.
        model: name of another model.
        size: side in pixels.
        weights: the weights to start from; "none" for random ones.
        config: settings of the training to change.

    >>> altered(get_recipe("fast"), epochs=5).config.epochs
    5
    """
    arguments, trainable = dict(recipe.model), recipe.trainable
    if model is not None:
        arguments = {key: arguments[key] for key in ("size", "in_chans", "mean", "std") if key in arguments}
        arguments["name"] = model
    if size is not None:
        arguments["size"] = size
    if weights is not None:
        arguments["weights"] = None if weights == "none" else weights
    if model is not None or weights == "none":
        trainable, config = (), {"lr_scales": ()} | config
    changed = dataclasses.replace(recipe.config, **config)
    return dataclasses.replace(recipe, model=arguments, trainable=trainable, config=changed)


def describe(recipe: Recipe) -> str:
    """Describe all of a recipe as text, in lines of up to 96 characters.

    Args:
        recipe: the recipe.

    >>> print(describe(get_recipe("fast")))
    fast: FerNet from scratch, three epochs: a first model in minutes on two CPU cores
      model     name='fernet'
      faces     BatchAugment {}
      training  epochs=3, batch_size=128, optimizer='adamw', lr=0.003, schedule='linear'
    """
    faces = f"recipes.{recipe.pipeline.__name__}" if recipe.pipeline else f"BatchAugment {recipe.augment}"
    defaults, always = vars(TrainConfig()), ("epochs", "batch_size", "optimizer", "lr", "schedule")
    settings = {key: value for key, value in vars(recipe.config).items() if value != defaults[key] or key in always}
    lines = [f"{recipe.name}: {recipe.description}", f"  model     {_format(recipe.model)}", f"  faces     {faces}"]
    lines += [f"  training  {_format(settings)}"]
    lines += [f"  learns    only {', '.join(recipe.trainable)}"] if recipe.trainable else []
    lines += [f"  flaw      {flaw}" for flaw in recipe.flaws]
    return "\n".join(textwrap.fill(line, 96, subsequent_indent=" " * 12, break_on_hyphens=False) for line in lines)


def _format(values: dict[str, Any]) -> str:
    """Format values as name=value, separated by commas."""
    return ", ".join(f"{name}={value!r}" for name, value in values.items())
