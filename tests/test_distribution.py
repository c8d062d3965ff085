"""Two processes on one machine are one run: its history, its one file, its end. Each start costs seconds, so a single
`accelerate launch` of this very file goes through most scenes; the last of them kills the second process."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from accelerate import Accelerator, PartialState
from on_disk import write_csv

from ferlib import cli, data, models, recipes, sample, training
from ferlib.models import files
from ferlib.training import TrainConfig, state
from ferlib.training.run import Run
from ferlib.training.state import Checkpoint
from ferlib.training.trainer import check_run, check_validation
from ferlib.transforms import EvalTransform

pytestmark = pytest.mark.filterwarnings("ignore:.*of FER2013's")
TWO = ("--multi_gpu", "--num_processes", "2", "--num_machines", "1", "--main_process_port")
PLAIN = ("--mixed_precision", "no", "--dynamo_backend", "no")
COLUMNS = ["epoch", "images_seen", "lr", "train_loss", "train_accuracy", "val_loss", "val_accuracy"]
NETWORK = {"name": "resnet18", "channels": (8, 16, 16, 32), "layers": (1, 1, 1, 1), "small_stem": False}
CONFIG = {"epochs": 8, "batch_size": 16, "optimizer": "sgd", "precision": "fp32"}
RECIPES = {  # without dropout and augmentation, whose random numbers differ by process
    "alike": recipes.Recipe("alike", "group normalisation", NETWORK | {"norm_layer": "groupnorm1"},
                            TrainConfig(lr=0.05, patience=2, **CONFIG)),
    "drawn": recipes.Recipe("drawn", "faces drawn by class", NETWORK | {"norm_layer": "groupnorm1"},
                            TrainConfig(lr=0.05, balance="sampling", **CONFIG | {"epochs": 2})),
    "weighed": recipes.Recipe("weighed", "loss weighed by class", NETWORK | {"norm_layer": "groupnorm1"},
                              TrainConfig(lr=0.05, balance="loss", **CONFIG | {"epochs": 2})),
    "averaged": recipes.Recipe("averaged", "BatchNorm and averaged weights", NETWORK,
                               TrainConfig(lr=0.1, ema=0.9, **CONFIG | {"epochs": 2})),
}  # fmt: skip
STEPS = 105 // 16  # of an epoch


def train(folder: Path, recipe: str, out: str, *more: str) -> int:
    """`ferlib train` as it is typed, with one of the recipes above; "weighed" has classes of unequal sizes."""
    faces = folder / ("uneven.csv" if recipe == "weighed" else "faces.csv")
    return cli.main(["train", "--data", str(faces), "--recipe", recipe, "--out", str(folder / out), *more])


def at_step(patch: pytest.MonkeyPatch, step: int, happens: Callable[[Run], None]) -> None:
    """Let something happen right after a step of the run, counted from 1."""
    real = Run.after_step

    def after_step(self) -> None:
        real(self)
        if self.step == step:
            happens(self)

    patch.setattr(Run, "after_step", after_step)


def interrupt(_: Run) -> None:
    raise KeyboardInterrupt


def spoil(run: Run) -> None:
    with torch.no_grad():
        next(run.network.parameters()).fill_(float("nan"))


def scenes(folder: Path) -> None:
    """What each of the two processes does; notes what it wrote and which logits it validated by."""
    written: list[str] = []
    gathered: list[np.ndarray] = []
    real_write, real_gather = state.write_whole, Accelerator.gather_for_metrics

    def write_whole(path: Path, write: object) -> Path:
        written.append(str(Path(path).relative_to(folder)))
        return real_write(path, write)

    def gather(self, parts: tuple) -> tuple:
        gathered.append((found := real_gather(self, parts))[0].numpy())  # two batches an epoch
        return found

    with pytest.MonkeyPatch.context() as patch:
        for module in (state, files):
            patch.setattr(module, "write_whole", write_whole)
        patch.setattr(Accelerator, "gather_for_metrics", gather)
        assert train(folder, "alike", "pair") == 0
        rank = PartialState().process_index
        np.save(folder / f"logits-{rank}.npy", np.concatenate(gathered[-2:]))
        (folder / f"written-{rank}.json").write_text(json.dumps(written))
    assert train(folder, "alike", "part", "--resume") == 0
    assert train(folder, "drawn", "drawn-by-two") == 0
    assert train(folder, "weighed", "weighed-by-two") == 0
    assert train(folder, "averaged", "averaged") == 0
    with pytest.MonkeyPatch.context() as patch:
        if rank == 1:
            at_step(patch, 3, spoil)
        assert train(folder, "alike", "lost") == 2
    (folder / f"reached-{rank}").touch()
    with pytest.MonkeyPatch.context() as patch:
        if rank == 1:
            at_step(patch, 2 * STEPS + 3, lambda _: os.kill(os.getpid(), signal.SIGKILL))
        train(folder, "alike", "killed")


def ended(command: list[str], places: dict[str, str]) -> tuple[int, str, str]:
    """What a launch ends with, and says on either stream."""
    told = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    launch = subprocess.Popen(command, env=os.environ | places, **told)
    try:
        printed, said = launch.communicate(timeout=240)
    except subprocess.TimeoutExpired:
        launch.terminate()  # which ends its two processes, as a kill would not
        pytest.fail(f"the launch hangs: {launch.communicate()[1][-2000:]}")
    return launch.returncode, printed, said


@dataclass(frozen=True)
class Launched:
    folder: Path
    places: dict[str, str]  # the environment of its processes
    code: int
    out: str
    err: str

    def history(self, out: str) -> pd.DataFrame:
        return pd.read_csv(self.folder / out / "history.csv")


@pytest.fixture(scope="module")
def launched(tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int]) -> Iterator[Launched]:
    """One process's runs, whole and interrupted, then the launch."""
    folder = tmp_path_factory.mktemp("two")
    images, table = sample.draw(406, seed=4, balance="equal")
    splits = ["Training"] * 105 + ["PublicTest"] * 301
    write_csv(folder / "faces.csv", images, table["label"], splits)
    write_csv(folder / "uneven.csv", images, [label * (i % 3 > 0) for i, label in enumerate(table["label"])], splits)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recipes, "RECIPES", recipes.RECIPES | RECIPES)
        assert train(folder, "alike", "alone") == 0
        assert train(folder, "drawn", "drawn-by-one") == 0
        assert train(folder, "weighed", "weighed-by-one") == 0
        with pytest.MonkeyPatch.context() as stopping:
            at_step(stopping, 2 * STEPS + 3, interrupt)
            assert train(folder, "alike", "part") == 130
        places = {"ACCELERATE_USE_CPU": "true", "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
        places["FERLIB_CACHE"] = str(folder / "cache")  # empty: both processes fill it
        launcher = [sys.executable, "-m", "accelerate.commands.launch"]
        command = [*launcher, *TWO, str(free_port()), *PLAIN, __file__, str(folder)]
        code, printed, said = ended(command, places)
        assert (folder / "reached-0").exists() and (folder / "reached-1").exists(), said
        yield Launched(folder, places, code, printed, said)


def assert_alike(mine: pd.DataFrame, theirs: pd.DataFrame) -> None:
    """The same history to five digits."""
    pd.testing.assert_frame_equal(mine[COLUMNS], theirs[COLUMNS], check_exact=False, rtol=1e-5, atol=0)


def test_two_processes_have_one_processs_history_and_stop_early_together(launched: Launched):
    alone = launched.history("alone")
    assert 3 <= len(alone) < 8, "patience ended it"
    assert alone["train_loss"].iloc[-1] < alone["train_loss"].iloc[0]
    assert_alike(launched.history("pair"), alone)
    for recipe in ("drawn", "weighed"):
        assert_alike(launched.history(f"{recipe}-by-two"), launched.history(f"{recipe}-by-one"))


def test_each_face_is_validated_once_and_in_order(launched: Launched):
    faces = data.load(launched.folder / "faces.csv").subset("PublicTest")
    assert len(faces) == 256 + 45, "a batch for both processes, and one of an odd number of faces"
    model = models.load_model(launched.folder / "pair")
    with torch.no_grad():
        want = model(EvalTransform(model.input_spec)(torch.from_numpy(faces.images)[:, None])).numpy()
    apart = np.abs(want[:, None] - want[None]).max(2) + np.eye(len(want))
    assert apart.min() > 1e-3, "no two faces are answered alike, so that their order shows"
    for rank in (0, 1):
        np.testing.assert_allclose(np.load(launched.folder / f"logits-{rank}.npy"), want, atol=1e-5)


def test_only_the_first_process_writes_and_speaks(launched: Launched):
    written = [json.loads((launched.folder / f"written-{rank}.json").read_text()) for rank in (0, 1)]
    assert written[1] == []
    epochs = len(launched.history("pair"))
    assert written[0].count("pair/model.safetensors") == epochs
    for stopped, runs in (("patience", 2), ("finished", 3)):
        assert launched.out.count(f"{stopped}, in fp32, on 2 processes; kept epoch") == runs
    assert launched.out.count(": resnet18, ") == launched.err.count(".csv: Training: 105 of") == 7
    cached = {path.name.partition("-csv-")[0] for path in (launched.folder / "cache").iterdir()}
    assert cached == {"faces", "uneven"}, "both filled one cache at once, and left nothing else in it"


def test_a_run_goes_on_with_another_number_of_processes(launched: Launched):
    """One process's run was taken up by two; that of two, by one."""
    assert_alike(launched.history("part"), launched.history("alone"))
    assert len(launched.history("killed")) == models.load_model(launched.folder / "killed").about["epoch"] == 2
    assert train(launched.folder, "alike", "killed", "--resume") == 0
    assert_alike(launched.history("killed"), launched.history("alone"))


def test_the_averaged_model_that_is_saved_is_the_one_that_was_validated(launched: Launched):
    """BatchNorm's statistics differ by process, and so would their averages."""
    faces = data.load(launched.folder / "faces.csv").subset("PublicTest")
    model = models.load_model(launched.folder / "averaged")
    with torch.no_grad():
        logits = model(EvalTransform(model.input_spec)(torch.from_numpy(faces.images)[:, None]))
    loss = F.cross_entropy(logits, torch.tensor(faces.labels)).item()
    assert launched.history("averaged")["val_loss"].iloc[-1] == pytest.approx(loss, rel=1e-5)


def test_numbers_lost_in_one_process_stop_all_at_that_batch(launched: Launched):
    assert launched.err.count("ferlib train: error: epoch 1: the loss is nan in batch 4 of 6; lower lr") == 2


def test_a_killed_process_ends_the_run_with_a_message(launched: Launched):
    assert launched.code != 0
    assert "SIGKILL" in launched.err and "[rank0]:" not in launched.err, "no traceback but the launcher's"


def command_line(folder: Path, out: str, *more: str) -> list[str]:
    faces = ["--data", str(folder / "faces.csv"), "--out", str(folder / out)]
    return ["-m", "ferlib", "train", *faces, "--recipe", "plain_cnn", "--batch-size", "16", *more]


def test_the_command_of_the_guide_launches_two(launched: Launched, free_port: Callable[[], int]):
    launcher = [sys.executable, "-m", "accelerate.commands.launch", *TWO, str(free_port()), *PLAIN]
    code, printed, said = ended([*launcher, *command_line(launched.folder, "typed", "--epochs", "2")], launched.places)
    assert code == 0, said
    assert len(re.findall("finished, in .*, on 2 processes; kept epoch", printed)) == 1
    assert list(launched.history("typed")["images_seen"]) == [96, 192]


def test_a_process_that_loses_the_other_says_so_itself(launched: Launched, free_port: Callable[[], int]):
    """Without a launcher, which would end the first process too, at times before it can speak."""
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    places, history = os.environ | launched.places | place, launched.folder / "halved" / "history.csv"
    pair = [
        subprocess.Popen(
            [sys.executable, *command_line(launched.folder, "halved", "--epochs", "100000")],
            env=places | {"RANK": rank, "LOCAL_RANK": rank}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for rank in ("0", "1")
    ]  # fmt: skip
    try:
        for _ in range(1200):
            if (history.exists() and len(history.read_text().splitlines()) > 1) or pair[0].poll() is not None:
                break
            time.sleep(0.1)
        pair[1].kill()
        said = pair[0].communicate(timeout=60)[1]
    finally:
        for process in pair:
            process.kill()
            process.communicate()
    assert pair[0].returncode == 2, said
    assert "ferlib train: error: a process of this run died (" in said and "; resume=True continues it" in said
    assert "Traceback" not in said
    assert models.load_model(launched.folder / "halved").about["epoch"] >= 1


def test_processes_that_cannot_work_together_are_told_so(launched: Launched, capsys, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert train(launched.folder, "alike", "strangers") == 2
    assert "processes do not know each other; without GPUs set ACCELERATE_USE_CPU=true" in capsys.readouterr().err


def test_faces_may_stay_on_disk(tmp_path: Path):
    """A mapped file, which all processes of a machine share, trains like the array and is never copied whole."""
    images, table = sample.draw(64, seed=4, balance="equal")
    np.resize(images, (20_000, 48, 48)).tofile(tmp_path / "faces.u8")
    mapped = np.memmap(tmp_path / "faces.u8", np.uint8, "r", shape=(20_000, 48, 48))
    table = pd.DataFrame({"label": np.resize(table["label"], 20_000), "split": "Training", "row": range(20_000)})
    recipe, losses, digests = RECIPES["alike"], [], []
    for faces in (data.FaceDataset(mapped, table, "faces"), data.FaceDataset(np.array(mapped), table, "faces")):
        few, model = faces.subset(range(64)), recipe.build()[0]
        tracemalloc.start()
        train = check_run(model, faces, recipe.config, None, None)
        val = check_validation(model, few, train)
        digests.append(Checkpoint(tmp_path / "run", False, model, train, val, None, None).facts["pixels and labels"])
        Run(model, train, val, recipe.config, None)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < mapped.nbytes / 3
        losses.append(
            training.fit(model, few, few, TrainConfig(epochs=1, batch_size=16), progress=False).history["train_loss"][0]
        )
    assert losses[0] == losses[1] and digests[0] == digests[1]


if __name__ == "__main__":
    recipes.RECIPES |= RECIPES
    scenes(Path(sys.argv[1]))
