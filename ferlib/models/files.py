"""One safe file per model: save it, load it, check that it is the same network."""

import dataclasses
import hashlib
import json
import math
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import nn
from torch.overrides import TorchFunctionMode

from ferlib.emotions import check_classes
from ferlib.models.create import FOREIGN_WEIGHTS, create_network
from ferlib.models.face_model import FaceModel, answers, face_model, unwrap
from ferlib.models.networks import Ensemble
from ferlib.transforms import InputSpec
from ferlib.utils import write_whole

WEIGHTS_FILE = "model.safetensors"


SHIPPED = Path(__file__).parent.parent / "weights"  # weights that come with the package, one file a name


LARGEST_INPUT = 1024  # px: of a model from a file


LEAST_ROOM = 2**28  # bytes that a network from a file may take to build, however small the file


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
    answers = _fixedanswers(model.network, model.input_spec, tensors)
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
    answers = _fixedanswers(model.network, model.input_spec, tensors)
    for architecture in (model.architecture, _timm_architecture(model)):
        if architecture is not None:
            try:
                options = {name: value for name, value in architecture.items() if name not in FOREIGN_WEIGHTS}
                with torch.random.fork_rng(devices=[]):
                    network, _ = create_network(**json.loads(json.dumps(options)))
                network.load_state_dict(tensors)
            except Exception:  # a changed head, or options that JSON does not keep: then it cannot be rebuilt
                continue
            if _alike(_fixedanswers(network, model.input_spec), answers, 1e-4):
                return architecture
    return None


def _timm_architecture(model: FaceModel) -> dict[str, Any] | None:
    """How timm would build the network, if it is one of `timm.create_model` with no options."""
    name = getattr(model.network, "pretrained_cfg", {}).get("architecture")
    spec = model.input_spec
    facts = {"num_classes": len(model.classes), "in_chans": spec.channels, "size": spec.size, "small_stem": False}
    return {"name": name, **facts, "weights": None} if isinstance(name, str) and timm.is_model(name) else None


def _fixedanswers(network: nn.Module, spec: InputSpec, weights: Mapping[str, torch.Tensor] | None = None) -> np.ndarray:
    """The logits (2, k) of two fixed inputs, which are the same on every computer."""
    faces = np.random.default_rng(0).standard_normal((2, spec.channels, spec.size, spec.size), dtype=np.float32)
    return answers(network, torch.from_numpy(faces), weights).float().cpu().numpy()


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
                built, _ = create_network(**options)
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
    _fixedanswers(network, spec)  # layers that are made when they are first used
    own = network.state_dict()
    other = sorted(own.keys() ^ tensors.keys()) or [name for name in own if own[name].shape != tensors[name].shape]
    if other:
        raise ValueError(f"the weights of {kind} do not fit the {mine} given ({other[0]} differs); give a network made "
                         "as the saved one was")  # fmt: skip
    answers = np.array(about.get("answers") or [], np.float32)
    if answers.size and not _alike(_fixedanswers(network, spec, tensors), answers, 2e-3):
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
