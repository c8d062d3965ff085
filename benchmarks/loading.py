"""FER2013's CSV into memory: `ferlib.data.load` against `torchvision.datasets.FER2013`.

python benchmarks/loading.py --data fer2013.csv --rounds 3     (about a minute a round)

Both read the same file, which holds the Training rows alone, and must hand out the same images and labels. torchvision,
then ferlib with an empty cache, take turns in this process. Loads from the warm cache, and peak memory, are measured in
fresh processes: the seconds of `load` alone, without the imports. The operating system has the files in its cache
throughout. Without --data, "fer2013" is looked up as `load` does it; if it is not there, drawn faces take its place.
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

# Run in a fresh process on a file, after a small one to warm up with: seconds, and the bytes by which the peak lies
# above what was in use before. VmHWM, because `resource`'s ru_maxrss starts at the size of the process that forked.
PROBE = """
import re, sys, time
from pathlib import Path
from ferlib import data
def memory(name):
    status = Path("/proc/self/status")  # Linux
    return 1024 * int(re.search(name + r":\\s+(\\d+)", status.read_text())[1]) if status.exists() else float("nan")
data.load(sys.argv[2])
before, start = memory("VmRSS"), time.perf_counter()
kept = data.load(sys.argv[1])
print(time.perf_counter() - start, memory("VmHWM") - before)
"""


def probe(file: Path, small: Path, cache: str) -> tuple[float, float]:
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", PROBE, str(file), str(small)], check=True, text=True,
                          stdout=subprocess.PIPE, env=os.environ | {"FERLIB_CACHE": cache})  # fmt: skip
    seconds, growth = map(float, done.stdout.split())
    return seconds, growth


def training_rows(source: str) -> tuple[pd.DataFrame, str]:
    """The Training rows of a CSV as they are, or 2,800 drawn faces again and again; and a sentence saying which."""
    try:
        rows = pd.read_csv(data.find(source), skipinitialspace=True)[["emotion", "pixels", "Usage"]]
        rows = rows[rows["Usage"] == "Training"]
        return rows, f"{len(rows):,} Training rows of {source if source == 'fer2013' else Path(source).name}"
    except FileNotFoundError:
        if source != "fer2013":
            raise
    images, table = sample.draw(2800)
    rows = pd.DataFrame({"emotion": table["label"], "Usage": "Training"})
    rows["pixels"] = [" ".join(map(str, image.ravel())) for image in images]
    return rows.iloc[np.arange(28_709) % 2800], "FER2013 was not found: 2,800 drawn faces, tiled to 28,709 rows"


def row(what: str, values: list[float], target: str = "", met: bool = True) -> None:
    verdict = f"{target}: {'met' if met else 'MISSED'}" if target else ""
    print(f"| {what} | {statistics.median(values):.3g} | {min(values):.3g}–{max(values):.3g} | {verdict} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="fer2013", help="the challenge's CSV, also .gz or .xz")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    warnings.simplefilter("ignore")  # ferlib warns that the test splits are missing from the file
    torchvision_fer2013.check_integrity = lambda *_, **__: True  # else it refuses the file; this spares it an MD5
    theirs, ours, warm, peak, warm_peak = [], [], [], [], []
    with tempfile.TemporaryDirectory() as scratch:
        rows, origin = training_rows(args.data)
        file, small = (Path(scratch) / name / "fer2013" / "fer2013.csv" for name in ("whole", "small"))
        for path, part in ((file, rows), (small, rows[:100])):
            path.parent.mkdir(parents=True)
            part.to_csv(path, index=False)
        raw = len(rows) * 48 * 48
        for turn in range(args.rounds):
            start = time.perf_counter()
            samples = torchvision_fer2013.FER2013(file.parent.parent, split="train")
            theirs.append(time.perf_counter() - start)
            os.environ["FERLIB_CACHE"] = f"{scratch}/cache{turn}"
            start = time.perf_counter()
            faces = data.load(file)
            ours.append(time.perf_counter() - start)
            assert np.array_equal(faces.images, np.stack([np.asarray(image) for image, _ in samples])), "other pixels"
            assert faces.labels.tolist() == [label for _, label in samples], "other labels"
            del samples, faces
            peak.append(probe(file, small, f"{scratch}/another{turn}")[1] / raw)
            seconds, growth = probe(file, small, f"{scratch}/cache{turn}")
            warm.append(seconds)
            warm_peak.append(growth / raw)
    cpuinfo = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    cpu = next((line.split(": ")[1] for line in cpuinfo.splitlines() if "model name" in line), platform.machine())
    packages = ("torch", "torchvision", "numpy", "albumentations", "opencv-contrib-python")
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    print(f"{cpu}, {os.cpu_count()} cores; Python {platform.python_version()}, {versions}")
    print(f"{origin}; {args.rounds} rounds; all images and labels were equal\n")
    print("| Loading | median | min–max | target |\n|---|---:|---:|---|")
    ratios = [a / b for a, b in zip(theirs, ours, strict=True)]
    speed, hot, most = (statistics.median(values) for values in (ratios, warm, peak))
    row("torchvision.datasets.FER2013, s", theirs)
    row("ferlib, empty cache, s", ours)
    row("torchvision / ferlib, round by round", ratios, "at least 5x, aim 10x", speed >= 5)
    row("ferlib, warm cache, fresh process, s", warm, "under 0.5 s", hot < 0.5)
    row("peak memory growth / raw pixels, empty cache", peak, "at most 1.3x", most <= 1.3)
    row("peak memory growth / raw pixels, warm cache", warm_peak)


if __name__ == "__main__":
    main()
