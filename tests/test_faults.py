"""What goes wrong outside of us: processes killed, disks full, folders closed, caches spoilt, numbers lost, Ctrl-C.

FERLIB_TORTURE=N takes N random moments of each in place of two or three. Processes to be killed are forked from a
server that has imported everything, so that a moment costs no start.
"""

import contextlib
import dataclasses
import errno
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import warm
from accelerate import Accelerator
from on_disk import write_csv

from ferlib import data, models, protocol, sample
from ferlib.data import FaceDataset, load, loader, loading
from ferlib.models import files
from ferlib.training import FitResult, TrainConfig, fit, state
from ferlib.training.loop import validate
from ferlib.training.run import HISTORY, Run
from ferlib.transforms import BatchAugment, EvalTransform, InputSpec

pytestmark = pytest.mark.filterwarnings("ignore:.*of FER2013's")
posix = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals and limits")
LONG = int(os.environ.get("FERLIB_TORTURE", "0"))
EPOCHS, STEPS = 3, 105 // 16
CONFIG = TrainConfig(epochs=EPOCHS, batch_size=16, precision="fp32", lr=0.01, ema=0.9, mixup=0.4, keep="best")
PATIENCE = 120.0  # seconds that nothing here may take, however busy the machine is


def tiny_faces() -> FaceDataset:
    images, table = sample.draw(140, seed=5, balance="equal")
    table = pd.DataFrame(
        {"label": table["label"], "split": ["Training"] * 105 + ["PublicTest"] * 35, "row": range(140)}
    )
    return FaceDataset(images, table, "tiny")


@pytest.fixture(scope="module")
def faces() -> FaceDataset:
    return tiny_faces()


def run(faces: FaceDataset, out: Path | None, config: TrainConfig = CONFIG, **more: Any) -> FitResult:
    torch.manual_seed(config.seed)
    model = models.build_model("fernet", widths=(8, 8, 8, 8), depths=(1, 1, 1))
    augment = BatchAugment(InputSpec(), erase=0.3)
    train, val = faces.subset("Training"), faces.subset("PublicTest").with_transform(None)
    return fit(
        model, train, val, config, train_transform=augment, out=out, resume=out is not None, progress=False, **more
    )


def left_in(out: Path) -> dict[str, Any]:
    """All that a run leaves, but for its times; each file is whole. A kill may leave a `.part` beside them."""
    names = {path.name for path in out.iterdir() if path.suffix != ".part"}
    assert names == {"model.safetensors", "history.csv", "state.pt"}
    kept = torch.load(out / "state.pt", weights_only=True)
    history = pd.DataFrame(kept.pop("history")).drop(columns="seconds")
    written = pd.read_csv(out / "history.csv").drop(columns="seconds")
    pd.testing.assert_frame_equal(written, history, check_exact=False)
    return {"history": history, "model": (out / "model.safetensors").read_bytes(), "state": kept}


def assert_same(mine: dict[str, Any], theirs: dict[str, Any]) -> None:
    """Bit for bit."""
    pd.testing.assert_frame_equal(mine["history"], theirs["history"], check_exact=True)
    assert mine["model"] == theirs["model"]
    assert same(mine["state"], theirs["state"])


def same(mine: Any, theirs: Any) -> bool:
    if isinstance(mine, torch.Tensor):
        return torch.equal(mine, theirs)
    if isinstance(mine, dict):
        return mine.keys() == theirs.keys() and all(same(mine[key], theirs[key]) for key in mine)
    if isinstance(mine, list | tuple):
        return len(mine) == len(theirs) and all(map(same, mine, theirs))
    return mine == theirs


# ---- processes that are killed ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server() -> Iterator[Any]:
    """Starts processes that are forked where everything is imported and no thread has run."""
    if sys.platform == "win32":
        pytest.skip("Windows cannot fork")
    context = multiprocessing.get_context("forkserver")  # pytest's process has one such server, for kernels, too

    def start(target: Callable[..., None], *args: object) -> Any:
        process = context.Process(target=target, args=args, daemon=True)
        process.start()
        return process

    with warm.kernels():
        yield start


def finish(process: Any) -> None:
    process.join(PATIENCE)
    assert process.exitcode == 0, f"it ended with {process.exitcode}"


def train_in(out: Path, begun: Path | None = None) -> None:
    torch.set_num_threads(1)
    faces = tiny_faces()
    if begun is not None:
        begun.touch()
    run(faces, out)


def train_until(out: Path, name: str, nth: int, moment: str) -> None:
    """Train, and die as a file is written for the n-th time: before it, half way, or before or after its move."""
    real, times = state.write_whole, 0

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def write_whole(path: Path, write: Callable[[Path], object]) -> Path:
        nonlocal times
        times += path.name == name
        if path.name != name or times < nth:
            return real(path, write)
        if moment == "before":
            die()
        scratch = path.with_name(f"{path.name}.{os.getpid()}.part")
        write(scratch)
        if moment == "half way":
            os.truncate(scratch, scratch.stat().st_size // 2)
        elif moment == "moved":
            scratch.replace(path)
        die()
        return path

    state.write_whole = files.write_whole = write_whole  # in this process, which ends by it
    train_in(out)


@pytest.fixture(scope="module")
def whole(server: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What an uninterrupted run leaves, and how long it took from its first step on."""
    out, begun = tmp_path_factory.mktemp("whole") / "run", tmp_path_factory.mktemp("begun") / "begun"
    process = server(train_in, out, begun)
    await_file(begun)
    start = time.perf_counter()
    finish(process)
    return left_in(out) | {"seconds": time.perf_counter() - start}


def await_file(path: Path) -> None:
    end = time.monotonic() + PATIENCE
    while not path.exists():
        assert time.monotonic() < end, f"{path.name} never came"
        time.sleep(0.002)


@posix
def test_killed_at_random_moments_and_resumed_a_run_is_the_uninterrupted_one(server: Any, whole: dict, tmp_path: Path):
    seed, kills, runs = random.randrange(10**9), 0, 0
    print(f"seed {seed}")  # shown where it fails
    chance = random.Random(seed)
    while kills < (LONG or 2):
        runs, out = runs + 1, tmp_path / f"run{runs}"
        while kills < (LONG or 2):
            begun = tmp_path / f"begun{runs}-{kills}"
            process = server(train_in, out, begun)
            await_file(begun)
            process.join(chance.uniform(0, 0.8 * whole["seconds"]))
            if process.exitcode == 0:
                break  # it was faster: begin another
            process.kill()
            process.join()
            if process.exitcode == 0:
                break  # so it was, by a hair
            assert process.exitcode == -signal.SIGKILL
            kills += 1
        finish(server(train_in, out))
        assert_same(left_in(out), whole)


MOMENTS = [
    (name, nth, moment)
    for name in ("model.safetensors", "history.csv", "state.pt")
    for nth in range(
        1, 3 if name == "model.safetensors" else EPOCHS + 2
    )  # the best epochs', the second the last of them
    for moment in ("before", "half way", "written", "moved")
]


@posix
@pytest.mark.parametrize(
    ("name", "nth", "moment"), MOMENTS if LONG else [("model.safetensors", 1, "moved"), ("state.pt", 3, "half way")]
)
def test_killed_while_it_writes_a_run_is_the_uninterrupted_one(server, whole, tmp_path, name, nth, moment):
    """Right after the first model there was once no state to go on from."""
    process = server(train_until, tmp_path / "run", name, nth, moment)
    process.join(PATIENCE)
    assert process.exitcode == -signal.SIGKILL
    finish(server(train_in, tmp_path / "run"))
    assert_same(left_in(tmp_path / "run"), whole)


# ---- disks that are full, folders that are closed --------------------------------------------------------------------


@contextlib.contextmanager
def no_file_above(size: int) -> Iterator[None]:
    """The kernel refuses to write on, as it does on a full disk, once a file has that many bytes."""
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def interrupt() -> None:
    raise KeyboardInterrupt


def at_step(patch: pytest.MonkeyPatch, step: int, happens: Callable[[], object]) -> None:
    """Let something happen right after a step of the run, counted from 1."""
    real = Run.after_step

    def after_step(self) -> None:
        real(self)
        if self.step == step:
            happens()

    patch.setattr(Run, "after_step", after_step)


@posix
def test_a_full_disk_spoils_no_file_of_a_run_which_goes_on_later(faces: FaceDataset, tmp_path: Path):
    run(faces, tmp_path / "whole")
    whole = left_in(tmp_path / "whole")
    sizes = {path.name: path.stat().st_size for path in (tmp_path / "whole").iterdir()}
    chance = random.Random(0)
    points = [1, sizes["model.safetensors"] + 1, *(chance.randrange(sizes["state.pt"]) for _ in range(LONG))]
    for number, point in enumerate(points):
        out = tmp_path / str(number)
        with pytest.MonkeyPatch.context() as patch:
            at_step(patch, STEPS + 2, interrupt)
            run(faces, out)
        said = r"cannot write into .*\d after epoch 1 \(File too large\); make room, then continue with resume=True"
        with no_file_above(point), pytest.raises(OSError, match=said):
            run(faces, out)
        assert {path.name for path in out.iterdir()} == set(sizes)
        assert models.load_model(out).about["epoch"] in (1, 2)
        assert len(torch.load(out / "state.pt", weights_only=True)["history"]) == 1
        run(faces, out)
        assert_same(left_in(out), whole)


def test_a_closed_folder_is_named_before_any_work(faces: FaceDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "file").touch()
    monkeypatch.setattr("ferlib.training.run.train_one_epoch", lambda *_, **__: pytest.fail("it has begun"))
    said = r"cannot write into .* \(.*\); give another out \(`--out`\)"
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(ValueError, match=said):
            run(faces, out)
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    if os.access(closed, os.W_OK):  # as root, or on Windows
        refused = OSError(errno.EROFS, "Read-only file system")
        monkeypatch.setattr(tempfile, "TemporaryFile", lambda **_: throw(refused))
    with pytest.raises(ValueError, match=said):
        run(faces, closed)


def throw(error: Exception) -> None:
    raise error


# ---- caches ----------------------------------------------------------------------------------------------------------

SPLITS = ["Training"] * 14 + ["PublicTest"] * 7 + ["PrivateTest"] * 7
LABELS = [i % 7 for i in range(28)]


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return sample.draw(28, seed=1)[0]


@pytest.fixture
def csv(tmp_path: Path, images: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A source, with a cache of its own."""
    monkeypatch.setenv("FERLIB_CACHE", str(tmp_path / "cache"))
    return write_csv(tmp_path / "faces.csv", images, LABELS, SPLITS)


def cached() -> list[Path]:
    """The cache's two files, the open part and the sealed one."""
    return sorted(data.cache_folder().iterdir())


def check(dataset: FaceDataset, images: np.ndarray) -> None:
    np.testing.assert_array_equal(dataset.images, images[:21])
    assert dataset.labels.tolist() == LABELS[:21] and dataset.table["split"].tolist() == SPLITS[:21]


@posix
@pytest.mark.parametrize("room", [0, 3000, 40_000])
def test_a_full_disk_leaves_no_half_file_in_the_cache(csv: Path, images: np.ndarray, room: int):
    with no_file_above(room), pytest.warns(UserWarning, match="the cache cannot be written .*File too large"):
        check(load(csv), images)
    assert all(path.name.endswith("-sealed.npz") for path in cached()), "that part is small"
    check(load(csv), images)
    assert len(cached()) == 2


def test_a_closed_cache_is_read_and_never_written(csv: Path, images: np.ndarray, monkeypatch: pytest.MonkeyPatch):
    load(csv)
    monkeypatch.setattr(loading, "write_whole", lambda *_: throw(OSError(errno.EROFS, "Read-only file system")))
    check(load(csv), images)


@pytest.mark.parametrize("part", ["open", "sealed"])
def test_a_truncated_cache_is_said_and_made_anew(csv: Path, images: np.ndarray, part: str, monkeypatch):
    monkeypatch.chdir(csv.parent)  # where the ledger is written
    load(csv)
    (file,) = [path for path in cached() if path.name.endswith(f"-{part}.npz")]
    content, chance = file.read_bytes(), random.Random(0)
    for length in [0, len(content) - 1, *(chance.randrange(len(content)) for _ in range(LONG or 4))]:
        file.write_bytes(content[:length])
        with warnings.catch_warnings(record=True) as notes:
            warnings.simplefilter("always")
            if part == "sealed":
                np.testing.assert_array_equal(protocol.open_sealed(csv, "a test", "a" * 64).images, images[21:])
            else:
                check(load(csv), images)
        assert any("is damaged" in str(note.message) for note in notes), f"{length} of {len(content)} bytes"
        assert len(cached()) == 2 and file.stat().st_size == len(content)


@pytest.mark.parametrize("name", ["__version__", "FORMAT"])
def test_an_outdated_cache_is_not_read(csv: Path, images: np.ndarray, monkeypatch: pytest.MonkeyPatch, name: str):
    load(csv)
    old = cached()
    for file in old:
        file.write_bytes(b"of an older ferlib")
    monkeypatch.setattr(loading, name, "next")
    check(load(csv), images)
    assert len(cached()) == 4 and set(old) < set(cached())


def fill(csv: Path, cache: Path, images: np.ndarray, gate: Any, delay: float) -> None:
    """Load a source from a cache as soon as the others are there, too."""
    os.environ["FERLIB_CACHE"] = str(cache)
    warnings.simplefilter("ignore")
    gate.wait(PATIENCE)
    time.sleep(delay)
    check(load(csv), images)


@posix
def test_processes_that_fill_or_mend_one_cache_at_once_all_get_the_faces(server: Any, csv: Path, images: np.ndarray):
    chance = random.Random(0)
    for number in range(LONG or 2):
        cache, gate = csv.parent / f"cache{number}", multiprocessing.get_context("forkserver").Barrier(3)
        if number % 2:
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("FERLIB_CACHE", str(cache))
                load(csv)
                cached()[0].write_bytes(b"spoilt")
        processes = [server(fill, csv, cache, images, gate, chance.uniform(0, 0.003)) for _ in range(3)]
        for process in processes:
            finish(process)
        assert [path.name.rpartition("-")[2] for path in sorted(cache.iterdir())] == ["open.npz", "sealed.npz"]


def fill_and_die(csv: Path, cache: Path) -> None:
    os.environ["FERLIB_CACHE"] = str(cache)
    warnings.simplefilter("ignore")
    real = loading._write_part

    def write_and_die(faces: FaceDataset, path: Path) -> None:
        real(faces, path)
        os.kill(os.getpid(), signal.SIGKILL)

    loading._write_part = write_and_die  # in this process, which ends by it
    load(csv)


@posix
def test_what_a_killed_process_left_in_the_cache_is_not_read(server: Any, csv: Path, images: np.ndarray):
    process = server(fill_and_die, csv, data.cache_folder())
    process.join(PATIENCE)
    assert process.exitcode == -signal.SIGKILL
    (left,) = cached()
    assert left.name.endswith(".part")
    check(load(csv), images)
    assert len(cached()) == 3


# ---- numbers, workers, interrupts ------------------------------------------------------------------------------------


def one_epoch_is_kept(out: Path, model: torch.nn.Module | None = None) -> None:
    """The folder holds the first epoch, whole and finite, and so does the model in memory."""
    assert left_in(out)["history"]["epoch"].tolist() == [1]
    kept = models.load_model(out)
    assert kept.about["epoch"] == 1 and all(value.isfinite().all() for value in kept.state_dict().values())
    assert model is None or models.model_hash(model) == models.model_hash(kept)


@pytest.mark.parametrize(
    ("step", "said"),
    [
        (STEPS + 2, "epoch 2: the loss is nan in batch 3 of 6"),
        (2 * STEPS, "epoch 2: the validation loss is nan after batch 6 of 6"),
    ],
)
def test_lost_numbers_stop_a_run_at_their_batch_and_spoil_no_checkpoint(
    faces, tmp_path, monkeypatch, step: int, said: str
):
    """Weights that a step has made NaN: the next batch's loss shows it, or, after the last one, validation's."""
    built: list[torch.nn.Module] = []
    steps: list[int] = []
    real = Run.after_step

    def after_step(self) -> None:
        built.append(self.network)
        steps.append(self.step + 1)
        if self.step + 1 == step:
            with torch.no_grad():
                next(self.network.parameters()).fill_(float("nan"))
        real(self)

    monkeypatch.setattr(Run, "after_step", after_step)
    with pytest.raises(FloatingPointError, match=rf"{said}; lower lr \(0.01\) or set clip_norm"):
        run(faces, tmp_path / "out")
    assert steps[-1] == min(step + 1, 2 * STEPS), "it stopped there and then"
    one_epoch_is_kept(tmp_path / "out", built[-1])


class Deadly:
    """A face as it is, from a worker that is killed as soon as a file is there."""

    def __init__(self, flag: Path):
        self.flag = flag

    def __call__(self, image: np.ndarray) -> torch.Tensor:
        if self.flag.exists():
            os.kill(os.getpid(), signal.SIGKILL)
        return torch.from_numpy(image.copy())[None]


@posix
def test_a_loaders_worker_that_dies_ends_the_run_which_can_go_on(faces: FaceDataset, tmp_path: Path):
    deadly = dataclasses.replace(faces, transform=Deadly(tmp_path / "flag"))
    config = dataclasses.replace(CONFIG, workers=2)
    run(deadly, tmp_path / "whole", config)
    with pytest.MonkeyPatch.context() as patch:
        at_step(patch, STEPS, (tmp_path / "flag").touch)
        said = r"a process of this run died \(DataLoader worker.*resume=True continues it"
        with pytest.raises(ChildProcessError, match=said):
            run(deadly, tmp_path / "out", config)
    one_epoch_is_kept(tmp_path / "out")
    (tmp_path / "flag").unlink()
    run(deadly, tmp_path / "out", config)
    assert_same(left_in(tmp_path / "out"), left_in(tmp_path / "whole"))


def test_a_lost_process_is_told_in_a_sentence(faces: FaceDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    gloo = RuntimeError("[../third_party/gloo/gloo/transport/tcp/pair.cc:545] Connection reset by peer")
    for error in (gloo, torch.distributed.DistBackendError("NCCL error")):
        monkeypatch.setattr("ferlib.training.run.validate", lambda *_, error=error, **__: throw(error))
        with pytest.raises(ChildProcessError, match=r"a process of this run died \(.*\); resume=True continues it"):
            run(faces, tmp_path / "out")
    monkeypatch.setattr("ferlib.training.run.validate", lambda *_, **__: throw(RuntimeError("something else")))
    with pytest.raises(RuntimeError, match="something else"):
        run(faces, tmp_path / "out")


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """Ctrl-C interrupts, as in a terminal: what a shell starts in the background ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@posix
def test_after_ctrl_c_model_and_history_so_far_are_of_use(faces: FaceDataset, ctrl_c: None):
    config, chance, at_once = dataclasses.replace(CONFIG, epochs=1000), random.Random(), STEPS * 5
    with pytest.MonkeyPatch.context() as patch:
        at_step(patch, at_once, interrupt)
        first = run(faces, None, config).history.drop(columns="seconds")
    with pytest.MonkeyPatch.context() as patch:
        at_step(patch, 1, interrupt)
        none = run(faces, None, config)
    assert none.stopped == "interrupted" and none.history.empty and list(none.history) == list(HISTORY)
    for _ in range(LONG or 3):
        delay = chance.uniform(0, 0.3)
        with pytest.MonkeyPatch.context() as patch:
            timer = threading.Timer(delay, os.kill, (os.getpid(), signal.SIGINT))
            at_step(patch, chance.randint(1, 2 * STEPS), timer.start)
            result = run(faces, None, config)
        history = result.history.drop(columns="seconds")
        assert result.stopped == "interrupted" and len(history) < 1000
        shared = min(len(history), len(first))
        pd.testing.assert_frame_equal(history[:shared], first[:shared], check_exact=True, check_dtype=False)
        batches = Accelerator().prepare(loader(faces.subset("PublicTest"), 256))
        loss, accuracy = validate(result.model, batches, EvalTransform(InputSpec()), Accelerator())
        assert np.isfinite(loss)
        if len(history):
            row = history.iloc[result.best_epoch - 1]
            assert (loss, accuracy) == (pytest.approx(row["val_loss"], rel=1e-5), row["val_accuracy"]), (
                f"after {delay} s"
            )


TERMINAL = """
import multiprocessing, sys
import torch
def whole(image):
    return torch.from_numpy(image.copy())[None]
if __name__ == "__main__":
    from ferlib import data, models, sample, training
    from ferlib.training import TrainConfig
    multiprocessing.set_start_method(sys.argv[2])
    images, table = sample.draw(140, seed=5, balance="equal")
    faces = data.FaceDataset(images, table.assign(row=range(140)), "tiny", transform=whole)
    model = models.build_model("fernet", widths=(8, 8, 8, 8), depths=(1, 1, 1))
    config = TrainConfig(epochs=100_000, batch_size=16, precision="fp32", workers=int(sys.argv[3]))
    result = training.fit(model, faces, faces.with_transform(None), config, out=sys.argv[1])
    print(result.stopped, len(result.history) > 0)
"""


@posix
@pytest.mark.parametrize(("method", "workers"), [("fork", "2"), ("spawn", "1")])
def test_ctrl_c_reaches_the_workers_too_and_still_interrupts(tmp_path: Path, ctrl_c: None, method: str, workers: str):
    """As in a terminal or a notebook, where all processes of the run get the signal at once."""
    (tmp_path / "run.py").write_text(TERMINAL)
    for number in range(LONG or 1):
        out = tmp_path / f"out{number}"
        process = subprocess.Popen(
            [sys.executable, str(tmp_path / "run.py"), str(out), method, workers],
            start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            for _ in range(10 * int(PATIENCE)):
                begun = (out / "history.csv").exists() and len((out / "history.csv").read_text().splitlines()) > 1
                if begun or process.poll() is not None:
                    break
                time.sleep(0.1)
            time.sleep(random.uniform(0, 0.3))
            os.killpg(process.pid, signal.SIGINT)
            printed, said = process.communicate(timeout=PATIENCE)
        finally:
            process.kill()
        assert printed.strip() == "interrupted True", said


def test_ctrl_c_that_comes_while_workers_begin_ends_the_run_after_its_step(faces: FaceDataset, ctrl_c: None):
    """Python loses the exception there, and a worker may die of the signal."""
    handlers, config = [], dataclasses.replace(CONFIG, epochs=1000)
    with pytest.MonkeyPatch.context() as patch:

        def lose(*_: object, **__: object) -> None:
            handlers.append(signal.getsignal(signal.SIGINT))
            with contextlib.suppress(KeyboardInterrupt):
                os.kill(os.getpid(), signal.SIGINT)
            raise RuntimeError("DataLoader worker (pid(s) 1) exited unexpectedly")

        patch.setattr("ferlib.training.run.validate", lose)
        result = run(faces, None, config)
    assert result.stopped == "interrupted" and len(handlers) == 1
    with pytest.MonkeyPatch.context() as patch:
        at_step(patch, 2 * STEPS + 1, lambda: os.kill(os.getpid(), signal.SIGINT))
        result = run(faces, None, config)
    assert result.stopped == "interrupted" and len(result.history) == 2
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler, "as it was"
    stopped = []
    thread = threading.Thread(
        target=lambda: stopped.append(run(faces, None, dataclasses.replace(CONFIG, epochs=1)).stopped)
    )
    thread.start()
    thread.join()
    assert stopped == ["finished"], "in a thread signals cannot be set"


NOTEBOOK = """
import pandas as pd
from ferlib import data, models, plots, sample, training
from ferlib.training import TrainConfig
images, table = sample.draw(140, seed=5, balance="equal")
faces = data.FaceDataset(images, table.assign(row=range(140)), "tiny")
model = models.build_model("fernet", widths=(8, 8, 8, 8), depths=(1, 1, 1))
result = training.fit(model, faces, faces, TrainConfig(epochs=100_000, batch_size=16, precision="fp32"))
"""


@posix
@pytest.mark.skipif(not LONG, reason="a long one: make torture")
def test_a_notebooks_stop_button_leaves_its_result():
    from jupyter_client.manager import start_new_kernel

    manager, client = start_new_kernel()
    try:
        client.execute(NOTEBOOK)
        while "epoch/s" not in str(client.get_iopub_msg(timeout=PATIENCE)["content"]):
            pass
        time.sleep(2)
        manager.interrupt_kernel()
        told: list[str] = []
        done = client.execute_interactive(
            "print(result.stopped, len(result.history) > 0, plots.plot_history(result.history).get_title() != '', "
            "int(model.training))",
            timeout=PATIENCE, output_hook=lambda message: told.append(message["content"].get("text", "")),
        )  # fmt: skip
        assert done["content"]["status"] == "ok", done["content"]
        assert "".join(told).strip() == "interrupted True True 0"
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
