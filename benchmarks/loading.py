"""FER2013's CSV into memory: `ferlib.data.load` against `torchvision.datasets.FER2013`.

python benchmarks/loading.py --data fer2013.csv --rounds 3     (about a minute a round)

Both read a file of the Training rows alone and must hand out the same images and labels. They take turns here, ferlib
with an empty cache; its warm cache and its peak memory are measured in fresh processes, without the imports. The files
are in the operating system's cache. If FER2013 is not found, drawn faces stand in.
"""

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
from torchvision.datasets import fer2013 as torchvision_fer2013

from ferlib import data, sample

# In a fresh process, after a small file to warm up with: seconds, and by how much the peak lies above what was in use
# before, over the size of the images. VmHWM, because `resource`'s ru_maxrss starts at the size of the parent process.
PROBE = """
import re, sys, time
from pathlib import Path
from ferlib import data
def memory(name):
    status = Path("/proc/self/status")
    return 1024 * int(re.search(name + r":\\s+(\\d+)", status.read_text())[1]) if status.exists() else float("nan")
data.load(sys.argv[2])
before, start = memory("VmRSS"), time.perf_counter()
kept = data.load(sys.argv[1])
print(time.perf_counter() - start, (memory("VmHWM") - before) / kept.images.nbytes)
"""


def probe(file: Path, small: Path, cache: str) -> list[float]:
    command = [sys.executable, "-W", "ignore", "-c", PROBE, str(file), str(small)]
    return [float(word) for word in subprocess.check_output(command, env=os.environ | {"FERLIB_CACHE": cache}).split()]


def training_rows(source: str) -> tuple[pd.DataFrame, str]:
    """The Training rows of a CSV as they are, or 2,800 drawn faces again and again; and a sentence saying which."""
    try:
        rows = pd.read_csv(data.find(source), skipinitialspace=True).query("Usage == 'Training'")
        return rows[["emotion", "pixels", "Usage"]], f"{len(rows):,} Training rows of {Path(source).name}"
    except FileNotFoundError:
        if source != "fer2013":
            raise
    images, table = sample.draw(2800)
    pixels = [" ".join(map(str, image.ravel())) for image in images]
    rows = pd.DataFrame({"emotion": table["label"], "pixels": pixels, "Usage": "Training"})
    return rows.iloc[np.arange(28_709) % 2800], "FER2013 was not found: 2,800 drawn faces, tiled to 28,709 rows"


def row(what: str, values: list[float], target: str = "", low: float = 0, high: float = np.inf) -> None:
    met = f": {'met' if low <= statistics.median(values) <= high else 'MISSED'}" if target else ""
    print(f"| {what} | {statistics.median(values):.3g} | {min(values):.3g}–{max(values):.3g} | {target}{met} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="fer2013", help="the challenge's CSV, also .gz or .xz")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    warnings.simplefilter("ignore")  # ferlib warns that the test splits are missing from the file
    torchvision_fer2013.check_integrity = lambda *_, **__: True  # else it refuses the file; this spares it an MD5
    theirs, ours, cold_probes, warm_probes = [], [], [], []
    with tempfile.TemporaryDirectory() as scratch:
        rows, origin = training_rows(args.data)
        file, small = Path(scratch) / "fer2013" / "fer2013.csv", Path(scratch) / "small.csv"
        file.parent.mkdir()
        rows.to_csv(file, index=False)
        rows[:100].to_csv(small, index=False)
        for turn in range(args.rounds):
            start = time.perf_counter()
            samples = torchvision_fer2013.FER2013(scratch, split="train")
            theirs.append(time.perf_counter() - start)
            os.environ["FERLIB_CACHE"] = f"{scratch}/cache{turn}"
            start = time.perf_counter()
            faces = data.load(file)
            ours.append(time.perf_counter() - start)
            assert np.array_equal(faces.images, np.stack([np.asarray(image) for image, _ in samples])), "other pixels"
            assert faces.labels.tolist() == [label for _, label in samples], "other labels"
            del samples, faces
            cold_probes.append(probe(file, small, f"{scratch}/another{turn}"))
            warm_probes.append(probe(file, small, f"{scratch}/cache{turn}"))
    cpuinfo = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    cpu = next((line.split(": ")[1] for line in cpuinfo.splitlines() if "model name" in line), platform.machine())
    packages = "torch", "torchvision", "numpy", "albumentations", "opencv-contrib-python"
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    print(f"{cpu}, {os.cpu_count()} cores; Python {platform.python_version()}, {versions}")
    print(f"{origin}; {args.rounds} rounds, all equal\n\n| Loading | median | min–max | target |\n|---|---:|---:|---|")
    row("torchvision.datasets.FER2013, s", theirs)
    row("ferlib, empty cache, s", ours)
    row("torchvision / ferlib, by round", np.divide(theirs, ours).tolist(), "at least 5, aim 10", low=5)
    row("ferlib, warm cache, fresh process, s", [seconds for seconds, _ in warm_probes], "under 0.5", high=0.5)
    row("peak growth / pixels, empty cache", [share for _, share in cold_probes], "at most 1.3", high=1.3)
    row("peak growth / pixels, warm cache", [share for _, share in warm_probes])


if __name__ == "__main__":
    main()
