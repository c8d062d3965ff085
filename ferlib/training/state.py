"""What a run keeps in its folder: the model, the history, and a state to resume from, each whole at any moment."""

import copy
import dataclasses
import io
import math
import reprlib
import warnings
import zipfile
from pathlib import Path
from typing import Any, Protocol

import pandas as pd
import torch
from accelerate import Accelerator
from timm.utils import ModelEmaV3
from torch import nn

from ferlib.models import FaceModel
from ferlib.models.files import WEIGHTS_FILE, write_model
from ferlib.training.config import TrainConfig
from ferlib.training.optim import lr_factor
from ferlib.utils import write_whole

HISTORY = ("epoch", "images_seen", "lr", "train_loss", "train_accuracy", "val_loss", "val_accuracy", "seconds")


class Run(Protocol):
    """What of a run under way is saved, and what that takes."""

    config: TrainConfig
    made_with: dict[str, Any]  # what a resumed run must equal, beside the config
    data_name: str
    out: Path | None
    accelerator: Accelerator
    raw_model: nn.Module
    eval_model: nn.Module  # the averaged one, if there is one
    ema: ModelEmaV3 | None
    optimizer: torch.optim.Optimizer
    plateau: torch.optim.lr_scheduler.ReduceLROnPlateau
    scaler: torch.amp.GradScaler
    train: Any  # the training batches
    step: int
    history: list[dict[str, float]]
    kept: dict[str, torch.Tensor]
    kept_model: FaceModel | None  # what the model's file holds


# Settings that may differ when a run goes on: how long it lasts, and how the work is done.
FREE = ("epochs", "patience", "workers", "compile")


def save(run: Run, *, model: bool) -> None:
    """Write the model, if it is to be, the history and the state, each whole or not at all."""
    if run.out is None or not run.accelerator.is_main_process:
        return
    out, history = run.out, pd.DataFrame(run.history, columns=HISTORY)
    state = {name: part.state_dict() for name, part in _parts(run).items()}
    state |= {
        "config": dataclasses.asdict(run.config),
        "made_with": run.made_with,
        "history": run.history,
        "step": run.step,
        "kept": run.kept,
    }
    content = io.BytesIO()
    torch.save(state, content)  # not into the file: of a full disk it would say no more than "unexpected pos"
    about = (
        dataclasses.asdict(run.config)
        | {name: run.made_with[name] for name in ("faces", "augmentation", "per_image", "teacher")}
        | {"data": run.data_name}
    )
    try:
        if model and run.kept_model is not None:
            write_model(run.kept_model, out, training=about, epoch=len(run.history))
        write_whole(out / "history.csv", lambda path: history.to_csv(path, index=False))
        write_whole(out / "state.pt", lambda path: path.write_bytes(content.getbuffer()))
    except OSError as error:
        why = f"cannot write into {out} after epoch {len(run.history)} ({error.strerror or error})"
        kept = "what was there is still whole: make room, then go on with resume=True (`--resume`)"
        raise OSError(f"{why}; {kept}") from error


def resume(run: Run) -> None:
    """Take up the state in `out`, if there is one."""
    if run.out is None:
        raise ValueError("resume needs out, the folder of the run to go on with")
    path = run.out / "state.pt"
    if not path.exists():
        if (run.out / WEIGHTS_FILE).exists():
            raise ValueError(f"{run.out} holds a model but no {path.name} to go on from; give another out")
        return
    broken = f"{path} is no whole training state; remove it to begin anew"
    now, short = dataclasses.asdict(run.config) | run.made_with, reprlib.Repr()
    short.maxstring, short.maxother, short.maxlevel = 200, 200, 3  # characters; lists in one another
    try:
        with zipfile.ZipFile(path) as archive:  # torch itself compares no checksum
            if any(entry.compress_type for entry in archive.infolist()) or archive.testzip():
                raise ValueError("a byte of it is wrong")
        state = torch.load(path, map_location="cpu", weights_only=True)
        old = state["config"] | state["made_with"]
        changed = [
            f"{name} {short.repr(old.get(name))} -> {now[name]!r}"
            for name in now
            if name not in FREE and old.get(name) != now[name]
        ]
        done = len(state["history"])
    except Exception as error:  # torch's unpickler fails in many ways
        raise ValueError(f"{broken} ({error!s:.200})") from error
    if changed:
        raise ValueError(
            f"{run.out} was trained with other settings ({', '.join(changed):.500}); give those again "
            "(on the command line: the command that began it, with --resume), or another out"
        )
    if done > run.config.epochs:
        raise ValueError(f"{run.out} has {done} epochs behind it, and epochs is {run.config.epochs}; give {done} or "
                         "more (`--epochs`)")  # fmt: skip
    before = {name: copy.deepcopy(part.state_dict()) for name, part in _parts(run).items()}
    try:
        given = _settings(run)
        for name, part in _parts(run).items():
            part.load_state_dict(state[name])
        run.history, run.step, run.kept = state["history"], state["step"], state["kept"]
        _check_taken(run, given)
    except Exception as error:
        for name, part in _parts(run).items():  # a refused state leaves the model as it was
            part.load_state_dict(before[name])
        raise ValueError(f"{broken} ({error!s:.200})") from error
    if old["epochs"] != run.config.epochs and run.config.schedule not in ("plateau", "constant") and done:
        steps, was = len(run.train), dataclasses.replace(run.config, epochs=old["epochs"])
        ended = run.config.lr * lr_factor(max(run.step - 1, 0), steps * old["epochs"], was)
        goes_on = run.config.lr * lr_factor(run.step, steps * run.config.epochs, run.config)
        warnings.warn(
            f"{run.out} was a run of {old['epochs']} epochs and becomes one of {run.config.epochs}: the "
            f"{run.config.schedule} schedule now spans all of these, so that the learning rate goes on at "
            f"{goes_on:.2g}, after {ended:.2g}; a run of {run.config.epochs} epochs from the start would differ",
            stacklevel=3,
        )


def _parts(run: Run) -> dict[str, Any]:
    """What of a run has a state of its own."""
    parts = {"raw_model": run.raw_model, "optimizer": run.optimizer, "plateau": run.plateau, "scaler": run.scaler}
    return parts | ({"ema": run.ema} if run.ema else {})


def _settings(run: Run) -> list[Any]:
    """What of the optimizer and the plateau's schedule no epoch changes."""
    groups = run.optimizer.state_dict()["param_groups"]
    kinds = {name: type(value) for name, value in run.plateau.state_dict().items()}
    return [kinds, *({name: value for name, value in group.items() if name != "lr"} for group in groups)]


def _check_taken(run: Run, given: list[Any]) -> None:
    """Raise `ValueError` where what was taken up contradicts itself, or `_settings`, which were `given`."""
    rows = [row[name] for row in run.history for name in HISTORY] + [run.step]
    if not isinstance(run.history, list) or not all(isinstance(number, (int, float)) for number in rows):
        raise ValueError("its history holds what is no number")
    epochs, steps = [row["epoch"] for row in run.history], len(run.history) * len(run.train)
    if epochs != [*range(1, len(epochs) + 1)] or len(epochs) > run.config.epochs or run.step != steps:
        raise ValueError(f"it is at step {run.step} after the epochs {epochs}, of {len(run.train)} steps each")
    moments = run.optimizer.state.items()  # of each parameter that has moved
    forms = {tuple((name, type(value)) for name, value in values.items()) for _, values in moments}
    shapes = [
        (value.shape, parameter.shape)
        for parameter, values in moments
        for value in values.values()
        if isinstance(value, torch.Tensor) and value.ndim
    ]
    lrs = [group["lr"] for group in run.optimizer.param_groups]
    alike = len(forms) < 2 and all(mine == theirs for mine, theirs in shapes)
    counted = all(0 < values.get("step", 1) <= run.step for _, values in moments)
    if not (alike and counted and _settings(run) == given and all(0 <= lr < math.inf for lr in lrs)):
        raise ValueError("its optimizer or schedule is another one")
    kept, now = (
        {name: (value.shape, value.dtype) for name, value in weights.items()}
        for weights in (run.kept or {}, run.eval_model.state_dict())
    )
    if kept != now and (run.history or run.kept):  # in the first epoch nothing is kept yet
        raise ValueError("the weights that it kept are of another model")
