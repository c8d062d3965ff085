"""One model run in every way we have: milliseconds a face at four batch sizes, accuracy and size, side by side.

    python benchmarks/export.py --model fer2013-small --data fer2013       # PublicTest; the extra `onnx` is needed

PyTorch in fp32, in channels_last, there with bf16 autocast, and, with `--compile`, compiled; ONNX in fp32, and in int8
calibrated on 512 Training faces. All run from uint8 faces to probabilities, in one process on the same number of
threads; a round calls all of them in turn, and the medians over the rounds are shown.
Each is then compared with PyTorch in fp32 on the same faces, with paired 95% intervals.
"""

import argparse
import copy
import tempfile
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from scipy.special import log_softmax
from torch import nn

from ferlib import data, evaluation, models
from ferlib.apps import export
from ferlib.transforms import EvalTransform, InputSpec

Run = Callable[[np.ndarray], np.ndarray]  # uint8 (n, 1, size, size) -> probabilities (n, 7)


def torch_run(model: nn.Module, spec: InputSpec, *, bf16: bool = False, last: bool = False) -> Run:
    """A model as a function of uint8 faces."""
    transform, form = EvalTransform(spec), torch.channels_last if last else torch.contiguous_format

    @torch.inference_mode()
    def run(faces: np.ndarray) -> np.ndarray:
        batch = transform(torch.from_numpy(faces)).contiguous(memory_format=form)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            return model(batch).float().softmax(1).numpy()

    return run


def onnx_run(path: Path) -> Run:
    session, _ = export.load_onnx(path)
    return lambda faces: session.run(["probabilities"], {"faces": faces})[0]


def ways(
    model: models.FaceModel, calibration: np.ndarray, folder: Path, compiled: bool
) -> dict[str, tuple[Run, float]]:
    """Each way to run a model, and the bytes of its weights or file."""
    spec = model.input_spec
    full = sum(tensor.nbytes for tensor in model.state_dict().values())
    first, last = (copy.deepcopy(model).to(memory_format=way) for way in (torch.contiguous_format, torch.channels_last))
    path = export.to_onnx(model, folder / "model.onnx")
    small = export.quantise(path, calibration, folder / "int8.onnx")
    found = {
        "PyTorch fp32": (torch_run(first, spec), full),
        "PyTorch channels_last": (torch_run(last, spec, last=True), full),
        "PyTorch channels_last, bf16": (torch_run(last, spec, last=True, bf16=True), full),
        "ONNX fp32": (onnx_run(path), path.stat().st_size),
        "ONNX int8": (onnx_run(small), small.stat().st_size),
    }
    if compiled:
        found["PyTorch compiled"] = (torch_run(torch.compile(model, dynamic=False), spec), full)
    return found


def predicted(run: Run, faces: np.ndarray, labels: np.ndarray) -> evaluation.Predictions:
    parts = [run(faces[start : start + 256]) for start in range(0, len(faces), 256)]
    return evaluation.Predictions(log_softmax(np.log(np.concatenate(parts) + 1e-12), axis=1), labels)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="fer2013-small", help="a shipped name, a run's folder or a model's file")
    parser.add_argument("--data", default="fer2013", help="whatever ferlib.data.load takes")
    parser.add_argument("--limit", type=int, help="only so many faces of PublicTest, for a dry run")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 16, 64, 256])
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--threads", type=int, help="default: PyTorch's own choice")
    parser.add_argument("--compile", action="store_true", help="torch.compile too, which needs a C++ compiler")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    model, dataset = models.load_model(args.model), data.load(args.data)
    test, train = dataset.subset("PublicTest"), dataset.subset("Training")
    size, (count, _) = model.input_spec.size, models.count_parameters(model)
    faces = export.fitted(test.images[: args.limit], size)
    labels = test.labels[: args.limit]
    chosen = np.random.default_rng(0).permutation(len(train))[:512]
    machine = f"{torch.get_num_threads()} threads, torch {torch.__version__}, onnxruntime {version('onnxruntime')}"
    print(f"{args.model}: {count:,} parameters, {size} px; {len(faces):,} faces of PublicTest")
    print(f"{machine}; medians of {args.rounds} rounds\n")
    times = {}
    with tempfile.TemporaryDirectory() as folder:
        runs = ways(model, train.images[chosen], Path(folder), args.compile)
        found = {name: predicted(run, faces, labels) for name, (run, _) in runs.items()}
        for size in args.batches:
            batch = np.resize(faces, (size, *faces.shape[1:]))
            calls = {name: partial(run, batch) for name, (run, _) in runs.items()}
            times[size] = export.interleaved(calls, args.rounds)
    print(f"| ms a face in batches of | {' | '.join(map(str, args.batches))} | accuracy % | MB |")
    print(f"|---|{'---:|' * (len(args.batches) + 2)}")
    for name, (_, weight) in runs.items():
        cells = [f"{1000 * times[size][name] / size:.3f}" for size in args.batches]
        cells += [f"{100 * found[name].correct.mean():.2f}", f"{weight / 1e6:.2f}"]
        print(f"| {name} | {' | '.join(cells)} |")
    print("\n| against PyTorch fp32 | largest difference of a probability | named alike % | accuracy, points |")
    print("|---|---:|---:|---|")
    ours = found["PyTorch fp32"]
    for name in list(runs)[1:]:
        change = 100 * evaluation.compare(ours, found[name]).difference.loc["accuracy"]
        largest = abs(ours.probabilities - found[name].probabilities).max()
        alike = 100 * (ours.predicted == found[name].predicted).mean()
        print(f"| {name} | {largest:.1e} | {alike:.2f} | {change['value']:+.2f} "
              f"[{change['low']:+.2f}, {change['high']:+.2f}] |")  # fmt: skip


if __name__ == "__main__":
    main()
