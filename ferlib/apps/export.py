"""A trained model as an ONNX file that needs no PyTorch, the same in 8-bit integers, and a check that both agree.

Such a file takes "faces", uint8 (batch, 1, size, size) of any batch, normalises them itself, and gives "logits" and
"probabilities", float32 (batch, k), so that a program in any language is a few lines. Its metadata, in JSON, are
"classes" (names in the outputs' order), "input_spec" (the faces' size, and what they are normalised by), "temperature"
(calibrated probabilities are the softmax of the logits divided by it; "probabilities" are not) and "model_hash"
(`models.model_hash` of the model that it was made of). Needs the packages of the extra `onnx`.
"""

import copy
import dataclasses
import importlib
import json
import math
import statistics
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
from ferlib.emotions import check_classes
from ferlib.models import FaceModel
from ferlib.models.face_model import face_model
from ferlib.models.files import model_hash
from ferlib.transforms import EvalTransform, InputSpec
from ferlib.utils import write_whole

OPSET = 17  # the operators' version: every PyTorch and onnxruntime that we allow knows it
CALIBRATION_BATCH = 64  # faces
FACTS = {"classes", "input_spec", "temperature", "model_hash"}  # in a file's metadata
# What becomes int8, but for the last layer: nearly all the work. The rest stays float: little to gain, more to lose.
QUANTISED = ["Conv", "Gemm", "MatMul"]


class _Whole(nn.Module):
    """A model with its normalisation in front and its softmax behind: what the file computes."""

    def __init__(self, model: FaceModel):
        super().__init__()
        self.model, self.transform = model, EvalTransform(model.input_spec)

    def forward(self, faces: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        logits = self.model(self.transform(faces))
        return logits, logits.softmax(1)


def to_onnx(model: nn.Module, path: str | Path) -> Path:
    """Write a FaceModel as an ONNX file, whole or not at all; returns its path.

    The model itself is not touched. Raises `ValueError` for a path that does not end in .onnx, for a bare network or an
    operation that ONNX does not know, and where `onnx` is missing; `FileNotFoundError` for a folder that does not
    exist.
    """
    onnx, path, model = _package("onnx"), _target(path), face_model(model, "an ONNX file")
    spec = model.input_spec
    about = {"classes": model.classes, "input_spec": dataclasses.asdict(spec), "model_hash": model_hash(model),
             "temperature": model.temperature}  # fmt: skip
    whole, example = _Whole(copy.deepcopy(model)).cpu().eval(), torch.zeros(2, 1, spec.size, spec.size).byte()

    def write(scratch: Path) -> None:
        torch.onnx.export(
            whole, (example,), str(scratch), dynamo=False, opset_version=OPSET, input_names=["faces"],
            output_names=["logits", "probabilities"],
            dynamic_axes={name: {0: "batch"} for name in ("faces", "logits", "probabilities")},
        )  # fmt: skip
        graph = onnx.load(scratch)
        onnx.helper.set_model_props(graph, {name: json.dumps(fact) for name, fact in about.items()})
        scratch.write_bytes(graph.SerializeToString())

    with warnings.catch_warnings():
        # The exporter that traces is called legacy; it gives one file without further packages, by any PyTorch allowed.
        warnings.filterwarnings("ignore", "You are using the legacy|The feature will be removed", DeprecationWarning)
        warnings.simplefilter("ignore", torch.jit.TracerWarning)  # of shapes that are checked, and fixed but the batch
        try:
            return write_whole(path, write)
        except RuntimeError as error:
            raise ValueError(f"{type(model.network).__name__} cannot be an ONNX file: {str(error)[:150]}") from error


def quantise(onnx_path: str | Path, faces: np.ndarray, out: str | Path) -> Path:
    """Write a file of `to_onnx` again with weights and activations of 8 bits, a quarter of the size; returns `out`.

    The ranges of the activations are measured once on `faces`, uint8 (n, h, w): some hundreds that were trained on
    (static quantisation; weights by channel; B. Jacob et al., 2018, arXiv 1712.05877). Raises as `to_onnx` and
    `load_onnx` do, and `ValueError` without faces.
    """
    out, (_, about) = _target(out), load_onnx(onnx_path)
    onnx = _package("onnx")
    tools, shapes = (_package(f"onnxruntime.quantization{part}") for part in ("", ".shape_inference"))
    if not len(faces):
        raise ValueError("there are no faces to measure the ranges on; give some hundreds of Training")
    parts = iter(np.array_split(fitted(faces, about["input_spec"]["size"]), -(-len(faces) // CALIBRATION_BATCH)))
    reader = SimpleNamespace(get_next=lambda: next(({"faces": part} for part in parts), None))
    with tempfile.TemporaryDirectory() as folder:
        ready = Path(folder) / "ready.onnx"
        shapes.quant_pre_process(str(Path(onnx_path).expanduser()), str(ready))
        last = [node.name for node in onnx.load(ready).graph.node if "logits" in node.output]  # it is small, and exact
        return write_whole(out, lambda scratch: tools.quantize_static(
            str(ready), str(scratch), reader, per_channel=True, op_types_to_quantize=QUANTISED, nodes_to_exclude=last,
            activation_type=tools.QuantType.QUInt8, weight_type=tools.QuantType.QInt8,
        ))  # fmt: skip


def load_onnx(path: str | Path) -> tuple[Any, dict[str, Any]]:
    """Open a file of `to_onnx` or `quantise`: its onnxruntime session, on as many threads as PyTorch, and metadata.

    Raises `ValueError` for a file that is damaged or not ours, or without onnxruntime; `FileNotFoundError`.
    """
    runtime, path = _package("onnxruntime"), Path(path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}; ferlib.apps.export.to_onnx(model, path) writes one")
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = torch.get_num_threads(), 3  # errors, raised as well
    try:
        session = runtime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors have no other base
        raise ValueError(f"{path} is no whole ONNX file ({str(error)[:100]}); export it again") from error
    texts = session.get_modelmeta().custom_metadata_map
    if not texts.keys() >= FACTS:
        raise ValueError(f"{path} was not written by ferlib.apps.export.to_onnx: it does not say what its classes are")
    try:
        about = {name: json.loads(text) for name, text in texts.items() if name in FACTS}
        about["input_spec"] = dataclasses.asdict(InputSpec(**about["input_spec"]))
        fine = 0 < float(about["temperature"]) < math.inf and bool(check_classes(about["classes"]))
        sides = {one.name: one.shape[2:] for one in (*session.get_inputs(), *session.get_outputs())}
        fine = fine and sides["faces"] == 2 * [about["input_spec"]["size"]] and "probabilities" in sides
    except (ValueError, TypeError, AttributeError, KeyError, ArithmeticError, RecursionError) as error:
        raise ValueError(f"{path} has damaged metadata ({error!s:.200}); export it again") from error
    if not fine:
        raise ValueError(f"{path} has damaged metadata, or other inputs and outputs; export it again")
    return session, about


def predict_onnx(onnx_path: str | Path, faces: np.ndarray, *, batch_size: int = 64) -> np.ndarray:
    """Probabilities (n, k) float32 of uint8 faces (n, h, w), resized if they must be; raises as `load_onnx` does."""
    session, about = load_onnx(onnx_path)
    size, classes = about["input_spec"]["size"], len(about["classes"])
    return _run(session, "probabilities", fitted(faces, size), batch_size, classes)


def parity(model: FaceModel, onnx_path: str | Path, dataset: FaceDataset, *, batch_size: int = 64) -> dict[str, float]:
    """How far an ONNX file is from the model it was made of, on the faces of a dataset as they are stored.

    Gives the largest difference of a probability and of a logit; the share of `equal_predictions`, both accuracies and
    their change with its paired 95% bootstrap interval, fractions; bytes of PyTorch's float32 weights and of the file;
    milliseconds a face from uint8 to probabilities, medians of runs in turn, on the CPU with as many threads. Both are
    fed the same pixels. Raises as `load_onnx` does, and `ValueError` for a file of another model.
    """
    session, about = load_onnx(onnx_path)
    if about["model_hash"] != model_hash(model):
        raise ValueError(
            f"{onnx_path} was made of another model; write it anew: ferlib.apps.export.to_onnx(model, path)"
        )
    model, transform = copy.deepcopy(model).cpu().eval(), EvalTransform(model.input_spec)
    faces = fitted(dataset.images, transform.spec.size)
    same = dataclasses.replace(dataset, images=faces[:, 0], transform=None)
    ours = evaluation.predict(model, same, batch_size=batch_size)
    logits = _run(session, "logits", faces, batch_size, len(model.classes))
    theirs = evaluation.Predictions(logits, ours.labels, ours.classes)
    change = evaluation.compare(ours, theirs).difference.loc["accuracy"]
    batch = np.resize(faces, (batch_size, *faces.shape[1:]))  # repeated, if there are fewer
    by_torch = torch.inference_mode()(lambda: model(transform(torch.from_numpy(batch))).softmax(1))
    seconds = interleaved({"torch": by_torch, "onnx": lambda: session.run(["probabilities"], {"faces": batch})})
    return {
        "faces": len(faces), "batch_size": batch_size, "threads": torch.get_num_threads(),
        "probability_difference": float(abs(ours.probabilities - theirs.probabilities).max()),
        "logit_difference": float(abs(ours.logits - theirs.logits).max()),
        "equal_predictions": float((ours.predicted == theirs.predicted).mean()),
        "torch_accuracy": float(ours.correct.mean()), "onnx_accuracy": float(theirs.correct.mean()),
        "change": float(change["value"]), "change_low": float(change["low"]), "change_high": float(change["high"]),
        "torch_bytes": sum(tensor.nbytes for tensor in model.state_dict().values()),
        "onnx_bytes": Path(onnx_path).expanduser().stat().st_size,
        **{f"{name}_ms": 1000 * time / batch_size for name, time in seconds.items()},
    }  # fmt: skip


def report(found: Mapping[str, float]) -> str:
    """What `parity` found, as text of four lines."""
    change = "{:+.2f} points [{:+.2f}, {:+.2f}]".format(*(100 * found[f"change{end}"] for end in ("", "_low", "_high")))
    return "\n".join((
        f"largest difference  {found['probability_difference']:.1e} of a probability, {found['logit_difference']:.1e} "
        f"of a logit; {found['equal_predictions']:.2%} of {found['faces']:,} faces are named alike",
        f"accuracy            {found['torch_accuracy']:.2%} -> {found['onnx_accuracy']:.2%}: {change}",
        f"size                {found['torch_bytes'] / 1e6:.2f} -> {found['onnx_bytes'] / 1e6:.2f} MB",
        f"time                {found['torch_ms']:.3f} -> {found['onnx_ms']:.3f} ms a face in batches of "
        f"{found['batch_size']} on {found['threads']} threads",
    ))  # fmt: skip


def interleaved(calls: Mapping[str, Callable[[], object]], rounds: int = 9) -> dict[str, float]:
    """Median seconds of each call over the rounds, in each of which all are called in turn: load hits all alike."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds + 1):  # the first one warms up
        for name, call in calls.items():
            began = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - began)
    return {name: statistics.median(times[1:]) for name, times in seconds.items()}


def _run(session: Any, output: str, faces: np.ndarray, batch_size: int, classes: int) -> np.ndarray:
    starts = range(0, len(faces), batch_size)
    parts = [session.run([output], {"faces": faces[start : start + batch_size]})[0] for start in starts]
    if any(part.shape[1:] != (classes,) for part in parts):
        raise ValueError(f"this ONNX file gives other {output} than {classes} a face; export it again")
    return np.concatenate([np.empty((0, classes), np.float32), *parts])


def fitted(faces: np.ndarray, size: int) -> np.ndarray:
    """uint8 (n, h, w) -> (n, 1, size, size), resized as `EvalTransform` does it, to whole grays."""
    to_size = EvalTransform(InputSpec(size, 1, mean=(0.0,), std=(1 / 255,)))  # which leaves 0 to 255 as it is
    return to_size(torch.tensor(faces)[:, None]).round().clamp(0, 255).byte().numpy()


def _target(path: str | Path) -> Path:
    path = Path(path).expanduser()
    if path.suffix != ".onnx":
        raise ValueError(f"{path} was given; an ONNX file's name ends in .onnx: {path}.onnx")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"the folder {path.parent} does not exist; make it first, or name another")
    return path


def _package(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ValueError(f'{error}; to mend it: pip install "onnx>=1.16" "onnxruntime>=1.20"') from error
