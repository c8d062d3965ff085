"""Save a model in one safe file, load it, and check that it is the same network."""

import dataclasses
import hashlib
import json
import os
import warnings
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from ferlib.models.face_model import FaceModel, Weights, alike, check_steady, face_model, fixed_answers, unwrap
from ferlib.models.networks import Ensemble, create_network, memory_format, network_options
from ferlib.transforms import InputSpec
from ferlib.utils import require, write_whole

WEIGHTS_FILE = "model.safetensors"
SHIPPED = Path(__file__).parent.parent / "weights"  # weights that come with the package, one file a name


def save_model(model: nn.Module, folder: str | Path, *, half: bool = False, **facts: Any) -> Path:
    """Write a FaceModel to `folder/model.safetensors`, whole or not at all.

    The network is built again from the file's description, and both answer two fixed inputs. If the answers differ,
    or ferlib cannot build the network, loading needs it: `load_model(path, network=...)`.

    Args:
        model: what `build_model` gives, or `FaceModel(network, InputSpec(...), classes)`.
        folder: made if it is missing.
        half: write weights of two or more axes in 16 bits, which halves the file; they are loaded as float32.
        **facts: further facts for the file's header. A model's `margin` is kept unless given, and so is its
            `temperature` while the weights are those that it was loaded with.

    Returns:
        The file's path.

    Raises:
        ValueError: the model is a bare network, answers with NaN or differently each time, or the folder holds a
            model.safetensors that ferlib did not write.

    >>> import tempfile
    >>> from ferlib.models import build_model
    >>> save_model(build_model("plain_cnn"), tempfile.mkdtemp()).name
    'model.safetensors'
    """
    own = face_model(model, "a file")
    model = with_rebuildable(own)
    tensors = _on_cpu(own.network.state_dict())
    old = own.about.get("weights_sha256")
    same = old is None or old in (_hash(tensors), _hash(_halved(tensors)))
    kept = ("margin", "temperature") if same else ("margin",)  # a temperature fits its own weights alone
    facts = {name: own.about[name] for name in kept if name in own.about} | facts
    path = Path(folder) / WEIGHTS_FILE
    if path.exists():
        try:
            _read_file(path)
        except ValueError as error:
            raise ValueError(f"{path} is kept as it is ({error!s:.200}); give another folder") from error
    return write_model(model, folder, model.network.state_dict(), half=half, **facts)


def write_model(model: FaceModel, folder: str | Path, weights: Weights, *, half: bool = False, **facts: Any) -> Path:
    """Write a model as `save_model` does, but do not check that its architecture still builds it.

    Args:
        model: the model.
        folder: made if it is missing.
        weights: the weights to write.
        half: write weights of two or more axes in 16 bits.
        **facts: further facts for the file's header.

    Returns:
        The file's path.
    """
    path = Path(folder) / WEIGHTS_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = _on_cpu(weights)
    tensors = _halved(tensors) if half else tensors
    answers = fixed_answers(model.network, _shape(model.input_spec), tensors)
    about = facts | {
        "built_with": model.architecture, "input_spec": dataclasses.asdict(model.input_spec), "classes": model.classes,
        "network": type(model.network).__name__, "weights_sha256": _hash(tensors),
        "answers": [[float(f"{logit:.6g}") for logit in row] for row in answers.tolist()],
    }  # fmt: skip
    content = save(tensors, {"ferlib": json.dumps(about)})
    return write_whole(path, lambda scratch: scratch.write_bytes(content))


def _on_cpu(weights: Weights) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().cpu().contiguous().clone() for name, tensor in weights.items()}


def _halved(tensors: Weights) -> dict[str, torch.Tensor]:
    """Return weights of two or more axes in 16 bits."""
    matrices = {name: tensor for name, tensor in tensors.items() if tensor.is_floating_point() and tensor.ndim > 1}
    return {**tensors, **{name: tensor.half() for name, tensor in matrices.items()}}


def with_rebuildable(model: FaceModel) -> FaceModel:
    """Return the model as its file will describe it; warn if ferlib can no longer build its network."""
    architecture = _rebuildable(model)
    if model.architecture is not None and architecture is None:
        warnings.warn(f"the network is no longer the {model.architecture['name']} that build_model made; to load it "
                      "give it: load_model(path, network=...)", stacklevel=3)  # fmt: skip
    return FaceModel(model.network, model.input_spec, model.classes, architecture=architecture)


def _rebuildable(model: FaceModel) -> dict[str, Any] | None:
    """Return how to build a model's network again; None if that gives other answers."""
    check_steady(model.network, _shape(model.input_spec))
    answers = fixed_answers(model.network, _shape(model.input_spec))
    require(np.isfinite(answers).all(), "the model answers with NaN or infinity; train it again at a lower lr")
    for architecture in filter(None, (model.architecture, _timm_architecture(model))):
        try:
            with torch.random.fork_rng(devices=[]):
                network, _ = create_network(**json.loads(json.dumps(network_options(architecture))))
            network.load_state_dict(model.network.state_dict())
        except Exception:  # a changed head, or options that JSON does not keep
            continue
        if alike(fixed_answers(network, _shape(model.input_spec)), answers, 1e-4):
            return architecture
    return None


def _timm_architecture(model: FaceModel) -> dict[str, Any] | None:
    """Return how timm would build the network, if `timm.create_model` made it without options."""
    name = getattr(model.network, "pretrained_cfg", {}).get("architecture")
    if not isinstance(name, str):
        return None
    import timm

    if not timm.is_model(name):
        return None
    spec, options = model.input_spec, {"name": name, "num_classes": len(model.classes)}
    return options | {"in_chans": spec.channels, "size": spec.size, "small_stem": False, "weights": None}


def _shape(spec: InputSpec) -> tuple[int, int, int]:
    return spec.channels, spec.size, spec.size


def load_model(path: str | Path, *, network: nn.Module | None = None) -> FaceModel:
    """Load a model, in evaluation mode.

    No code in the file is run (safetensors and JSON).

    Args:
        path: the file, a folder that holds `model.safetensors`, or a shipped name: `"fer2013"`, `"fer2013-small"`
            and `"fer2013-resnet"` (trained on FER2013), `"drawn"` (trained on drawn faces).
        network: a network of the saved class, where ferlib cannot build it; it gets the weights.

    Returns:
        A `FaceModel` whose `about` holds the file's facts.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is cut short or not ferlib's; or `network` is missing, does not fit, or answers otherwise
            than the saved one did.

    >>> model = load_model("fer2013")
    >>> model.classes[3], model.input_spec.size
    ('happy', 48)
    """
    file = _find_file(path)
    about, tensors = _read_file(file)
    architecture, saved, kind = about["built_with"], about["input_spec"], about.get("network", "another network")
    known = network is not None or architecture is not None
    require(known, f"{file} holds the weights of {kind}, which ferlib cannot build by itself; "
            f"give it: load_model({str(path)!r}, network={kind}())")  # fmt: skip
    spec = InputSpec(saved["size"], saved["channels"], tuple(saved["mean"]), tuple(saved["std"]))
    if network is None:
        network, _ = create_network(**network_options(architecture))
        network = network.to(memory_format=memory_format(network))
    _fill(unwrap(network), tensors, kind)
    model = FaceModel(network, spec, about["classes"], architecture=architecture, about=about).eval()
    answers = np.array(about.get("answers", ()), np.float32)
    if answers.size and not alike(fixed_answers(model.network, _shape(spec)), answers, 2e-3):
        raise ValueError(f"the {type(model.network).__name__} of {file} answers otherwise than the saved {kind} did: "
                         "another stride or activation, or another timm?")  # fmt: skip
    return model


def _find_file(path: str | Path) -> Path:
    """Return the file of a model's path or shipped name."""
    path, shipped = Path(os.path.expanduser(path)), {file.stem: file for file in SHIPPED.glob("*.safetensors")}
    file = path / WEIGHTS_FILE if path.is_dir() else path
    file = file if file.is_file() else shipped.get(str(path), file)
    if not file.is_file():
        raise FileNotFoundError(f"{path} is neither a run's folder, nor a model's file, nor a shipped name "
                                f"({', '.join(sorted(shipped))}); train one: ferlib train --out runs/cpu")  # fmt: skip
    return file


def _read_file(file: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Return a file's facts and weights."""
    if zipfile.is_zipfile(file):  # as torch.save writes it
        is_state = file.name == "state.pt"
        require(not is_state, f"{file} is the state of a run, to resume from; its model is in the folder {file.parent}")
        raise ValueError(
            f"{file} is a PyTorch checkpoint, a pickle, which ferlib does not load; save it once as a model: "
            f'network.load_state_dict(torch.load("{file}", weights_only=True)); '
            f'model = FaceModel(network, InputSpec(48), classes); save_model(model, "runs/{file.stem}")'
        )
    try:
        with safe_open(file, "pt") as opened:
            about = json.loads((opened.metadata() or {}).get("ferlib", "null"))
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 (no mapping)
    except (SafetensorError, ValueError) as error:
        raise ValueError(f"{file} is no whole safetensors file ({error!s:.200}); fetch or train it again") from error
    ours = isinstance(about, dict) and {"built_with", "weights_sha256"} <= set(about)
    require(ours, f"{file} was not written by ferlib.models.save_model; load it with its own library")
    whole = _hash(tensors) == about["weights_sha256"]
    require(whole, f"{file} was altered: its weights do not match their hash; fetch or train it again")
    return about, tensors


def _fill(network: nn.Module, tensors: Weights, kind: str) -> None:
    """Load the weights into a network; raise `ValueError` if they do not fit."""
    own = network.state_dict()
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        other = sorted(own.keys() ^ tensors.keys()) or [name for name in own if own[name].shape != tensors[name].shape]
        given = f"{type(network).__name__} given: {', '.join(other[:3])} differ"
        raise ValueError(f"the weights of {kind} do not fit the {given}; give network={kind}(...) as saved") from error


def load_ensemble(paths: Sequence[str | Path]) -> FaceModel:
    """Load several models as one that averages their probabilities.

    Args:
        paths: what `load_model` takes, one or more.

    Returns:
        A `FaceModel`; that of the file itself for one path. The mean is not calibrated: its temperature is 1. What all
        files note, such as one `margin`, it has too.

    Raises:
        ValueError: there is no path, or the models differ in their input or classes.

    >>> load_ensemble(["fer2013", "fer2013-small"]).architecture["name"]
    'ensemble'
    """
    require(paths, "an ensemble needs a model; give the path of one or more")
    members = [load_model(path) for path in paths]
    if len(members) == 1:
        return members[0]
    inputs = {(member.input_spec, member.classes) for member in members}
    require(len(inputs) == 1, f"an ensemble's members need the same input and classes; these have {[*inputs]}")
    spec, classes = inputs.pop()
    architecture = {"name": "ensemble", "members": [member.architecture for member in members]}
    facts = {name: [member.about.get(name) for member in members] for name in ("margin", "source")}
    about = {name: of_all[0] for name, of_all in facts.items() if None not in of_all and len({*of_all}) == 1}
    network = Ensemble([member.network for member in members])
    return FaceModel(network, spec, classes, architecture=architecture, about=about).eval()


def model_hash(model: nn.Module) -> str:
    """Return the SHA-256 of a network's weights, as 64 hexadecimal digits.

    Names, types and shapes count. Model cards and the ledger of the sealed test name a model by it.

    Args:
        model: a `FaceModel` or a network.

    >>> model_hash(load_model("drawn"))[:8]
    'd78ba2e6'
    """
    return _hash({name: tensor.detach().cpu().contiguous() for name, tensor in unwrap(model).state_dict().items()})


def _hash(tensors: Weights) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)};".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b"")
    return digest.hexdigest()
