"""The files of a run: its model, its history, and the state from which it is resumed."""

import dataclasses
import io
import re
import warnings
import zipfile
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import nn

from ferlib.models.face_model import FaceModel, alike, fixed_answers, unwrap
from ferlib.models.feed import Feed, describe_data, in_all, normalizations
from ferlib.models.files import WEIGHTS_FILE, model_hash, with_rebuildable, write_model
from ferlib.training.config import plain, require
from ferlib.training.optim import supports
from ferlib.training.run import HISTORY, Run
from ferlib.transforms import InputSpec
from ferlib.utils import prepare_folder, write_whole

STATE_FILE, HISTORY_FILE = "state.pt", "history.csv"
# Settings that may differ in a resumed run.
MAY_DIFFER = ("data", "epochs", "patience", "workers", "precision")
IN_MODEL = ("data", "faces", "augmentation", "per_image", "teacher")  # facts in the model's file, with the config


class Checkpoint:
    """Write a run's files and resume from them; each file is whole at any time.

    Args:
        out: the folder of the files; it holds no run yet, unless `resume`.
        resume: whether a run in the folder is continued.
        model: the model that is trained.
        train: the training data as the network receives it.
        val: the validation data as the network receives it.
        transform: the batch transform given to `fit`, or None.
        teacher: the model to learn from, or None.

    Raises:
        ValueError: the folder cannot be used, or the input of a bare network is unknown.
    """

    def __init__(
        self, out: str | Path, resume: bool, model: nn.Module, train: Feed, val: Feed, transform: Any, teacher: Any
    ):
        self.folder = prepare_folder(out, "give another out (`--out`)")
        there = {name for name in (WEIGHTS_FILE, HISTORY_FILE, STATE_FILE) if (self.folder / name).exists()}
        require(resume or not there & {WEIGHTS_FILE, STATE_FILE}, f"{out} holds a run; give resume=True or another out")
        alone = " and a ".join(sorted(there - {STATE_FILE}))
        require(STATE_FILE in there or not alone, f"{out} holds a {alone} but no {STATE_FILE}; give another out")
        self.model = _model_to_save(model, train, val, transform)
        self.facts = {  # a resumed run must have the same
            "model": repr(self.model.architecture or self.model.network), "input": repr(self.model.input_spec),
            "classes": ", ".join(self.model.classes), "augmentation": _describe(transform),
            "per_image": _describe(in_all(train.dataset, "transform") or None),
            "validation transform": _describe(in_all(val.dataset, "transform") or None),
            "trainable": [name for name, value in unwrap(model).named_parameters() if value.requires_grad],
            "data": getattr(train.dataset, "name", type(train.dataset).__name__), "faces": len(train.dataset),  # type: ignore[arg-type]
            "labels drawn": any(in_all(train.dataset, "draw")), "pixels and labels": describe_data(train.dataset),
            "validation": describe_data(val.dataset), "teacher": None if teacher is None else model_hash(teacher),
        }  # fmt: skip

    def save(self, run: Run, *, anew: bool = False) -> None:
        """Write history and state, and the model if its weights are new or its file is gone.

        Args:
            run: the run; only its main process writes.
            anew: write the model in any case.

        Raises:
            OSError: the disk is full, or the folder cannot be written; its files stay whole.
        """
        if not run.accelerator.is_main_process:
            return
        history = pd.DataFrame(run.history, columns=HISTORY)
        state = {name: part.state_dict() for name, part in _parts(run).items()}
        settings = dataclasses.asdict(run.config) | self.facts | {"precision used": run.precision}
        state |= {"settings": settings, "history": run.history, "step": run.step, "kept_weights": run.kept_weights}
        state["answers"] = torch.from_numpy(fixed_answers(run.network, run.train.shape))
        content = io.BytesIO()
        torch.save(state, content)  # in memory first: torch itself does not say that a disk is full
        epoch, is_new = run.kept_epoch(), run.kept_epoch() == len(run.history)
        try:
            if epoch and (anew or is_new or not (self.folder / WEIGHTS_FILE).exists()):
                self.model.network = run.eval_network
                about = dataclasses.asdict(run.config) | {name: self.facts[name] for name in IN_MODEL}
                write_model(self.model, self.folder, run.kept_weights, training=about, epoch=epoch)
            write_whole(self.folder / STATE_FILE, lambda path: path.write_bytes(content.getbuffer()))
            write_whole(self.folder / HISTORY_FILE, lambda path: history.to_csv(path, index=False))
        except OSError as error:
            reason = f"cannot write into {self.folder} after epoch {len(run.history)} ({error.strerror or error})"
            raise OSError(f"{reason}; make room, then continue with resume=True (`--resume`)") from error

    def resume(self, run: Run) -> None:
        """Load the state of the folder, if it holds one.

        Args:
            run: a run without history.

        Raises:
            ValueError: the state is damaged or belongs to another run.
        """
        folder, now, epochs = self.folder, dataclasses.asdict(run.config) | self.facts, run.config.epochs
        path = folder / STATE_FILE
        if not path.exists():
            return
        try:
            with zipfile.ZipFile(path) as archive:  # torch itself compares no checksum
                require(archive.testzip() is None, "a byte of it is wrong")
            state = torch.load(path, map_location="cpu", weights_only=True)
            old, done = state["settings"], len(state["history"])
        except Exception as error:  # torch raises many kinds
            raise ValueError(f"{path} is damaged ({error!s:.200}); remove it to begin again") from error
        differs = [name for name in now if name not in MAY_DIFFER and plain(now[name]) != plain(old.get(name))]
        changes = ", ".join(f"{name} {old.get(name)!r:.200} -> {now[name]!r:.200}" for name in differs)
        require(not differs, f"{folder} was trained with other settings ({changes:.500}); give those, or another out")
        require(done <= epochs, f"{folder} has {done} epochs, and epochs is {epochs}; give {done} or more")
        precision = old["precision used"]
        if run.config.precision == "auto" and supports(run.accelerator.device, precision):
            run.set_precision(precision)
        elif run.precision != precision:
            change = f"the run was in {precision} and goes on in {run.precision}"
            warnings.warn(f"{change}: its numbers differ from those of a run in one precision", stacklevel=3)
        for name, part in _parts(run).items():
            if name != "scaler" or state["scaler"]:  # empty where the run had no use for one
                part.load_state_dict(state[name])
        for group in run.optimizer.param_groups if "fused" in run.optimizer.defaults else ():
            group["fused"] = run.optimizer.defaults["fused"]  # a matter of this device, not of the saved run's
        now_given = fixed_answers(run.network, run.train.shape)
        same = "answers" not in state or alike(now_given, state["answers"].numpy(), 2e-3)  # older states have none
        require(same, f"the {type(run.network).__name__} answers otherwise than that of {folder} did with these "
                "weights; was its forward changed? Give the old one, or another out")  # fmt: skip
        run.history, run.step, run.kept_weights = state["history"], state["step"], state["kept_weights"]
        if done and old["epochs"] != epochs and run.config.schedule not in ("plateau", "constant"):
            change = f"the run had {old['epochs']} epochs and now has {epochs}"
            warnings.warn(f"{change}: its learning rate jumps, so that a run from the start would differ", stacklevel=3)


def _parts(run: Run) -> dict[str, Any]:
    """Return the parts of a run that have a state of their own."""
    parts = {"network": run.network, "optimizer": run.optimizer, "plateau": run.plateau, "scaler": run.scaler}
    return parts | ({"ema": run.ema} if run.ema else {})


def _model_to_save(model: nn.Module, train: Feed, val: Feed, transform: Any) -> FaceModel:
    """Return the model as its file will hold it; raise `ValueError` if the input of a bare network is unknown."""
    if not isinstance(model, FaceModel):
        spec, known = getattr(transform, "spec", None), {*normalizations(val.dataset)}
        if spec is None and len(known) == 1:
            mean, std = known.pop()
            channels, size, _ = val.shape
            spec = InputSpec(size, channels, mean[:channels], std[:channels])
        if spec is None or train.classes is None:
            lacks = "how faces are normalised" if spec is None else "the names of the classes"
            raise ValueError(f"out= saves the model, and {lacks} is unknown; give FaceModel(network, spec, classes)")
        model = FaceModel(model, spec, train.classes)
    return with_rebuildable(model)


def _describe(transform: Any) -> str | None:
    """Describe a transform without the addresses of its functions, which differ in each process."""
    return None if transform is None else re.sub(" at 0x[0-9a-f]+", "", repr(transform))
