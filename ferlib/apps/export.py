"""Export models to ONNX, also in 8 bits, and compare the file with the model.

The file takes "faces", uint8 (batch, 1, size, size), gray, and normalises them itself. It gives "logits" and calibrated
"probabilities", the softmax of logits / temperature, both float32 (batch, k). To use it, `onnxruntime` suffices. Its
metadata, in JSON, are "classes" (names of the outputs, in order), "input" (in words), "input_spec" (size,
normalisation), "temperature" and "model_hash" (`models.model_hash` of the model). Writing needs the extra `onnx`.
"""

import copy
import dataclasses
import importlib.util
import json
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import nn

from ferlib import evaluation
from ferlib.data import FaceDataset
from ferlib.models.face_model import FaceModel, face_model
from ferlib.models.files import model_hash
from ferlib.transforms import EvalTransform, InputSpec
from ferlib.utils import check_output, import_extra, require, user_path, write_whole

OPSET = 17  # version of the operators that all supported versions of PyTorch and onnxruntime know
CALIBRATION_BATCH = 64  # faces
PACKAGES = '"onnx>=1.16" "onnxruntime>=1.20"'
NAMES = ["faces", "logits", "probabilities"]  # input and outputs
METADATA = ("classes", "input", "input_spec", "temperature", "model_hash")


class _EndToEnd(nn.Module):
    """A model with its normalisation in front, and its temperature and softmax behind."""

    def __init__(self, model: FaceModel):
        super().__init__()
        self.model, self.transform = model, EvalTransform(model.input_spec)

    def forward(self, faces: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        logits = self.model(self.transform(faces))
        return logits, (logits / self.model.temperature).softmax(1)


def to_onnx(model: nn.Module, path: str | Path) -> Path:
    """Write a FaceModel as an ONNX file.

    Args:
        model: a FaceModel; it stays as it is.
        path: the file, which must end in .onnx; its folder is made.

    Returns:
        The path.

    Raises:
        ValueError: another ending, a folder that cannot be written, a bare network, an operation that ONNX lacks, or
            `onnx` is missing.
    """
    onnx, path, model = import_extra("onnx", PACKAGES), user_path(path), face_model(model, "an ONNX file")
    check_output(path, ".onnx", force=True)
    spec = model.input_spec
    facts = {"classes": model.classes, "input_spec": dataclasses.asdict(spec), "temperature": model.temperature}
    words = f"faces, uint8 (batch, 1, {spec.size}, {spec.size}), gray 0 to 255"
    facts |= {"input": words, "model_hash": model_hash(model)}
    example = (torch.zeros(2, 1, spec.size, spec.size, dtype=torch.uint8),)

    def write(temporary: Path) -> None:
        torch.onnx.export(
            _EndToEnd(copy.deepcopy(model)).cpu().eval(), example, str(temporary), opset_version=OPSET, dynamo=False,
            input_names=NAMES[:1], output_names=NAMES[1:], dynamic_axes={name: {0: "batch"} for name in NAMES},
        )  # fmt: skip
        graph = onnx.load(temporary)
        onnx.helper.set_model_props(graph, {name: json.dumps(fact) for name, fact in facts.items()})
        onnx.save(graph, temporary)
        if importlib.util.find_spec("onnxruntime"):
            _check_batches(model, temporary)

    with warnings.catch_warnings():
        # They call this exporter legacy, though it needs no further package, and say that the size is fixed.
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        try:
            return write_whole(path, write)
        except RuntimeError as error:
            raise ValueError(f"ONNX cannot hold {type(model.network).__name__}: {str(error)[:150]}") from error


def _check_batches(model: FaceModel, path: Path) -> None:
    """Raise `ValueError` if a file and its model differ on a batch of one or of three faces; two were traced."""
    size, cure = model.input_spec.size, "in forward take x.flatten(1) or x.shape[0], not len(x)"
    faces = np.random.default_rng(0).integers(0, 256, (3, 1, size, size), np.uint8)
    with torch.inference_mode():
        want = _EndToEnd(copy.deepcopy(model)).cpu().eval()(torch.from_numpy(faces))[1].numpy()
    session, _ = load_onnx(path)
    for count in (1, 3):
        try:
            found = _run(session, faces[:count], count)[1]
        except Exception as error:  # onnxruntime's errors have no other base
            raise ValueError(f"the file cannot take a batch of {count} ({error!s:.100}); {cure}") from error
        same = np.allclose(found, want[:count], atol=1e-2)
        require(same, f"file and model differ on a batch of {count}; {cure}")


def quantise(onnx_path: str | Path, faces: np.ndarray, out: str | Path) -> Path:
    """Convert an ONNX file to 8-bit integers (static quantisation).

    The file gets about a quarter of the size. Convolutions and linear layers but the last become int8, per channel.

    Source: B. Jacob et al., Quantization and training of neural networks, CVPR 2018, arXiv 1712.05877.

    Args:
        onnx_path: a file of `to_onnx`.
        faces: uint8 (n, h, w), some hundred training faces, on which the ranges of activations are measured.
        out: the new file, which must end in .onnx.

    Returns:
        The path of the new file.

    Raises:
        ValueError: as for `to_onnx` and `load_onnx`, or there are no faces.
        FileNotFoundError: the file does not exist.
    """
    out, (_, facts), onnx = user_path(out), load_onnx(onnx_path), import_extra("onnx", PACKAGES)
    check_output(out, ".onnx", force=True)
    tools = import_extra("onnxruntime.quantization", PACKAGES)
    require(len(faces), "faces is empty; give some hundred training faces, to measure ranges on")
    images = fitted(faces, facts["input_spec"]["size"])
    batches = iter([{"faces": part} for part in np.array_split(images, -(-len(images) // CALIBRATION_BATCH))])
    reader = SimpleNamespace(get_next=lambda: next(batches, None))
    with tempfile.TemporaryDirectory() as folder:
        ready = Path(folder) / "ready.onnx"
        tools.quant_pre_process(str(user_path(onnx_path)), str(ready))
        last = [node.name for node in onnx.load(ready).graph.node if "logits" in node.output]  # small, stays exact
        options = {"per_channel": True, "op_types_to_quantize": ["Conv", "Gemm", "MatMul"], "nodes_to_exclude": last,
                   "activation_type": tools.QuantType.QUInt8, "weight_type": tools.QuantType.QInt8}  # fmt: skip
        return write_whole(out, lambda temporary: tools.quantize_static(str(ready), str(temporary), reader, **options))


def load_onnx(path: str | Path) -> tuple[Any, dict[str, Any]]:
    """Open an ONNX file of `to_onnx` or `quantise`.

    Args:
        path: the file.

    Returns:
        The onnxruntime session, with as many threads as PyTorch, and the metadata.

    Raises:
        ValueError: the file is damaged or was not written by `to_onnx`, or `onnxruntime` is missing.
        FileNotFoundError: the file does not exist.
    """
    runtime, path = import_extra("onnxruntime", PACKAGES), user_path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; write it with ferlib.apps.export.to_onnx(model, path)")
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = torch.get_num_threads(), 3  # 3: errors only
    try:
        session = runtime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
        metadata = session.get_modelmeta().custom_metadata_map
        return session, {name: json.loads(metadata[name]) for name in METADATA}
    except Exception as error:  # onnxruntime's errors have no other base
        reason = str(error)[:100]
        raise ValueError(f"{path} is damaged or not from ferlib.apps.export ({reason}); export it again") from error


def describe(path: str | Path) -> str:
    """Say in words what an ONNX file takes and gives.

    Args:
        path: a file of `to_onnx` or `quantise`.

    Returns:
        A line each for input, outputs and classes.
    """
    session, facts = load_onnx(path)
    outputs = ", ".join(f"{output.name} float32 (batch, {len(facts['classes'])})" for output in session.get_outputs())
    classes = ", ".join(f"{number} {name}" for number, name in enumerate(facts["classes"]))
    calibrated = f"probabilities are calibrated with the temperature {facts['temperature']:g}"
    return f"input    {facts['input']}\noutputs  {outputs}; {calibrated}\nclasses  {classes}"


def predict_onnx(onnx_path: str | Path, faces: np.ndarray, *, batch_size: int = 64) -> np.ndarray:
    """Compute the probabilities that an ONNX file gives.

    Args:
        onnx_path: a file of `to_onnx` or `quantise`.
        faces: uint8 (n, h, w); resized to the file's size.
        batch_size: faces per batch.

    Returns:
        float32 (n, k), one column per class, calibrated by the model's temperature.

    Raises:
        ValueError, FileNotFoundError: as for `load_onnx`.
    """
    session, facts = load_onnx(onnx_path)
    return _run(session, fitted(faces, facts["input_spec"]["size"]), batch_size)[1]


def parity(model: FaceModel, onnx_path: str | Path, dataset: FaceDataset, *, batch_size: int = 64) -> dict[str, float]:
    """Measure how close an ONNX file is to its model.

    Both get the same pixels: the dataset's faces as they are stored, without its transform.

    Args:
        model: the model that the file was made from.
        onnx_path: a file of `to_onnx` or `quantise`.
        dataset: faces with labels.
        batch_size: faces per batch.

    Returns:
        Largest difference of a probability and of a logit; share of equal predictions; both accuracies and their change
        with its paired 95% bootstrap interval (fractions); bytes of PyTorch's weights and of the file; milliseconds per
        face on the CPU, from uint8 to probabilities.

    Raises:
        ValueError: as for `load_onnx`, or the file was made from another model.
        FileNotFoundError: the file does not exist.
    """
    session, facts = load_onnx(onnx_path)
    if facts["model_hash"] != model_hash(model):
        raise ValueError(f"{onnx_path} was made from another model; write it again: export.to_onnx(model, path)")
    model = copy.deepcopy(model).cpu().eval()
    transform = EvalTransform(model.input_spec)
    faces = fitted(dataset.images, model.input_spec.size)
    stored = dataclasses.replace(dataset, images=faces[:, 0], transform=None)
    ours = evaluation.predict(model, stored, batch_size=batch_size)
    logits, probabilities = _run(session, faces, batch_size)
    theirs = evaluation.Predictions(logits, ours.labels, ours.classes)
    calibrated = dataclasses.replace(ours, logits=ours.logits / model.temperature)
    change = evaluation.compare(ours, theirs).difference.loc["accuracy"]
    batch = np.resize(faces, (batch_size, *faces.shape[1:]))  # repeats them if there are fewer
    run_torch = torch.inference_mode()(lambda: model(transform(torch.from_numpy(batch))).softmax(1))
    seconds = interleaved({"torch": run_torch, "onnx": lambda: session.run(["probabilities"], {"faces": batch})})
    return {
        "faces": len(faces), "batch_size": batch_size, "threads": torch.get_num_threads(),
        "probability_difference": float(abs(calibrated.probabilities - probabilities).max()),
        "logit_difference": float(abs(ours.logits - theirs.logits).max()),
        "equal_predictions": float((ours.predicted == theirs.predicted).mean()),
        "torch_accuracy": float(ours.correct.mean()), "onnx_accuracy": float(theirs.correct.mean()),
        "change": float(change["value"]), "change_low": float(change["low"]), "change_high": float(change["high"]),
        "torch_bytes": sum(tensor.nbytes for tensor in model.state_dict().values()),
        "onnx_bytes": user_path(onnx_path).stat().st_size,
        **{f"{name}_ms": 1000 * median / batch_size for name, median in seconds.items()},
    }  # fmt: skip


def report(figures: Mapping[str, float]) -> str:
    """Format the result of `parity` as text.

    Args:
        figures: what `parity` returns.

    Returns:
        Five lines: differences, equal predictions, accuracy, size and time.
    """
    points = [100 * figures[name] for name in ("change", "change_low", "change_high")]
    megabytes = [figures[name] / 1e6 for name in ("torch_bytes", "onnx_bytes")]
    lines = (
        "largest difference  {probability_difference:.1e} of a probability, {logit_difference:.1e} of a logit",
        "equal predictions   {equal_predictions:.2%} of {faces:,} faces",
        "accuracy            {torch_accuracy:.2%} -> {onnx_accuracy:.2%}: {0:+.2f} points [{1:+.2f}, {2:+.2f}]",
        "size                {3:.2f} -> {4:.2f} MB",
        "time                {torch_ms:.3f} -> {onnx_ms:.3f} ms per face, batches of {batch_size}, {threads} threads",
    )
    return "\n".join(lines).format(*points, *megabytes, **figures)


def interleaved(calls: Mapping[str, Callable[[], object]], rounds: int = 9) -> dict[str, float]:
    """Measure the median time of each function in turn.

    Each round runs every function once, so other load affects all equally. The first round warms up and is not counted.

    Args:
        calls: functions without arguments, by name.
        rounds: number of rounds that count.

    Returns:
        Median seconds by name.

    >>> sorted(interleaved({"add": lambda: 1 + 1, "power": lambda: 2**10}, rounds=3))
    ['add', 'power']
    """
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds + 1):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - start)
    return {name: float(np.median(times[1:])) for name, times in seconds.items()}


def fitted(faces: np.ndarray, size: int) -> np.ndarray:
    """Resize faces as `EvalTransform` does, to whole grays.

    Args:
        faces: uint8 (n, h, w).
        size: side of the result in pixels.

    Returns:
        uint8 (n, 1, size, size).

    >>> fitted(np.full((3, 96, 96), 7, np.uint8), 48).shape
    (3, 1, 48, 48)
    """
    resize = EvalTransform(InputSpec(size, 1, mean=(0.0,), std=(1 / 255,)))  # this normalisation keeps 0 to 255
    return resize(torch.tensor(faces)[:, None]).round().clamp(0, 255).byte().numpy()


def _run(session: Any, faces: np.ndarray, batch_size: int) -> list[np.ndarray]:
    """Compute logits and probabilities in batches; no faces are one empty batch."""
    starts = range(0, max(len(faces), 1), batch_size)
    parts = [session.run(NAMES[1:], {"faces": faces[start : start + batch_size]}) for start in starts]
    return [np.concatenate(outputs) for outputs in zip(*parts, strict=True)]
