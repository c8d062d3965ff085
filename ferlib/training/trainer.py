"""`fit`: check a model against its data, then train it over many epochs."""

import contextlib
import multiprocessing
import signal
import threading
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from accelerate.utils import set_seed
from torch import nn
from tqdm.auto import tqdm

from ferlib.data import labels_of
from ferlib.models import feed
from ferlib.models.face_model import FaceModel, check_outputs, check_training, unwrap, warn_of_probabilities
from ferlib.training.config import TrainConfig, require
from ferlib.training.run import HISTORY, Run, seed_of
from ferlib.training.state import Checkpoint
from ferlib.transforms import BatchAugment


@dataclass(frozen=True, eq=False)
class FitResult:
    """Hold what `fit` returns.

    Attributes:
        model: the model with the kept weights, in evaluation mode.
        history: one row an epoch: epoch (from 1), images_seen, lr (at its first step), train_loss, train_accuracy,
            val_loss, val_accuracy (0 to 1), seconds. Training figures are of augmented faces, while the weights change.
        stopped: "finished", "patience" or "interrupted".
        precision: "fp32", "bf16" or "fp16".
    """

    model: nn.Module
    history: pd.DataFrame
    stopped: str
    precision: str

    @property
    def best_epoch(self) -> int:
        """Return the first epoch (from 1) with the highest validation accuracy; `ValueError` if no epoch finished."""
        require(len(self.history), "no epoch was finished; the run was interrupted in its first")
        return int(self.history["epoch"].iloc[int(self.history["val_accuracy"].argmax())])


def fit(
    model: nn.Module, train_set: Any, val_set: Any, config: TrainConfig | None = None, *,
    train_transform: feed.BatchTransform | None = None, teacher: nn.Module | None = None,
    out: str | Path | None = None, resume: bool = False, progress: bool = True,
) -> FitResult:  # fmt: skip
    """Train a network, and validate it after each epoch.

    On a CPU a resumed run's history and weights equal those of an uninterrupted run bit for bit. Ctrl-C ends the run;
    the model gets the weights of the last kept epoch. The random numbers of Python, NumPy and torch are seeded.

    Args:
        model: a `FaceModel`, or any `nn.Module` that gives logits (n, classes). It is trained in place, on the GPU
            where there is one, and loses the facts in its `about`.
        train_set: a `FaceDataset`, or any map-style dataset of (tensor, label). Its own transform is used; uint8 faces
            are then prepared by `train_transform`, else by the FaceModel's input_spec. Each epoch has a new order and
            leaves out the last, smaller batch.
        val_set: the same for validation. A `FaceDataset` is judged by its `labels`, soft labels of another dataset by
            their largest share.
        config: the settings; by default `TrainConfig()`.
        train_transform: maps a uint8 batch to the network's input, as `BatchAugment` does.
        teacher: a model with the same input and classes, for `config.distill`.
        out: a folder for `model.safetensors` (the kept epoch), `history.csv` and `state.pt`. It must hold no run yet,
            unless `resume`.
        resume: continue the run in `out`, or begin if there is none; more `epochs` than before lengthen it.
        progress: show a progress bar.

    Returns:
        A `FitResult`.

    Raises:
        ValueError: before training: model, data, settings, folder or state do not fit each other.
        FloatingPointError: the loss is not finite; the message names epoch and batch.
        OSError: the disk is full, or a loader's worker or another process died.

    >>> from ferlib import data, models
    >>> faces = data.load("sample").subset("Training").subset(range(128))
    >>> result = fit(models.build_model("plain_cnn"), faces, faces, TrainConfig(epochs=1), progress=False)
    >>> result.stopped, len(result.history)
    ('finished', 1)
    """
    config = TrainConfig() if config is None else config
    require(out is not None or not resume, "resume needs out, the folder of the run")
    train = check_run(model, train_set, config, train_transform, teacher)
    val = check_validation(model, val_set, train)
    check_workers([train.dataset, val.dataset], config.workers)
    files = None if out is None else Checkpoint(out, resume, model, train, val, train_transform, teacher)
    run = Run(model, train, val, config, teacher)
    if files is not None and resume:
        files.resume(run)
    if files is not None:
        files.save(run, anew=True)  # so that a model is never without its state, nor another run's
    if isinstance(model, FaceModel):
        model.about.clear()  # a temperature and the like are those of the old weights
    try:
        with _note_ctrl_c(run):
            stopped = _train_epochs(run, files, progress and run.accelerator.is_main_process)
    except KeyboardInterrupt:
        stopped = "interrupted"
    except FloatingPointError as error:
        place = f"epoch {len(run.history) + 1}: {error} of {len(run.train_batches)}"
        raise FloatingPointError(f"{place}; lower lr ({config.lr}) or set clip_norm") from None
    except RuntimeError as error:
        cause = _lost_process(error)
        if cause is None:
            raise
        if not run.stop_requested:
            raise cause from error
        stopped = "interrupted"  # Ctrl-C reaches all processes
    finally:
        if run.kept_weights:
            run.network.load_state_dict(run.kept_weights)
        model.eval()
    return FitResult(model, pd.DataFrame(run.history, columns=HISTORY), stopped, run.precision)


def _lost_process(error: RuntimeError) -> OSError | None:
    """Return why a loader's worker or another process was lost; None for another error."""
    text = str(error)
    if "shared memory" in text:  # of a worker, or of torch that explains why it died
        return OSError("the loader's workers need more shared memory (/dev/shm) than this computer gives; lower "
                       "workers or batch_size, or start Docker with --shm-size=2g")  # fmt: skip
    if isinstance(error, torch.distributed.DistError) or "gloo" in text or text.startswith("DataLoader worker"):
        return ChildProcessError(f"a process of this run died ({text:.200}); resume=True continues it")
    return None


def check_workers(datasets: list[Any], workers: int) -> None:
    """Start a process as the loader's workers are started, where that can fail: wherever it is not a fork.

    Args:
        datasets: what the workers take their faces from.
        workers: number of the loader's workers.

    Raises:
        ValueError: the process does not start, and the workers would hang.
    """
    if not workers or multiprocessing.get_start_method() == "fork":
        return
    reason = "its own message is above"
    trial = multiprocessing.Process(target=len, args=(datasets,))
    try:
        trial.start()
        trial.join()
    except Exception as error:  # what cannot be pickled may raise anything
        reason = str(error)
    require(trial.exitcode == 0, f"the loader's workers cannot start ({reason:.200}); put a script's own lines under "
            'if __name__ == "__main__":, and functions and classes of the data into a module that you import; or set '
            "workers=0")  # fmt: skip


@contextlib.contextmanager
def _note_ctrl_c(run: Run) -> Iterator[None]:
    """Note Ctrl-C in the run, so that it ends after its step if Python loses the `KeyboardInterrupt`.

    Python loses one that comes while it starts a loader's worker.
    """
    previous: Any = signal.getsignal(signal.SIGINT)

    def note(*signal_and_frame: Any) -> None:
        run.stop_requested = True
        previous(*signal_and_frame)

    if threading.current_thread() is not threading.main_thread() or not callable(previous):
        yield  # only the main thread may set this, and a run in the background ignores Ctrl-C
        return
    signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


def _train_epochs(run: Run, files: Checkpoint | None, progress: bool) -> str:
    """Train until the last epoch, or until patience ends; return why the run stopped."""
    epochs, patience = run.config.epochs, run.config.patience
    with tqdm(initial=run.step, total=epochs * len(run.train_batches), unit="batch", disable=not progress) as run.bar:
        for epoch in range(len(run.history) + 1, epochs + 1):
            if patience is not None and run.epochs_since_best() >= patience:
                return "patience"
            run.bar.set_description(f"epoch {epoch} of {epochs}")
            run.train_epoch()
            if files is not None:
                files.save(run)
            row = run.history[-1]
            told = f"training loss {row['train_loss']:.3f}, validation accuracy {row['val_accuracy']:.1%}"
            run.bar.set_postfix_str(told)
    return "finished"


def check_run(model: nn.Module, train_set: Any, config: TrainConfig, transform: Any, teacher: Any) -> feed.Feed:
    """Check that model, training data and settings fit each other.

    Args:
        model: a `FaceModel` or a network.
        train_set: a `FaceDataset`, or a map-style dataset of (tensor, label).
        config: the settings.
        transform: prepares a batch of uint8 faces; None leaves it to the model.
        teacher: the model to learn from, or None.

    Returns:
        The training data as the network receives it.

    Raises:
        ValueError: training would fail, or its result would be wrong.
    """
    train = feed.feed(model, train_set, "train_set", transform=transform)
    feed.check_samples(train.dataset)
    count, batch = len(train_set), config.batch_size
    require(count >= batch, f"{count} training faces are fewer than one batch of {batch}; lower batch_size")
    both = (teacher is None) == (config.distill == 0)
    require(both, f"distill is {config.distill}, teacher is {type(teacher).__name__}; give both or none of them")
    if teacher is not None:
        check_outputs(unwrap(teacher), train.shape, train.classes)
        due = [train.spec or teacher.input_spec, train.classes] if isinstance(teacher, FaceModel) else None
        equal = due is None or due == [teacher.input_spec, teacher.classes]
        require(equal, "the teacher's input or classes differ from the model's; give equal ones")
    sizes = not config.progressive or isinstance(transform, BatchAugment)
    require(sizes, "progressive needs a BatchAugment as train_transform; give one")
    check_training(unwrap(model), train.shape)
    warn_of_probabilities(unwrap(model), train.shape)
    twice = []
    for _ in range(2):
        set_seed(seed_of(config.seed))
        twice.append(train.dataset[0][0])
    if not torch.equal(*twice):
        warnings.warn("train_set draws random numbers that no seed reaches, so that reruns differ; give an A.Compose "
                      "itself to FaceDataset.with_transform", stacklevel=3)  # fmt: skip
    labels = None if train.soft else labels_of(train.dataset)
    missing = [name for k, name in enumerate(train.classes or ()) if labels is not None and k not in labels]
    if missing:
        warnings.warn(f"train_set has no face of {', '.join(missing)}; add some, or load fewer classes", stacklevel=3)
    return train


def check_validation(model: nn.Module, val_set: Any, train: feed.Feed) -> feed.Feed:
    """Check that the validation faces are prepared as the training faces are.

    Args:
        model: a `FaceModel` or a network.
        val_set: a `FaceDataset`, or a map-style dataset of (tensor, label).
        train: the training data, from `check_run`.

    Returns:
        The validation data as the network receives it.

    Raises:
        ValueError: size, mean or sd differ.
    """
    val = feed.feed(model, feed.without_targets(val_set), "val_set", spec=train.spec, classes=train.classes)
    sizes = f"train_set gives faces {train.shape}, val_set {val.shape}"
    require(train.shape == val.shape, f"{sizes}; put the same Resize into both")
    (mean, std), (val_mean, val_std) = train.values, val.values
    same = len({*feed.normalizations(train.dataset), *feed.normalizations(val.dataset)}) < 2
    close = abs(mean - val_mean) <= 0.75 * max(std, val_std) and 0.4 <= (std or 1) / (val_std or 1) <= 2.5
    values = f"train_set's faces have mean {mean:.2f}, sd {std:.2f}, val_set's mean {val_mean:.2f}, sd {val_std:.2f}"
    require(train.raw or val.raw or (same and close), f"{values}; give both the same Normalize")
    feed.check_samples(val.dataset)
    return val
