"""A network with what it must be fed and what it answers."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

from ferlib.emotions import EMOTIONS, check_classes
from ferlib.transforms import InputSpec


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
        logits = answers(network, faces)
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
    outputs = answers(network, faces).float()
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
def answers(network: nn.Module, faces: torch.Tensor, weights: Mapping[str, torch.Tensor] | None = None) -> Any:
    """The network's output in evaluation mode, with other weights if given; it stays as it was."""
    device = device_of(network)
    with evaluating(network), torch.random.fork_rng(devices=[]):
        if weights is None:
            return network(faces.to(device))
        mine = network.state_dict()
        weights = {name: value.to(device, mine[name].dtype) for name, value in weights.items()}
        return torch.func.functional_call(network, weights, (faces.to(device),), tie_weights=False)
