"""Faces found in drawn scenes, and the speed and memory of a video: what `ferlib.apps.recognizer` is held to.

python benchmarks/recognizer.py --scenes 200 --frames 500 5000     (on two idle cores)

A face counts as found when a box overlaps its own by half (IoU 0.5); frontal means within 15 degrees of yaw, with
nothing in front of it. Each video of 640x480 px at 30 frames a second shows one moving face and is predicted in a fresh
process, detection included; its peak memory is VmHWM. The model is a small fernet unless `--weights` names another:
its weights change nothing here. The 95% interval is Wilson's.
"""

import argparse
import os
import platform
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import numpy as np
from scipy.stats import binomtest

from ferlib.apps.detection import find_detector
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


def detection(scene_count: int, seed: int, name: str) -> None:
    images, truth = scenes.draw(scene_count, seed=seed)
    detector = find_detector(name)
    found, false = np.zeros(len(truth), bool), 0
    for scene, image in enumerate(images):
        here = np.flatnonzero(truth["scene"] == scene)
        shared = overlaps(truth.loc[here, scenes.BOX].to_numpy(), detector.detect(image)[:, :4])
        found[here] = (shared >= 0.5).any(1)
        false += int((shared < 0.5).all(0).sum())
    frontal = ((truth["yaw"].abs() <= 15) & (truth["occlusion"] == "none")).to_numpy()
    print(f"\n| {name}, {scene_count} drawn scenes | faces | found | 95% | target |\n|---|---:|---:|---|---|")
    for what, mask, target in (("frontal faces", frontal, 0.9), ("turned or covered faces", ~frontal, None)):
        hits, n = int(found[mask].sum()), int(mask.sum())
        low, high = binomtest(hits, n).proportion_ci(method="wilson")
        met = f"at least {target:.0%}: {'met' if hits / n >= target else 'MISSED'}" if target else ""
        print(f"| {what} | {n} | {hits / n:.1%} | {low:.1%} to {high:.1%} | {met} |")
    print(f"\nFalse finds a scene: {false / scene_count:.2f}")


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
    parser.add_argument("--detector", default="haar", help="haar, or the path of YuNet's .onnx file")
    parser.add_argument("--frames", type=int, nargs="*", default=[500, 5000], help="lengths of the videos; none: skip")
    parser.add_argument("--rounds", type=int, default=3, help="times that each video is predicted; medians are shown")
    parser.add_argument("--weights", default="", help="a shipped name, a model's file or a run's folder")
    args = parser.parse_args()
    cpuinfo = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    cpu = next((line.split(": ")[1] for line in cpuinfo.splitlines() if "model name" in line), platform.machine())
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "opencv-contrib-python"))
    print(f"{cpu}, {os.cpu_count()} cores; Python {platform.python_version()}, {versions}")
    detection(args.scenes, args.seed, args.detector)
    with tempfile.TemporaryDirectory() as scratch:
        speed(args.frames, args.rounds, args.weights, scratch)


if __name__ == "__main__":
    main()
