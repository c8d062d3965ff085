"""Networks by name: two of our own, any of timm's, the weights they start from, and one safe file to keep them in.

A model that `build_model` made knows its own input (`model.input_spec`) and how it was built (`model.built_with`), so
that `save_model` needs no more than the model, and `load_model` no more than the file.
"""

import dataclasses
import difflib
import hashlib
import json
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from timm.layers import PatchEmbed
from timm.models import get_pretrained_cfg
from torch import nn
from torch.overrides import TorchFunctionMode

from ferlib.emotions import EMOTIONS
from ferlib.files import write_whole
from ferlib.networks import Ensemble, FerNet, PlainCNN
from ferlib.transforms import InputSpec

WEIGHTS_FILE = "model.safetensors"
SHIPPED = Path(__file__).parent / "weights"  # weights that come with the package, one file a name
# Options that fetch or read weights from elsewhere: a model's file does not obey them, and keeps but the first.
FOREIGN_WEIGHTS = ("weights", "pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path", "cache_dir")
LARGEST_INPUT = 1024  # px: of a model from a file
LEAST_ROOM = 2**28  # bytes that a network from a file may take to build, however small the file
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
    gray: str = "sum",
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
    **options: Any,
) -> nn.Module:
    """Build `"fernet"`, `"plain_cnn"` or any model that timm knows, for faces of `size` px.

    `weights` are those to start from: None (random), `"imagenet"` (timm's, from the hub or its cache), `"fer2013"`
    (shipped with this package), or the path of a saved model, whose options, stem, mean and sd are then the defaults;
    another `num_classes` gets a fresh last layer. ImageNet's first layer becomes gray (`in_chans=1`) by the `"sum"` of
    its three colours, which answers a gray face as it did in colour, or by their `"mean"`, a third of that.
    `small_stem` halves a timm model's first stride and drops its `maxpool`, since a stem made for 224 px leaves a 2x2
    map of a 48-px face; None does so below 80 px where it can be done. `mean` and `std`, on the 0-1 scale, are what
    faces are normalised by: by default those of the weights, else those of FER2013's Training pixels. `options` go to
    the model (`drop_rate`, `widths`, timm's own).

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
    if gray not in ("sum", "mean"):
        raise ValueError(f"gray is {gray!r}; allowed are sum, mean")
    if name == "plain_cnn" and size != 48:
        raise ValueError(f"plain_cnn takes faces of 48 px, {size} were asked; take fernet or a timm model")
    donor = None if weights in (None, "imagenet") else load_model(weights)
    if donor is not None:
        known, fed = built_with(donor), input_spec(donor)
        if known["name"] != name or known["in_chans"] != in_chans or small_stem not in (None, known["small_stem"]):
            raise ValueError(f"the weights {weights} are for another model: {_as_arguments(known)}")
        small_stem, mean, std = known["small_stem"], mean or fed.mean, std or fed.std
        taken = {*FOREIGN_WEIGHTS, "name", "num_classes", "in_chans", "size", "small_stem"}
        options = {option: value for option, value in known.items() if option not in taken} | options
    shape = {"num_classes": num_classes, "in_chans": in_chans}
    if own is not None:
        if weights == "imagenet":
            raise ValueError(f"there are no ImageNet weights for {name}; they go with timm's names, such as resnet18")
        model = own(**shape, **options)
        small_stem = False
    else:
        model = _timm_model(name, weights == "imagenet", **shape, **options)
        if small_stem or (small_stem is None and size < 80):
            small_stem = _shrink_stem(model, name, asked=bool(small_stem))
    _check_size(model, name, in_chans, size)
    if weights == "imagenet":
        if in_chans == 1:
            _make_gray(model, name, gray)
        mean, std = (fact or _by_channel(model, key, in_chans) for fact, key in ((mean, "mean"), (std, "std")))
    spec = InputSpec(size, in_chans, mean or (0.5077,) * in_chans, std or (0.2550,) * in_chans)
    kept = {option: value for option, value in options.items() if option not in FOREIGN_WEIGHTS}
    kept |= {"name": name, **shape, "size": size, "small_stem": bool(small_stem)}
    kept["weights"] = None if weights is None else str(weights)
    _attach(model, input_spec=spec, built_with=kept)
    if donor is not None:
        _copy_weights(donor, model)
    return model


def _timm_model(name: str, imagenet: bool, **options: Any) -> nn.Module:
    """timm's model, with its ImageNet weights or random ones, and every way to fail in a sentence."""
    if not imagenet:
        return timm.create_model(name, **options)
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
            raise ValueError(f"ImageNet's weights do not fit {name} with {_as_arguments(options)}") from error
        reason = str(error).splitlines()[0][:120].strip()
        raise FileNotFoundError(
            f"the ImageNet weights of {name} are not in the hub's cache and could not be fetched ({reason}): run this "
            "once with a network, which fills the cache, or train from scratch: weights=None (`--weights none`)"
        ) from error


def _make_gray(model: nn.Module, name: str, gray: str) -> None:
    first = _first_convolutions(model)
    if not first:
        raise ValueError(f"{name} has no first convolution to make gray; build it with in_chans=3")
    with torch.no_grad():
        for layer in first if gray == "mean" else ():
            layer.weight /= 3  # timm has summed the three colours' weights


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
            asked = f"give another size, such as {enough} (`--size`)" if enough else "it may want img_size"
            raise ValueError(f"{name} cannot take faces of {size} px: {asked}")
    model.train(trains)


def _copy_weights(donor: nn.Module, model: nn.Module) -> None:
    """Copy all weights; only the last layer may differ, where it is for other classes."""
    mine, theirs = model.state_dict(), donor.state_dict()
    other = sorted(mine.keys() ^ theirs.keys()) or [name for name in mine if mine[name].shape != theirs[name].shape]
    last = {name.rpartition(".")[0] for name in other} if mine.keys() == theirs.keys() else set()
    for_others = len(last) == 1 and built_with(model)["num_classes"] != built_with(donor)["num_classes"]
    if other and not for_others:
        facts = _as_arguments(built_with(donor))
        raise ValueError(f"these weights do not fit ({other[0]} differs); build the model as they were: {facts}")
    model.load_state_dict({name: value for name, value in theirs.items() if name not in other}, strict=False)


def _as_arguments(facts: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in facts.items() if name not in FOREIGN_WEIGHTS)


def freeze(model: nn.Module, trainable: str | Sequence[str]) -> nn.Module:
    """Let only the named parts of a model train (`"layer4"`, `"fc"`), in place; returns the model.

    A part is a module or parameter by its full name, with all that is in it. Whether BatchNorm statistics of frozen
    parts still move is `TrainConfig.freeze_bn`'s choice. Raises `ValueError` for a part that is not there.
    """
    parts = [trainable] if isinstance(trainable, str) else trainable
    names = [name for name, _ in model.named_parameters()]
    for part in parts:
        if not any(is_within(name, part) for name in names):
            there = ", ".join(dict.fromkeys(name.split(".")[0] for name in names))
            raise ValueError(f"the model has no part {part!r}; it has {there}, and what lies in them")
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(any(is_within(name, part) for part in parts))
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
            _attach(model, maxpool=nn.Identity())
    elif asked:
        raise ValueError(f"{name} has no one first convolution to slow down; build it with small_stem=False")
    return slow


def count_parameters(model: nn.Module) -> tuple[int, int]:
    """Parameters of a model: (all, those that train)."""
    sizes = [(p.numel(), p.numel() if p.requires_grad else 0) for p in model.parameters()]
    return sum(size for size, _ in sizes), sum(trains for _, trains in sizes)


def save_model(model: nn.Module, folder: str | Path, *, half: bool = False, **facts: Any) -> Path:
    """Write a model of `build_model` to `folder/model.safetensors`, whole or not at all; returns that path.

    With `half`, weights of two or more axes are kept in 16 bits, which halves the file; they are loaded as float32.

    The file's header holds `facts`, how to rebuild the model, its input, its classes, a hash of the weights as they
    are in the file (`model_hash`, unless `half`) and one of all this.
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
    path, shipped = Path(os.path.expanduser(path)), {file.stem: file for file in SHIPPED.glob("*.safetensors")}
    file = path / WEIGHTS_FILE if os.path.isdir(path) else path
    if str(path) in shipped and file.is_file():
        raise ValueError(
            f"{path} is both a shipped name and a model of yours; give yours by its path, {path.resolve()}"
        )
    file = shipped.get(str(path), file)
    if not os.path.exists(file):  # nor can a file be called so
        names = ", ".join(sorted(shipped)) or "none in this version"
        raise FileNotFoundError(
            f"{path} is neither a run's folder, nor a model's file, nor a shipped name ({names}); to train a model: "
            "ferlib train --recipe cpu --out runs/cpu"
        )
    if not file.is_file():
        raise ValueError(f"{file} is no file; give a run's folder, a model's file or a shipped name")
    try:
        with safe_open(file, "pt") as opened:
            about = json.loads((opened.metadata() or {}).get("ferlib", "null"))
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 (no mapping)
        hashed, size = _hash(tensors), file.stat().st_size
    except Exception as error:  # what a header may claim fails in many ways, and each is this one file's
        raise ValueError(f"{file} is no whole safetensors file ({error!s:.200}); fetch or train it again") from error
    if not isinstance(about, dict) or not {"built_with", "input_spec", "classes", "weights_sha256"} <= set(about):
        raise ValueError(f"{file} was not written by ferlib.models.save_model: it does not say how to build its model")
    if about["classes"] != list(EMOTIONS):
        classes = about["classes"] if isinstance(about["classes"], list) else [about["classes"]]
        given = ", ".join(map(str, classes))
        raise ValueError(f"{file} is for the classes {given:.200}; ferlib's are {', '.join(EMOTIONS)}")
    if hashed != about["weights_sha256"] or _hash_about(about) != about.get("about_sha256"):
        raise ValueError(f"{file} was altered: it does not match the hashes it carries; fetch or train it again")
    if not all(tensor.isfinite().all() for tensor in tensors.values()):
        raise ValueError(f"{file} holds weights that are no numbers (NaN, infinite); train it again, at a lower lr")
    try:
        spec = about["input_spec"]
        known = InputSpec(spec["size"], spec["channels"], tuple(spec["mean"]), tuple(spec["std"]))
        options = {name: value for name, value in about["built_with"].items() if name not in FOREIGN_WEIGHTS}
        numbers = (*known.mean, *known.std, about.get("temperature", 1.0))
        if not (
            all(map(math.isfinite, numbers)) and numbers[-1] > 0 and max(known.size, options["size"]) <= LARGEST_INPUT
        ):
            raise ValueError(f"its input, {known}, or its temperature, {numbers[-1]}, cannot be")
        with _Bounded(max(LEAST_ROOM, 8 * size)):
            model = build_model(**options)
        model.load_state_dict(tensors)
    except Exception as error:  # as do networks that are asked for what they are not made for
        raise ValueError(f"{file} does not fit the model that it names: {error!s:.300}") from error
    model = model.to(memory_format=torch.channels_last)  # twice as fast on a CPU
    return _attach(model, input_spec=known, about=about).eval()


ATTENTION = (nn.functional.scaled_dot_product_attention, torch.matmul, torch.Tensor.matmul, torch.Tensor.__matmul__)


class _Bounded(TorchFunctionMode):
    """While it lasts, new tensors take at most so many bytes in all, and no layer gives more than a gigabyte.

    A file of a few bytes may name a network of any size: this refuses it before its memory is filled.
    """

    def __init__(self, most: int):
        super().__init__()
        self.left = most

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        tensors, kwargs = [arg for arg in args if isinstance(arg, torch.Tensor)], kwargs or {}
        numbers = 0  # that it will compute
        if func is nn.functional.linear:
            numbers = args[0].numel() // args[0].shape[-1] * len(args[1])
        elif func is nn.functional.conv2d:
            stride = kwargs.get("stride", args[3] if len(args) > 3 else 1)
            stride = stride**2 if isinstance(stride, int) else math.prod(stride)
            numbers = args[0].numel() // args[0].shape[1] * len(args[1]) // stride
        elif func in ATTENTION and len(tensors) > 1:  # every token by every other: what takes most of the time as well
            numbers = 16 * tensors[0].shape[-2] * tensors[1].shape[-2 if func is ATTENTION[0] else -1]
        if numbers > 2**28:
            raise ValueError("what its layers give would not fit into memory")
        made = func(*args, **kwargs)
        if isinstance(made, torch.Tensor) and not tensors:
            self.left -= max(made.nbytes, 2**16)  # of many small ones, what Python needs for each
            if self.left < 0:  # empty as yet: the system has not given the memory
                raise ValueError("it names a network far larger than the file")
        return made


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
