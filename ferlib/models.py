"""Networks by name: two of our own, any of timm's, the weights they start from, and one safe file to keep them in.

A model that `build_model` made knows its own input (`model.input_spec`) and how it was built (`model.built_with`), so
that `save_model` needs no more than the model, and `load_model` no more than the file.
"""

import dataclasses
import difflib
import hashlib
import json
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from timm.layers import PatchEmbed
from torch import nn

from ferlib.emotions import EMOTIONS
from ferlib.files import write_whole
from ferlib.networks import Ensemble, FerNet, PlainCNN
from ferlib.transforms import InputSpec

WEIGHTS_FILE = "model.safetensors"
SHIPPED = Path(__file__).parent / "weights"  # weights that come with the package, one file a name
# Options that fetch or read weights from elsewhere: a model's file does not obey them, and keeps but the first.
FOREIGN_WEIGHTS = ("weights", "pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path", "cache_dir")
TRIED_SIZES = (32, 48, 64, 75, 96, 128, 160, 192, 224, 256, 299, 384, 512)


OWN_MODELS: dict[str, type[nn.Module]] = {"plain_cnn": PlainCNN, "fernet": FerNet}


def build_model(
    name: str,
    *,
    num_classes: int = 7,
    in_chans: int = 1,
    size: int = 48,
    small_stem: bool | None = None,
    weights: str | Path | None = None,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
    **options: Any,
) -> nn.Module:
    """Build `"fernet"`, `"plain_cnn"` or any model that timm knows, for faces of `size` px.

    `weights` are those to start from: None (random), `"imagenet"` (timm's, from the hub or its cache; for `in_chans=1`
    the first layer's are averaged over red, green and blue, so that it answers a third as strongly as to the same gray
    in colour), `"fer2013"` (shipped with this package), or the path of a model of the same shape; another
    `num_classes` gets a fresh last layer. `small_stem` halves a timm model's first stride and drops a max-pool behind
    it, since a stem made for 224 px leaves a 2x2 map of a 48-px face; None does so below 80 px where it can be done.
    `mean` and `std`, on the 0-1 scale, are what faces are normalised by: by default ImageNet's for its weights, else
    those of FER2013's Training pixels. `options` go to the model (`drop_rate`, `widths`, timm's own).

    Raises `ValueError` for an unknown name (with names near it), a size too small for the network, or weights that do
    not fit; `FileNotFoundError` for weights that are neither here nor to be fetched.
    """
    own = OWN_MODELS.get(name)
    if own is None and not timm.is_model(name):
        near = difflib.get_close_matches(name.lower(), [*OWN_MODELS, *timm.list_models()], 5)
        raise ValueError(
            f"no model is called {name!r}; allowed are {', '.join(OWN_MODELS)} and timm's names"
            + (f", such as {', '.join(near)}" if near else " (`timm.list_models()` lists them)")
        )
    if options.pop("pretrained", False):
        raise ValueError("pretrained=True is timm's word; here it is weights='imagenet'")
    if name == "plain_cnn" and size != 48:
        raise ValueError(f"plain_cnn takes faces of 48 px, {size} were asked; take fernet or a timm model")
    shape = {"num_classes": num_classes, "in_chans": in_chans}
    if own is not None:
        if weights == "imagenet":
            raise ValueError(f"there are no ImageNet weights for {name}; they go with timm's names, such as resnet18")
        model = own(**shape, **options)
        small_stem = False
    else:
        model = _timm_model(name, weights == "imagenet", **shape, **options)
        if small_stem is not False:
            small_stem = _shrink_stem(model, name, asked=bool(small_stem)) if small_stem or size < 80 else False
        _check_size(model, name, in_chans, size)
    if weights == "imagenet":
        mean, std = (fact or _by_channel(model, key, in_chans) for fact, key in ((mean, "mean"), (std, "std")))
    spec = InputSpec(size, in_chans, mean or (0.5077,) * in_chans, std or (0.2550,) * in_chans)
    kept = {option: value for option, value in options.items() if option not in FOREIGN_WEIGHTS}
    kept |= {"name": name, **shape, "size": size, "small_stem": small_stem}
    kept["weights"] = None if weights is None else str(weights)
    _attach(model, input_spec=spec, built_with=kept)
    if weights is not None and weights != "imagenet":
        _start_from(model, weights)
    return model


def _timm_model(name: str, imagenet: bool, **options: Any) -> nn.Module:
    try:
        model = timm.create_model(name, pretrained=imagenet, **options)
    except SafetensorError as error:
        raise ValueError(
            f"the ImageNet weights of {name} in the hub's cache are damaged ({error}); remove them there and run again"
        ) from error
    except (OSError, RuntimeError) as error:
        if not imagenet:
            raise
        if "No pretrained weights" in str(error):
            raise ValueError(f"timm has no ImageNet weights for {name}; train it from scratch: weights=None") from error
        raise FileNotFoundError(
            f"the ImageNet weights of {name} are not in the hub's cache and could not be fetched "
            f"({str(error).splitlines()[0][:120]}): run this once with a network, after which the cache has them, or "
            "train from scratch with weights=None (`--weights none`)"
        ) from error
    if imagenet and options["in_chans"] == 1:
        first = _first_convolution(model)
        if not isinstance(first, nn.Conv2d):
            raise ValueError(f"{name} has no first convolution to average to gray; build it with in_chans=3")
        with torch.no_grad():
            first.weight /= 3  # timm sums the three colours' weights
    return model


def _by_channel(model: nn.Module, key: str, in_chans: int) -> tuple[float, ...]:
    """ImageNet's mean or sd as a timm model was trained with, averaged for gray."""
    values = tuple(vars(model)["pretrained_cfg"][key])
    return values if in_chans == len(values) else (round(sum(values) / len(values), 4),) * in_chans


def _check_size(model: nn.Module, name: str, in_chans: int, size: int) -> None:
    def takes(side: int) -> bool:
        try:
            model(torch.zeros(1, in_chans, side, side))
        except (RuntimeError, AssertionError, ValueError):
            return False
        return True

    trains = model.training
    model.eval()
    with torch.no_grad():
        if not takes(size):
            enough = next((str(side) for side in TRIED_SIZES if side > size and takes(side)), None)
            asked = f"give size={enough} or more (`--size`)" if enough else "it may want a size of its own (img_size)"
            raise ValueError(f"{name} cannot take faces of {size} px: {asked}")
    model.train(trains)


def _start_from(model: nn.Module, weights: str | Path) -> None:
    """Copy the weights of a shipped or saved model into one of the same shape; the last layer may differ in classes."""
    donor = load_model(weights)
    mine, theirs = model.state_dict(), donor.state_dict()
    fits = {name: value for name, value in theirs.items() if name in mine and mine[name].shape == value.shape}
    other = [name for name in {**mine, **theirs} if name not in fits]
    if built_with(model)["num_classes"] != built_with(donor)["num_classes"]:
        other = [name for name in other if name not in mine or mine[name].shape[1:] != theirs[name].shape[1:]]
    if other:
        raise ValueError(
            f"the weights {weights} do not fit this {built_with(model)['name']} ({other[0]} differs); build it as they "
            f"were: {_as_arguments(built_with(donor))}"
        )
    model.load_state_dict(fits, strict=False)


def _as_arguments(facts: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in facts.items() if name not in FOREIGN_WEIGHTS)


def freeze(model: nn.Module, trainable: Sequence[str]) -> nn.Module:
    """Let only the named parts of a model train (`"layer4"`, `"fc"`), in place; returns the model.

    A part is a module or parameter by its full name, with all that is in it. Whether BatchNorm statistics of frozen
    parts still move is `TrainConfig.still_batchnorm`'s choice. Raises `ValueError` for a part that is not there.
    """
    names = [name for name, _ in model.named_parameters()]
    for part in trainable:
        if not any(is_within(name, part) for name in names):
            parts = ", ".join(dict.fromkeys(name.split(".")[0] for name in names))
            raise ValueError(f"the model has no part {part!r}; it has {parts}, and what lies in them")
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(any(is_within(name, part) for part in trainable))
    return model


def is_within(name: str, part: str) -> bool:
    """Whether a parameter's dotted name is a part's or lies in it: `"layer1.0.conv1"` in `"layer1"`, not `"layer"`."""
    return name == part or name.startswith(f"{part}.")


def input_spec(model: nn.Module) -> InputSpec:
    """What a model of `build_model` or `load_model` wants to be fed."""
    spec = getattr(model, "input_spec", None)
    if not isinstance(spec, InputSpec):
        raise ValueError("this model does not know its input: make it by ferlib.models.build_model or load_model")
    return spec


def built_with(model: nn.Module) -> dict[str, Any]:
    """The arguments that `build_model` made a model with."""
    input_spec(model)
    return dict(vars(model)["built_with"])


def _attach(model: nn.Module, **facts: Any) -> nn.Module:
    for name, fact in facts.items():
        setattr(model, name, fact)
    return model


def _first_convolution(model: nn.Module) -> nn.Module | None:
    first: Any = getattr(model, "pretrained_cfg", {}).get("first_conv", "")
    first = first[0] if isinstance(first, tuple) else first
    if not first or isinstance(model.get_submodule(first.rpartition(".")[0]), PatchEmbed):
        return None  # an embedding's stride fixes the tokens' grid
    return model.get_submodule(first)


def _shrink_stem(model: nn.Module, name: str, *, asked: bool) -> bool:
    """Halve the first convolution's stride and drop the stem's max-pool, in place; every weight keeps its shape.

    Returns whether it could be done; raises `ValueError` if it was asked for and could not.
    """
    layer = _first_convolution(model)
    if not isinstance(layer, nn.Conv2d):
        if asked:
            raise ValueError(f"{name} has no first convolution to slow down; build it with small_stem=False")
        return False
    layer.stride = tuple(max(1, stride // 2) for stride in layer.stride)
    if isinstance(getattr(model, "maxpool", None), nn.MaxPool2d):
        _attach(model, maxpool=nn.Identity())
    return True


def count_parameters(model: nn.Module) -> tuple[int, int]:
    """Parameters of a model: (all, those that train)."""
    sizes = [(p.numel(), p.numel() if p.requires_grad else 0) for p in model.parameters()]
    return sum(size for size, _ in sizes), sum(trains for _, trains in sizes)


def save_model(model: nn.Module, folder: str | Path, *, half: bool = False, **facts: Any) -> Path:
    """Write a model of `build_model` to `folder/model.safetensors`, whole or not at all; returns that path.

    With `half`, weights of two or more axes are kept in 16 bits, which halves the file; they are loaded as float32.

    The file's header holds `facts`, how to rebuild the model, its input, its classes, a hash of the weights
    (`model_hash`) and one of all this.
    """
    if isinstance(model, Ensemble):
        raise ValueError("an ensemble has no file of its own: save its members")
    spec = input_spec(model)
    classes = built_with(model)["num_classes"]
    if classes != len(EMOTIONS):
        raise ValueError(f"the model has {classes} classes; a file is for the {len(EMOTIONS)} emotions")
    path = Path(folder) / WEIGHTS_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    if half:
        tensors = {name: tensor.half() if tensor.ndim > 1 else tensor for name, tensor in tensors.items()}
    about = facts | {
        "built_with": built_with(model), "input_spec": dataclasses.asdict(spec), "classes": EMOTIONS,
        "weights_sha256": _hash(tensors),
    }  # fmt: skip
    about = json.loads(json.dumps(about))  # as a reader will see it
    content = save(tensors, {"ferlib": json.dumps(about | {"about_sha256": _hash_about(about)})})
    return write_whole(path, lambda scratch: scratch.write_bytes(content))


def load_model(path: str | Path) -> nn.Module:
    """Rebuild a model in evaluation mode from its file, a folder that holds `model.safetensors`, or a shipped name.

    `model.about` holds the file's facts. No code in the file is run (safetensors and JSON). Raises `FileNotFoundError`,
    or `ValueError` for a file that is cut short, altered, not ours, or made for other classes; nothing is half-loaded.
    """
    shipped = SHIPPED / f"{path}.safetensors"
    path = Path(path).expanduser()
    file = shipped if shipped.exists() else path / WEIGHTS_FILE if path.is_dir() else path
    if not file.exists():
        names = ", ".join(sorted(file.stem for file in SHIPPED.glob("*.safetensors"))) or "none in this version"
        raise FileNotFoundError(
            f"{file} does not exist; train a model first: ferlib train --recipe cpu --out {path}; shipped are {names}"
        )
    try:
        with safe_open(file, "pt") as opened:
            about = json.loads((opened.metadata() or {}).get("ferlib", "null"))
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 (no mapping)
    except (SafetensorError, json.JSONDecodeError, struct.error, OSError) as error:
        raise ValueError(f"{file} is no whole safetensors file ({error}); fetch or train it again") from error
    if not isinstance(about, dict) or not {"built_with", "input_spec", "classes", "weights_sha256"} <= set(about):
        raise ValueError(f"{file} was not written by ferlib.models.save_model: it does not say how to build its model")
    if tuple(about["classes"]) != EMOTIONS:
        raise ValueError(f"{file} is for the classes {', '.join(about['classes'])}; ferlib's are {', '.join(EMOTIONS)}")
    if _hash(tensors) != about["weights_sha256"] or _hash_about(about) != about.get("about_sha256"):
        raise ValueError(f"{file} was altered: it does not match the hashes it carries; fetch or train it again")
    try:
        spec = about["input_spec"]
        known = InputSpec(spec["size"], spec["channels"], tuple(spec["mean"]), tuple(spec["std"]))
        options = {name: value for name, value in about["built_with"].items() if name not in FOREIGN_WEIGHTS}
        model = build_model(**options)
        model.load_state_dict(tensors)
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise ValueError(f"{file} does not fit the model that it names: {error}") from error
    return _attach(model, input_spec=known, about=about).eval()


def load_ensemble(paths: Sequence[str | Path]) -> nn.Module:
    """The model of one path, or the models of several as one that averages their probabilities.

    Raises `ValueError` without a path, or when the models are not fed alike.
    """
    if not paths:
        raise ValueError("an ensemble needs a model; give the path of one or more")
    members = [load_model(path) for path in paths]
    if len(members) == 1:
        return members[0]
    specs = [input_spec(member) for member in members]
    for path, spec in zip(paths, specs, strict=True):
        if spec != specs[0]:
            raise ValueError(
                f"{path} takes {spec}, {paths[0]} takes {specs[0]}; the models of an ensemble are fed alike"
            )
    facts = {"name": "ensemble", "num_classes": len(EMOTIONS), "members": [built_with(member) for member in members]}
    return _attach(Ensemble(members), input_spec=specs[0], built_with=facts).eval()


def model_hash(model: nn.Module) -> str:
    """SHA-256 of a model's weights, names included: which model a figure belongs to."""
    return _hash({name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()})


def _hash_about(about: dict[str, Any]) -> str:
    facts = {name: fact for name, fact in about.items() if name != "about_sha256"}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _hash(tensors: dict[str, torch.Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)};".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b"")
    return digest.hexdigest()
