"""Faces found in drawn scenes and in real frames, and the speed of a video: what `ferlib.apps.recognizer` is held to.

python benchmarks/recognizer.py --scenes 200 --frames 500 5000                 (on two idle cores)
python benchmarks/recognizer.py --scenes 0 --data data/fer2013.csv --faces 3589 --turns 0 30 -30 45

A face counts as found when a box overlaps its own by half (IoU 0.5); frontal means within 15 degrees of yaw, with
nothing in front of it. Both detectors see the same scenes in turn, so their times compare. With `--data`, faces of
FER2013's PublicTest are enlarged to 200 px, set into drawn backgrounds of 640x480 px, turned, found and named by
`EmotionRecognizer.load("fer2013")`, and compared with the same face given as it is; a face that is not found counts as
wrong. Each video of 640x480 px at 30 frames a second shows one moving face and is predicted in a fresh process,
detection included; its peak memory is VmHWM. Intervals are 95%: Wilson's, and of paired differences the normal one.
"""

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import cv2
import numpy as np
from scipy.stats import binomtest

from ferlib import data
from ferlib.apps.detection import find_detector
from ferlib.apps.recognizer import EmotionRecognizer
from ferlib.sample import scenes

FPS = 30
PROBE = """
import re, sys, time
from pathlib import Path
import torch
from ferlib.models import build_model
from ferlib.apps.recognizer import EmotionRecognizer
video, weights = sys.argv[1:]
recognizer = EmotionRecognizer.load(weights) if weights else EmotionRecognizer(build_model("fernet"))
start = time.perf_counter()
rows = recognizer.predict(video)
seconds, status = time.perf_counter() - start, Path("/proc/self/status")
peak = int(re.search(r"VmHWM:\\s+(\\d+)", status.read_text())[1]) / 1024 if status.exists() else float("nan")
print(rows["frame"].nunique() / seconds, peak, rows["score"].notna().mean())
"""


def overlaps(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union (n, m) of boxes (n, 4) with boxes (m, 4)."""
    low, high = np.maximum(a[:, None, :2], b[None, :, :2]), np.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = (high - low).clip(0).prod(2)
    sizes = [(boxes[:, 2:] - boxes[:, :2]).prod(1) for boxes in (a, b)]
    return shared / (sizes[0][:, None] + sizes[1][None] - shared)


def detection(scene_count: int, seed: int, names: list[str]) -> None:
    """Print what each detector finds in the same scenes, and its time as a share of the first one's."""
    images, truth = scenes.draw(scene_count, seed=seed)
    frontal = ((truth["yaw"].abs() <= 15) & (truth["occlusion"] == "none")).to_numpy()
    found = {name: np.zeros(len(truth), bool) for name in names}
    false, seconds = dict.fromkeys(names, 0), dict.fromkeys(names, 0.0)
    detectors = {name: find_detector(name) for name in names}
    for detector in detectors.values():
        detector.detect(images[0])  # the first call loads more than it searches
    for scene, image in enumerate(images):
        here = np.flatnonzero(truth["scene"] == scene)
        for name, detector in detectors.items():
            start = time.perf_counter()
            boxes = detector.detect(image)
            seconds[name] += time.perf_counter() - start
            shared = overlaps(truth.loc[here, scenes.BOX].to_numpy(), boxes[:, :4])
            found[name][here] = (shared >= 0.5).any(1)
            false[name] += int((shared < 0.5).all(0).sum())
    print(f"\n| {scene_count} drawn scenes | {' | '.join(names)} |\n|---|{'---|' * len(names)}")
    for what, mask in (("frontal faces", frontal), ("turned or covered faces", ~frontal)):
        cells = []
        for name in names:
            hits, n = int(found[name][mask].sum()), int(mask.sum())
            low, high = binomtest(hits, n).proportion_ci(method="wilson")
            cells.append(f"{hits / n:.1%} [{100 * low:.1f}, {100 * high:.1f}]")
        print(f"| {what}, n={mask.sum()} | {' | '.join(cells)} |")
    print(f"| boxes that are no face, a scene | {' | '.join(f'{false[name] / scene_count:.3f}' for name in names)} |")
    print(f"| time | {' | '.join(f'{seconds[name] / seconds[names[0]]:.3f}' for name in names)} |")


def frames(source: str, count: int, turns: list[float], seed: int) -> None:
    """Print how often a face of PublicTest that is set into a picture is found and named, against the face itself."""
    faces = data.load(source).subset("PublicTest")
    model, side, (wide, high) = EmotionRecognizer.load("fer2013"), 200, (640, 480)
    picked = np.random.default_rng(seed).permutation(len(faces))[:count]
    images, labels = np.stack([np.asarray(faces.images[i]).squeeze() for i in picked]), faces.labels[picked]
    itself = model.probabilities(images).argmax(1) == labels
    print(f"\n| {len(picked)} PublicTest faces, turned by | found | named right | less than the face itself, points |")
    print("|---|---|---|---|")
    print(f"| the face itself | | {itself.mean():.1%} | |")
    for turn in turns:
        rng, found, right = np.random.default_rng(seed), np.zeros(len(picked), bool), np.zeros(len(picked), bool)
        for i, face in enumerate(images):
            canvas = scenes._background(rng, wide, high).clip(0, 255).astype(np.uint8)
            place = rng.uniform(0.75 * side, [wide - 0.75 * side, high - 0.75 * side])
            large = cv2.resize(face, (side, side), interpolation=cv2.INTER_CUBIC)
            turned = cv2.getRotationMatrix2D((side / 2, side / 2), turn, 1)
            turned[:, 2] += place - side / 2
            inside = cv2.warpAffine(np.full((side, side), 255, np.uint8), turned, (wide, high)) > 127
            canvas[inside] = cv2.warpAffine(large, turned, (wide, high), borderMode=cv2.BORDER_REPLICATE)[inside]
            rows = model.predict(canvas, no_face="drop")
            middle = rows[["x0", "y0"]].to_numpy() / 2 + rows[["x1", "y1"]].to_numpy() / 2
            near = rows[np.abs(middle - place).max(1) < 0.35 * side]
            found[i] = len(near) > 0
            right[i] = found[i] and near["emotion"].iloc[0] == faces.classes[labels[i]]
        loss = itself.astype(float) - right
        arm = 1.96 * loss.std() / len(loss) ** 0.5
        print(f"| {turn:g} degrees | {found.mean():.1%} | {right.mean():.1%} ", end="")
        print(
            f"| {100 * loss.mean():.1f} [{100 * (loss.mean() - arm):.1f}, {100 * (loss.mean() + arm):.1f}] |",
            flush=True,
        )


def speed(frame_counts: list[int], rounds: int, weights: str, folder: str) -> None:
    print("\n| video | frames a second | of real time | target | peak memory, MB | face found |")
    print("|---|---:|---:|---|---:|---:|")
    for frames in frame_counts:
        file = f"{folder}/{frames}.mp4"
        scenes.video(file, frames=frames, fps=FPS)
        command = [sys.executable, "-W", "ignore", "-c", PROBE, file, weights]
        runs = [[float(word) for word in subprocess.check_output(command, text=True).split()] for _ in range(rounds)]
        rate, peak, share = np.median(runs, 0)
        target = f"aim 2: {'met' if rate >= 2 * FPS else 'MISSED'}"
        print(f"| {frames} frames | {rate:.0f} | {rate / FPS:.2f} | {target} | {peak:.0f} | {share:.1%} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--detectors", nargs="+", default=["haar", "yunet"], help="names or YuNet files, to compare")
    parser.add_argument("--data", help="FER2013, to set faces of PublicTest into pictures")
    parser.add_argument("--faces", type=int, default=1000, help="how many of them")
    parser.add_argument("--turns", type=float, nargs="+", default=[0, 30, -30], help="degrees")
    parser.add_argument("--frames", type=int, nargs="*", default=[500, 5000], help="lengths of the videos; none: skip")
    parser.add_argument("--rounds", type=int, default=3, help="times that each video is predicted; medians are shown")
    parser.add_argument("--weights", default="", help="a shipped name, a model's file or a run's folder")
    args = parser.parse_args()
    cpuinfo = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    cpu = next((line.split(": ")[1] for line in cpuinfo.splitlines() if "model name" in line), platform.machine())
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "opencv-contrib-python"))
    print(f"{cpu}, {os.cpu_count()} cores; Python {platform.python_version()}, {versions}")
    if args.scenes:
        detection(args.scenes, args.seed, args.detectors)
    if args.data:
        frames(args.data, args.faces, args.turns, args.seed)
    with tempfile.TemporaryDirectory() as scratch:
        speed(args.frames, args.rounds, args.weights, scratch)


if __name__ == "__main__":
    main()
