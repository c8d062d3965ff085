"""`fit`: train a network over many epochs, with checkpoint and resume."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from accelerate.utils import gather_object
from torch import nn
from tqdm.auto import tqdm

from ferlib.models.feed import (
    BatchTransform,
)  # fmt: skip
from ferlib.models.files import WEIGHTS_FILE
from ferlib.training import state
from ferlib.training.config import TrainConfig
from ferlib.training.run import _Run, check_run
from ferlib.training.state import HISTORY


@dataclass(frozen=True, eq=False)
class FitResult:
    """What `fit` gives: the model with the kept weights, one row of `history` an epoch, and why it stopped.

    History columns: epoch (from 1), images_seen, lr, train_loss, train_accuracy, val_loss, val_accuracy (fractions),
    seconds. Training figures are taken while the weights still move, on augmented faces.
    """

    model: nn.Module
    history: pd.DataFrame
    stopped: str  # "finished", "patience" or "interrupted"
    precision: str

    @property
    def best_epoch(self) -> int:
        """The epoch (from 1) with the highest validation accuracy, the first of equals; `ValueError` if none ended."""
        if self.history.empty:
            raise ValueError("no epoch was finished: the run was interrupted in its first")
        return int(self.history["epoch"].iloc[int(self.history["val_accuracy"].argmax())])


def fit(
    model: nn.Module,
    train_set: Any,
    val_set: Any,
    config: TrainConfig | None = None,
    *,
    train_transform: BatchTransform | None = None,
    teacher: nn.Module | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    progress: bool = True,
) -> FitResult:
    """Train a network in place, validating after each epoch.

    model: a `FaceModel`, or any `nn.Module` that gives logits (n, classes).
    train_set: a `FaceDataset`, or any map-style dataset of (tensor, label). Its own transform is used; uint8 faces are
        prepared by `train_transform`, else by the FaceModel's input_spec. Each epoch is shuffled anew, and leaves out
        its last, smaller batch.
    val_set: the same for validation; soft labels count as hard ones.
    config: the settings; by default `TrainConfig()`.
    train_transform: maps a uint8 batch to the network's input, as `BatchAugment` does.
    teacher: a model of the same input and classes, for `config.distill`.
    out: a folder that gets `model.safetensors` (the kept epoch), `history.csv` and `state.pt`, each whole at any time;
        a new one, unless `resume`.
    resume: go on with the run in `out`, or begin if there is none; more `epochs` than before lengthen it.
    progress: show a bar.

    On a CPU a resumed run's history and weights equal the uninterrupted run's bit for bit. An interrupt (Ctrl-C) ends
    the run with what there is. Seeds Python's, NumPy's and torch's global random numbers.

    Returns a `FitResult`. Raises `ValueError`, before training, for a model, data and settings that do not go together,
    a state of other settings, or a folder that cannot be written; `FloatingPointError`, naming the batch, when the loss
    is no longer finite; `OSError` when the disk is full or a worker or another process dies; the model then has the
    weights of the epoch that was kept, if there was one.
    """
    config = TrainConfig() if config is None else config
    fed = check_run(model, train_set, config, train_transform, teacher)
    if out is not None:
        try:
            Path(out).mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=out).close()  # to fail now, not after the first epoch
        except OSError as error:
            raise ValueError(f"cannot write into {out} ({error.strerror}); give another out (`--out`)") from error
        if not resume and any((Path(out) / name).exists() for name in (WEIGHTS_FILE, "state.pt")):
            raise ValueError(f"{out} holds a run already; resume=True goes on with it, or give another out")
    run = _Run(model, fed, val_set, config, train_transform, teacher, None if out is None else Path(out))
    if resume:
        state.resume(run)
        begun = [len(each) for each in gather_object([run.history])]
        if len({*begun}) > 1:
            raise ValueError(f"the processes found other states in {out}, of {begun} epochs; give a folder they share")
    if out is not None and run.accelerator.is_main_process:
        for name in (WEIGHTS_FILE, "history.csv", "state.pt"):
            for left in Path(out).glob(f"{name}.*.part"):  # of a process that was killed
                left.unlink()
    if not run.history:
        state.save(run, model=False)  # so that no moment leaves a model without the state that goes with it
    quiet = not (progress and run.accelerator.is_main_process)
    stopped = "finished"
    with tqdm(total=config.epochs, initial=len(run.history), unit="epoch", disable=quiet) as bar:
        try:
            for epoch in range(len(run.history) + 1, config.epochs + 1):
                if config.patience is not None and run.epochs_since_best() >= config.patience:
                    stopped = "patience"
                    break
                row = run.epoch(epoch)
                bar.update()
                bar.set_postfix_str(
                    f"loss {row['train_loss']:.3f} train {row['val_loss']:.3f} val, "
                    f"accuracy {row['train_accuracy']:.1%} train {row['val_accuracy']:.1%} val"
                )
        except KeyboardInterrupt:
            stopped = "interrupted"
        except RuntimeError as error:
            if (lost := _process_lost(error)) is None:
                raise
            raise lost from error
        except ValueError as error:
            if not str(error).startswith("Caught ValueError in DataLoader worker"):
                raise
            last = str(error).strip().splitlines()[-1].removeprefix("ValueError: ")  # the others are its traceback
            raise ValueError(last) from error
        finally:
            if run.kept:
                run.raw_model.load_state_dict(run.kept)
            model.eval()
    return FitResult(model, pd.DataFrame(run.history, columns=HISTORY), stopped, run.precision)


def _process_lost(error: RuntimeError) -> OSError | None:
    """What to say when torch means that a loader's worker, or another process of the run, has died."""
    go_on = "resume=True (`--resume`) goes on after the last whole epoch"
    if str(error).startswith("DataLoader worker"):
        fewer = "a new run with fewer workers (`--workers`) needs less memory and /dev/shm"
        return ChildProcessError(f"a loader's worker died ({error}); {go_on}, {fewer}")
    if isinstance(error, torch.distributed.DistError) or "gloo" in str(error):
        return ConnectionError(f"another process of this run was lost; {go_on}")
    return None
