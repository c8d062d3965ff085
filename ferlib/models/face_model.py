"""A network with its input and its classes."""

import copy
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

from ferlib.emotions import EMOTIONS, check_classes
from ferlib.transforms import InputSpec
from ferlib.utils import require

Weights = Mapping[str, torch.Tensor]


class FaceModel(nn.Module):
    """Hold a network, its input and its classes; an ordinary `nn.Module`.

    Args:
        network: any `nn.Module` that maps float (n, channels, size, size) to logits (n, k).
        input_spec: size, channels, mean and standard deviation (sd) of its input.
        classes: the k names of its outputs, in order.
        architecture: how `load_model` builds the network again; None for a network of your own.
        about: facts of the file that it was loaded from, such as `temperature`.

    Raises:
        ValueError: the network cannot take such faces, or does not give one output for each class.

    >>> model = FaceModel(nn.Sequential(nn.Flatten(), nn.Linear(48 * 48, 2)), InputSpec(48), ("open", "shut"))
    >>> model(torch.zeros(5, 1, 48, 48)).shape
    torch.Size([5, 2])
    """

    def __init__(
        self, network: nn.Module, input_spec: InputSpec, classes: Sequence[str] = EMOTIONS, *,
        architecture: Mapping[str, Any] | None = None, about: Mapping[str, Any] | None = None,
    ):  # fmt: skip
        super().__init__()
        self.network = unwrap(network)
        self.input_spec = input_spec
        self.classes = check_classes(classes)
        self.architecture = None if architecture is None else dict(architecture)
        self.about = dict(about or {})
        check_outputs(self.network, (input_spec.channels, input_spec.size, input_spec.size), self.classes)

    @property
    def temperature(self) -> float:
        """Return the number that divides logits for calibrated probabilities; 1 by default."""
        return float(self.about.get("temperature", 1.0))

    def forward(self, faces: torch.Tensor) -> torch.Tensor:
        """Return logits (n, k) of normalised faces (n, channels, size, size)."""
        return self.network(faces)


def unwrap(model: nn.Module) -> nn.Module:
    """Return a FaceModel's network, or the module itself.

    Args:
        model: a `FaceModel` or any other module.

    Raises:
        ValueError: `model` is compiled, or no module, or in a wrapper.
    """
    require(not hasattr(model, "_orig_mod"), "the model is compiled; give the one that torch.compile was given")
    require(isinstance(model, nn.Module), f"the model is {model!r:.80}; give an nn.Module, such as MyNet()")
    wrapped = isinstance(model, nn.DataParallel | torch.jit.ScriptModule)
    require(not wrapped, f"the model is in a {type(model).__name__}; give the network itself, as your class made it")
    return model.network if isinstance(model, FaceModel) else model


def device_of(model: nn.Module) -> torch.device:
    """Return the device of a model's parameters; the CPU where it has none."""
    return next((parameter.device for parameter in model.parameters()), torch.device("cpu"))


def face_model(model: nn.Module, what: str) -> FaceModel:
    """Return the model if it is a `FaceModel`.

    Args:
        model: any model.
        what: what needs a FaceModel, for the message.

    Raises:
        ValueError: the model is a bare network; the message shows how to wrap it.
    """
    if isinstance(model, FaceModel):
        return model
    name = type(unwrap(model)).__name__
    raise ValueError(f"{name} is a bare network, and {what} needs its input and classes; "
                     "wrap it: FaceModel(network, InputSpec(48), faces.classes)")  # fmt: skip


def check_outputs(network: nn.Module, shape: Sequence[int], classes: Sequence[str] | None) -> int:
    """Feed two blank faces and count the logits; the network's modes stay as they are.

    Args:
        network: any network.
        shape: (channels, h, w) of a face.
        classes: the class names; None if unknown.

    Returns:
        The number of outputs for a face.

    Raises:
        ValueError: the network cannot take such faces, does not give one logit for each class, or torch's own
            defaults are not float32 on the CPU.
    """
    name, dtype, device = type(network).__name__, torch.get_default_dtype(), torch.get_default_device().type
    require((dtype, device) == (torch.float32, "cpu"), f"torch's defaults are {dtype} and {device}; ferlib moves "
            "models by itself: torch.set_default_dtype(torch.float32), torch.set_default_device(None)")  # fmt: skip
    try:
        logits = answers(network, torch.zeros(2, *shape))
    except Exception as error:  # a user's forward may raise anything
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ValueError(f"{name} cannot take faces of shape {tuple(shape)} (channels, h, w): {reason:.200}; "
                         "give another size, or other channels: InputSpec(64, channels=3)") from error  # fmt: skip
    output = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
    count = output[1] if len(output) == 2 else 0
    require(output == (2, count), f"{name} gives {output} for two faces; logits (2, classes) are due")
    names = classes or ()
    require(classes is None or count == len(names), f"{name} gives {count} outputs, and there are {len(names)} classes "
            f"({', '.join(names)}); give its last layer {len(names)} outputs, or name its own classes: "
            "classes=faces.classes")  # fmt: skip
    return int(count)


def warn_of_probabilities(network: nn.Module, shape: Sequence[int]) -> None:
    """Warn if the outputs are probabilities, as after a softmax (over the classes, or by mistake over the faces).

    Args:
        network: any network.
        shape: (channels, h, w) of a face.
    """
    outputs = fixed_answers(network, shape)
    if (outputs >= 0).all() and any(np.allclose(outputs.sum(axis), 1, atol=1e-4) for axis in (0, 1)):
        warnings.warn("the network gives probabilities, and logits are due; remove the softmax", stacklevel=4)


def check_steady(network: nn.Module, shape: Sequence[int]) -> None:
    """Check that a network can be kept in a file: its state is tensors, and its answers are the same each time.

    Args:
        network: any network.
        shape: (channels, h, w) of a face.

    Raises:
        ValueError: something of it would not be the same after loading.
    """
    name, state = type(network).__name__, network.state_dict()
    odd = [key for key, value in state.items() if not isinstance(value, torch.Tensor)]
    require(not odd, f"{name} keeps {', '.join(odd)}, which is no tensor; make it a buffer in place of get_extra_state")
    first = fixed_answers(network, shape)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(1)
        steady = alike(fixed_answers(network, shape), first, 1e-4)
    require(steady, f"{name} answers differently each time in evaluation mode; is F.dropout missing "
            "training=self.training?")  # fmt: skip


@torch.no_grad()
def check_training(network: nn.Module, shape: Sequence[int]) -> None:
    """Let a copy of a network answer two faces in training mode, and check what the network keeps of them.

    Args:
        network: any network.
        shape: (channels, h, w) of a face.

    Raises:
        ValueError: it gives no tensor in training, or changes something that its `state_dict` does not hold.
    """
    check_steady(network, shape)
    name, faces = type(network).__name__, torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))
    try:
        trial = copy.deepcopy(network)
        with torch.random.fork_rng(devices=[]):
            logits = trial.train()(faces.to(device_of(network)))
    except Exception:  # BatchNorm may need more than two faces, and a real batch has them
        return
    require(isinstance(logits, torch.Tensor), f"{name} gives a {type(logits).__name__} in training; logits "
            "(n, classes) are due: build it without extra outputs, such as aux_logits=False")  # fmt: skip
    trial.load_state_dict(network.state_dict())
    kept = alike(fixed_answers(trial, shape), fixed_answers(network, shape), 1e-4)
    require(kept, f"{name} changes something in training that its state_dict does not hold; keep it in "
            "self.register_buffer(name, tensor)")  # fmt: skip


def alike(a: np.ndarray, b: np.ndarray, share: float) -> bool:
    """Return whether two arrays of logits differ by at most a share of the range of `b`; NaN equals NaN.

    Args:
        a: logits.
        b: logits.
        share: of the range.
    """
    near = np.nan_to_num(share * np.ptp(b))
    return a.shape == b.shape and np.allclose(a, b, rtol=1e-5, atol=near, equal_nan=True)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put a model into evaluation mode, and afterwards each layer back into its own mode."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


@torch.no_grad()
def answers(network: nn.Module, faces: torch.Tensor, weights: Weights | None = None) -> Any:
    """Return the network's output in evaluation mode; the network stays as it is.

    Args:
        network: any network.
        faces: normalised faces, (n, channels, h, w).
        weights: the weights to use in place of the network's own.
    """
    own, device = network.state_dict(), device_of(network)
    weights = {name: value.to(device, own[name].dtype) for name, value in (weights or {}).items()}
    full_precision = torch.backends.cudnn.flags(enabled=False)  # cuDNN rounds to 10 bits (TF32) on recent GPUs
    with evaluating(network), full_precision, torch.random.fork_rng(devices=[]):
        return torch.func.functional_call(network, weights, (faces.to(device),), tie_weights=False)


def fixed_answers(network: nn.Module, shape: Sequence[int], weights: Weights | None = None) -> np.ndarray:
    """Return the outputs for two fixed random inputs, the same on every computer: float32 (2, k).

    Args:
        network: any network.
        shape: (channels, h, w) of a face.
        weights: the weights to use in place of the network's own.
    """
    faces = np.random.default_rng(0).standard_normal((2, *shape), dtype=np.float32)
    return answers(network, torch.from_numpy(faces), weights).float().cpu().numpy()
