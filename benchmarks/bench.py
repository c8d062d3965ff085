"""One table of what things cost, each side by side with what it is compared with: `make bench`, about 12 minutes.

    python benchmarks/bench.py --data data/fer2013.csv --out benchmarks/table.md
    python benchmarks/bench.py --only loading growth          # some sections, printed

In a section all lines take turns, round by round, and a ratio is that of two times of one round; shown are the median
and, in brackets, least and most. A lock keeps two benchmarks from running together; other work on the machine it cannot
see, but a load above one half a core is told. Without `--data` drawn faces stand in for FER2013.
"""

import argparse
import dataclasses
import datetime
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from importlib.metadata import version
from pathlib import Path

import augmentation
import cv2
import export as export_ways
import import_time
import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from filelock import FileLock, Timeout
from sklearn import metrics
from torchvision.datasets import ImageFolder
from torchvision.datasets import fer2013 as torchvision_fer2013

from ferlib import data, evaluation, models, recipes
from ferlib.apps import export
from ferlib.emotions import EMOTIONS
from ferlib.training.optim import build_optimizer
from ferlib.utils import write_whole

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = (
    "torch", "torchvision", "timm", "albumentations", "opencv-contrib-python", "numpy", "pandas", "onnxruntime",
)  # fmt: skip
Row = tuple[str, ...]

# In a fresh process: its statements, then the seconds of `timed`; by how many bytes its own memory grew at its peak,
# without files that are mapped, looked at 20 times a second; and the peak of all memory, as it grew and whole.
PROBE = """
import json, re, sys, threading, time
from pathlib import Path
def memory(name):
    return 1024 * int(re.search(name + r":\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
{before}
if Path("/proc/self/clear_refs").exists():
    try: Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    except OSError: pass
over, own = threading.Event(), [memory("RssAnon")]
watch = threading.Thread(target=lambda: [own.append(memory("RssAnon")) for _ in iter(lambda: over.wait(0.05), True)])
watch.start()
start, began = memory("VmRSS"), time.perf_counter()
{timed}
seconds = time.perf_counter() - began
own.append(memory("RssAnon"))
over.set()
print(json.dumps([seconds, max(own) - own[0], memory("VmHWM") - start, memory("VmHWM")]))
"""


def fresh(before: str, timed: str, cache: str | None = None) -> tuple[float, float, float, float]:
    """Of `timed` in a fresh process: seconds, its own peak memory and all of it above `before`'s, the whole peak."""
    environment = os.environ | ({"FERLIB_CACHE": cache} if cache else {})
    command = [sys.executable, "-W", "ignore", "-c", PROBE.format(before=before, timed=timed)]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    seconds, own, grown, peak = json.loads(done.stdout.splitlines()[-1])
    return seconds, own, grown, peak


def turns(calls: Mapping[str, Callable[[], object]], rounds: int, warm: int = 1) -> dict[str, np.ndarray]:
    """Seconds of each call in each round, (rounds,), all called in turn; the first rounds warm up."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds + warm):
        for name, call in calls.items():
            began = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - began)
    return {name: np.array(times[warm:]) for name, times in seconds.items()}


def ratio(above: np.ndarray, below: np.ndarray) -> str:
    """Median, least and most of the rounds' ratios."""
    each = above / below
    return f"{np.median(each):.3g} ({each.min():.3g}-{each.max():.3g})"


def training_csv(dataset: data.FaceDataset, file: Path, n: int) -> None:
    """Write n Training rows, the dataset's again and again, in the challenge's form."""
    file.parent.mkdir(parents=True, exist_ok=True)
    count = min(n, len(dataset))
    pixels = np.array([" ".join(map(str, image.ravel())) for image in dataset.images[:count]], dtype=object)
    for start in range(0, n, 20_000):
        rows = np.arange(start, min(n, start + 20_000)) % count
        part = pd.DataFrame({"emotion": dataset.labels[rows], "pixels": pixels[rows], "Usage": "Training"})
        part.to_csv(file, index=False, mode="a" if start else "w", header=not start)


def loading(dataset: data.FaceDataset, rounds: int) -> Iterator[Row]:
    """Reading a CSV and a tree of pictures, by torchvision and by ferlib, its cache empty and full."""
    torchvision_fer2013.check_integrity = lambda *_, **__: True  # else it refuses the file; this spares it an MD5
    with tempfile.TemporaryDirectory() as scratch:
        csv, tree, caches = Path(scratch) / "fer2013" / "fer2013.csv", Path(scratch) / "tree", iter(range(10**6))
        training_csv(dataset, csv, 28_709)
        for i, (image, label) in enumerate(zip(dataset.images[:2800], dataset.labels, strict=False)):
            path = tree / "train" / EMOTIONS[label] / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), image)

        def load(source: Path, cold: bool) -> None:
            os.environ["FERLIB_CACHE"] = f"{scratch}/cache{next(caches) if cold else '-warm'}"
            data.load(source)

        calls = {
            "csv": lambda: torchvision_fer2013.FER2013(scratch, split="train"),
            "csv, cold": partial(load, csv, True),
            "csv, warm": partial(load, csv, False),
            "tree": lambda: [np.asarray(picture.convert("L")) for picture, _ in ImageFolder(str(tree / "train"))],
            "tree, cold": partial(load, tree, True),
            "tree, warm": partial(load, tree, False),
        }
        was = os.environ.get("FERLIB_CACHE")
        times = turns(calls, rounds)
        os.environ.pop("FERLIB_CACHE")
        os.environ |= {"FERLIB_CACHE": was} if was else {}
    yield "28,709 rows of CSV", "`torchvision.datasets.FER2013`", "empty cache", ratio(times["csv"], times["csv, cold"])
    yield "", "", "from the cache", ratio(times["csv"], times["csv, warm"])
    yield "2,800 PNG in folders", "`ImageFolder`, read once", "empty cache", ratio(times["tree"], times["tree, cold"])
    yield "", "", "from the cache", ratio(times["tree"], times["tree, warm"])


def loaders(dataset: data.FaceDataset, rounds: int) -> Iterator[Row]:
    """Augmented batches a second with 0, 1 and 2 workers."""
    lines = [("gray_resnet18's, torchvision on PIL", "torchvision", 224, 1280), ("the same", "torchvision", 48,
             6400), ("Albumentations `light`", "light", 48, 6400), ("Albumentations `strong`", "strong", 48, 6400),
             ("Albumentations `strong`", "strong", 224, 1280), ("`BatchAugment`", None, 48, 12_800),
             ("`BatchAugment`", None, 224, 2560)]  # fmt: skip
    first = None
    for workers in (0, 1, 2):
        taken: list[list[float]] = [[] for _ in lines]  # seconds an image, by round; the first round warms up
        for _ in range(rounds + 1):
            for times, (_, kind, size, n) in zip(taken, lines, strict=True):
                images = dataset.images[np.arange(n) % len(dataset)]
                times.append(1 / augmentation.rate(kind, images, size, workers))
        each = np.array(taken)[:, 1:]
        first = each[0] if first is None else first
        for (name, _, size, _), times in zip(lines, each, strict=True):
            yield f"{name}, {size} px", f"{workers}", ratio(each[0], times), ratio(first, times)


def steps(_dataset: data.FaceDataset, rounds: int) -> Iterator[Row]:
    """Training steps, from batch to changed weights: images a second against gray_resnet18 in fp32; fp32 by bf16.

    What a recipe freezes is frozen, though its weights start at random here.
    """
    beside = {  # accuracy with as many views as a step has: one
        "gray_resnet18": "(66.88 on both tests, its author's)", "small": "66.45", "long": "68.18", "cpu": "",
        "fast": "", "plain_cnn": "", "gpu": "", "scratch_jitter": "",
    }  # fmt: skip
    calls, batches = {}, {}
    for name in beside:
        recipe = recipes.get_recipe(name)
        size = recipe.model.get("size", 48)
        recipe = dataclasses.replace(recipe, model=dict(recipe.model) | {"weights": None})
        model = recipe.build()[0].to(memory_format=torch.channels_last).train()
        optimizer = build_optimizer(model, recipe.config)
        batches[name] = 16 if size > 48 else 64
        shape = (batches[name], model.input_spec.channels, size, size)
        images = torch.randn(shape).to(memory_format=torch.channels_last)
        labels = torch.randint(7, (batches[name],))

        def step(
            model: torch.nn.Module, optimizer: torch.optim.Optimizer, images: torch.Tensor, labels: torch.Tensor,
            half: bool,
        ) -> None:  # fmt: skip
            with torch.autocast("cpu", torch.bfloat16, enabled=half):
                logits = model(images)
            F.cross_entropy(logits.float(), labels).backward()
            optimizer.step()
            optimizer.zero_grad()

        calls |= {f"{name} {half}": partial(step, model, optimizer, images, labels, half) for half in (False, True)}
    times = turns(calls, rounds)
    slowest = times["gray_resnet18 False"] / batches["gray_resnet18"]
    for name, accuracy in beside.items():
        full, half = (times[f"{name} {half}"] / batches[name] for half in (False, True))
        size = recipes.get_recipe(name).model.get("size", 48)
        yield (
            f"`{name}`, {size} px, {batches[name]} a batch",
            ratio(slowest, full),
            ratio(slowest, half),
            ratio(full, half),
            accuracy,
        )


def evaluating(dataset: data.FaceDataset, rounds: int) -> Iterator[Row]:
    """Figures with intervals from logits, and logits from faces."""
    model = models.load_model("fer2013-small")
    faces = dataset.subset(np.arange(min(2000, len(dataset))))
    found = evaluation.predict(model, faces)
    drawn = np.random.default_rng(0).integers(0, len(faces), (20, len(faces)))
    alone = [faces.subset([i]) for i in range(200)]

    def by_hand() -> None:
        for rows in drawn:
            said, true = found.predicted[rows], found.labels[rows]
            metrics.accuracy_score(true, said)
            metrics.balanced_accuracy_score(true, said)
            metrics.f1_score(true, said, average="macro")

    times = turns(
        {
            "scikit-learn": by_hand,
            "ferlib": lambda: evaluation.summarise(found),
            "compare": lambda: evaluation.compare(found, found),
            "one view": partial(evaluation.predict, model, faces),
            "18 views": partial(evaluation.predict, model, faces, views=evaluation.VIEWS["shift_flip_averaged"]),
            "face by face": lambda: [evaluation.predict(model, one) for one in alone],
        },
        rounds,
    )  # fmt: skip
    yield ("intervals from 2,000 resamples", "scikit-learn's three metrics on each resample (20 timed, times 100)",
           ratio(100 * times["scikit-learn"], times["ferlib"]))  # fmt: skip
    yield "two models compared, 2,000 resamples", "the same, once", ratio(100 * times["scikit-learn"], times["compare"])
    yield ("`predict`, one view, batches of 128", "one call a face (200 timed)",
           ratio(times["face by face"] / 200, times["one view"] / len(faces)))  # fmt: skip
    yield "18 views", "one view", ratio(times["18 views"], times["one view"])


def prediction(dataset: data.FaceDataset, rounds: int) -> Iterator[Row]:
    """Time a face at batch 1, 16 and 256, in PyTorch and ONNX, against PyTorch in fp32 with channels first."""
    faces = export.fitted(dataset.images[:512], 48)
    for name in ("fer2013-small", "fer2013"):
        model = models.load_model(name)
        with tempfile.TemporaryDirectory() as folder:
            runs = export_ways.ways(model, dataset.images[:512], Path(folder), False)
            found = {}
            for size, times in ((1, 100), (16, 10), (256, 1)):  # so often in a row, as one call is soon disturbed

                def several(run: Callable[[np.ndarray], object], size: int = size, times: int = times) -> None:
                    batch = np.resize(faces, (size, *faces.shape[1:]))
                    for _ in range(times):
                        run(batch)

                found[size] = turns({way: partial(several, run) for way, (run, _) in runs.items()}, rounds)
        for way, (_, weight) in runs.items():
            cells = [ratio(each[way], each["PyTorch fp32"]) for each in found.values()]
            yield f"`{name}`, {way}", *cells, f"{weight / 1e6:.2f}"


def importing(_dataset: data.FaceDataset, rounds: int) -> Iterator[Row]:
    """What an import adds to the start of the interpreter, as a multiple of that start."""
    times = turns({name: partial(import_time.milliseconds, code) for name, code in import_time.STATEMENTS.items()},
                  4 * rounds)  # fmt: skip
    for name, each in times.items():
        yield name, ratio(each, times["bare start"])


def memory(_dataset: data.FaceDataset, rounds: int) -> Iterator[Row]:
    """Peak memory of whole processes, in MB."""
    train = "from ferlib import data, recipes, training\nr = recipes.altered(recipes.get_recipe({!r}), epochs=1)"
    build = "m, a, p = r.build()\nd = data.load().subset('Training').subset(range(640))"
    fit = "training.fit(m, d, d.subset(range(64)), r.config, train_transform=a, progress=False)"
    jobs = {
        "`import ferlib`": ("", "import ferlib"),
        "`from ferlib import data`": ("", "from ferlib import data"),
        "`data.load()`, 6,800 drawn faces": ("", "from ferlib import data; data.load()"),
        "training, `fast`, batches of 128": (train.format("fast"), f"{build}\n{fit}"),
        "training, `long`, batches of 128": (train.format("long"), f"{build}\n{fit}"),
        "`predict`, `fer2013`, 2,000 faces": (
            "from ferlib import data, evaluation, models",
            "m = models.load_model('fer2013'); d = data.load().subset('PublicTest')\nevaluation.predict(m, d)",
        ),
    }
    for name, (before, timed) in jobs.items():
        peaks = [fresh(before, timed)[3] / 1e6 for _ in range(max(1, rounds - 1))]
        yield name, f"{np.median(peaks):,.0f}"


GROWTH = {  # what is timed on n images: before, timed
    "load, empty cache": ("from ferlib import data\ndata.load({small!r})", "d = data.load({file!r})"),
    "load, from the cache": ("from ferlib import data\ndata.load({small!r})", "d = data.load({file!r})"),
    "audit": ("from ferlib import data, protocol\ndata.load({file!r})", "protocol.audit({file!r})"),
    "augment, one epoch": (
        "import torch\nfrom ferlib import data, transforms\nd = data.load({file!r})\n"
        "a = transforms.BatchAugment(transforms.InputSpec())",
        "for batch, _ in data.loader(d, 128, shuffle=True): a(batch)",
    ),
    "predict": (
        "from ferlib import data, evaluation, models\nd = data.load({file!r})\n"
        "m = models.load_model('fer2013-small')\n"
        "evaluation.predict(m, d.subset(range(512)))",
        "evaluation.predict(m, d)",
    ),
    "figures with intervals": (
        "import numpy as np\nfrom ferlib import evaluation\nr = np.random.default_rng(0)\n"
        "p = evaluation.Predictions(r.normal(size=({n}, 7)), r.integers(0, 7, {n}))",
        "evaluation.summarise(p); evaluation.ece(p)",
    ),
}

OWN_ARRAY = {"load, empty cache", "load, from the cache", "audit"}  # in whose memory the array is


def growth(dataset: data.FaceDataset, _rounds: int, sizes: tuple[int, ...] = (1000, 10_000, 100_000, 300_000)
           ) -> Iterator[Row]:  # fmt: skip
    """Time and memory from 1,000 to 300,000 images, in fresh processes: microseconds an image, against the last size's.

    And its memory at its peak, the array included, over the raw array's bytes, at the last two sizes; and by how much
    it is above them. The array is counted once, whether a process holds it or its mapped file.
    """
    seconds: dict[str, list[float]] = {name: [] for name in GROWTH}
    peaks: dict[str, list[str]] = {name: [] for name in GROWTH}
    with tempfile.TemporaryDirectory() as scratch:
        small = Path(scratch) / "small.csv"
        training_csv(dataset, small, 100)
        for n in sizes:
            file, cache = Path(scratch) / f"{n}.csv", f"{scratch}/cache{n}"
            training_csv(dataset, file, n)
            for name, (before, timed) in GROWTH.items():
                words = {"file": str(file), "small": str(small), "n": n}
                taken, own, _, _ = fresh(before.format(**words), timed.format(**words), cache)
                seconds[name].append(taken)
                held = own if name in OWN_ARRAY else own + n * 48 * 48
                peaks[name].append(
                    ""
                    if name == "figures with intervals"
                    else f"{held / (n * 48 * 48):.2f} ({(held - n * 48 * 48) / 1e6:+,.0f} MB)"
                )
            file.unlink()
    for name, times in seconds.items():
        per_image = np.divide(times, sizes)
        slope = np.polyfit(np.log(sizes[1:]), np.log(times[1:]), 1)[0]
        yield name, *(f"{each:.2f}" for each in per_image / per_image[-1]), f"{slope:.2f}", *peaks[name][-2:]


SECTIONS: dict[str, tuple[Callable[..., Iterator[Row]], str, str]] = {
    "loading": (loading, "Loading: torchvision's time over ferlib's", "what | against | ferlib | ratio"),
    "loaders": (loaders, "Augmented batches: images a second, as a multiple of the first line's",
                "pipeline | workers | the first line with as many | the first line with none"),
    "steps": (steps, "A training step: images a second, as a multiple of `gray_resnet18`'s in fp32",
              "recipe | fp32 | bf16 | fp32 time / bf16 time | PublicTest %, one view"),
    "evaluating": (evaluating, "Evaluation: time of the other over that of the first, with 18 views over one",
                   "what | against | ratio"),
    "prediction": (prediction, "Prediction: time a face over that of PyTorch in fp32, channels first, by batch size",
                   "model | 1 | 16 | 256 | MB"),
    "importing": (importing, "Importing: time over that of a bare start of Python", "statement | ratio"),
    "memory": (memory, "Peak memory of a whole process", "what | MB"),
    "growth": (growth, "Growth: time an image over that at 300,000; peak memory, with the array, over the raw array",
               "what | 1,000 | 10,000 | 100,000 | 300,000 | exponent from 10,000 on | memory at 100,000 | at 300,000"),
}  # fmt: skip


def heading(source: str, busy: float) -> str:
    """Machine, what else kept it busy, versions and commit."""
    git = partial(subprocess.run, cwd=ROOT, capture_output=True, text=True, check=False)
    commit = git(["git", "rev-parse", "--short", "HEAD"]).stdout.strip() or "unknown"
    changed = git(["git", "status", "--porcelain", "--untracked-files=no"]).stdout.strip()
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    cpu = import_time.machine().split(";")[0]
    commit += " and changes not committed" if changed else ""
    today = datetime.datetime.now(datetime.timezone.utc).date()
    software = f"{platform.system()}, Python {platform.python_version()}; {versions}"
    machine = f"{cpu}, {torch.get_num_threads()} torch threads, load before {busy:.1f}"
    return f"{machine}; {software}.\nCommit {commit}, {today}. Faces: {source}.\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="sample", help="whatever ferlib.data.load takes")
    parser.add_argument("--rounds", type=int, default=5, help="measured rounds, after one that warms up (5)")
    parser.add_argument("--only", nargs="+", choices=list(SECTIONS), default=list(SECTIONS))
    parser.add_argument("--out", type=Path, help="write the table there too")
    args = parser.parse_args()
    if args.rounds < 1:
        parser.error(f"--rounds is {args.rounds}; 1 is the least")
    if args.out and len(args.only) < len(SECTIONS):
        parser.error("--out is for the whole table; with --only, what is printed can be kept")
    warnings.simplefilter("ignore")  # the test splits are missing from the files made here, as ferlib would tell
    lock = FileLock(Path(tempfile.gettempdir()) / "ferlib-bench.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        sys.exit("another benchmark is running on this machine; two at once would measure each other")
    with lock:
        busy = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
        if busy > 0.5 * (os.cpu_count() or 1):
            print(f"the load of this machine is {busy:.1f}: something else runs, and the figures will tell of it too")
        try:
            dataset = data.load(args.data).subset("Training")
        except (ValueError, FileNotFoundError) as error:
            sys.exit(str(error))
        source = "drawn" if args.data == "sample" else "FER2013's Training" if len(dataset) == 28_709 else "a copy's"
        text = "# What things cost\n\nMade by `make bench`; read the ratios, not the times.\n\n" + heading(source, busy)
        print(text, flush=True)
        for name in args.only:
            section, title, head = SECTIONS[name]
            began = time.perf_counter()
            columns = head.count("|")
            lines = [f"\n## {title}\n", f"| {head} |", f"|---|{'---|' * columns}"]
            lines += ["| " + " | ".join(row) + " |" for row in section(dataset, args.rounds)]
            print("\n".join(lines), flush=True)
            print(f"({time.perf_counter() - began:.0f} s)", file=sys.stderr, flush=True)
            text += "\n".join(lines) + "\n"
        if args.out:
            print(f"wrote {write_whole(args.out, lambda scratch: scratch.write_text(text, encoding='utf-8'))}")


if __name__ == "__main__":
    main()
