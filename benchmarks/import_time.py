"""What `import ferlib` costs, in fresh processes: the median over pairs of what it adds to a bare interpreter's start.

python benchmarks/import_time.py --rounds 20     (under two minutes)

Each round starts Python once for each line of the table, in turn; a line's time is its wall time less that round's bare
start, and so includes the end of the process. `import ferlib` must leave torch out of sys.modules. The files are in the
operating system's cache: a warm-up round goes before. Target: `import ferlib` under 50 ms.
"""

import argparse
import os
import platform
import statistics
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

STATEMENTS = {
    "bare start": "pass",
    "import ferlib": "import ferlib, sys; assert 'torch' not in sys.modules, 'import ferlib brings torch along'",
    "import numpy": "import numpy",
    "import torch": "import torch",
    "from ferlib import data": "from ferlib import data",
}


def machine() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    packages = ("torch", "torchvision", "numpy", "albumentations", "opencv-contrib-python")
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    cpu = models[0] if models else platform.processor() or platform.machine()
    return f"{cpu}, {os.cpu_count()} cores; Python {platform.python_version()}, {versions}"


def milliseconds(statement: str) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", statement], check=True)
    return 1000 * (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    args = parser.parse_args()
    rounds = [{name: milliseconds(code) for name, code in STATEMENTS.items()} for _ in range(args.rounds + 1)][1:]
    print(f"{machine()}\n{args.rounds} rounds after one to warm up; milliseconds, less the bare start of the round\n")
    print("| In a fresh process | median | min–max | target |\n|---|---:|---:|---|")
    for name in STATEMENTS:
        bare = [0.0 if name == "bare start" else each["bare start"] for each in rounds]
        added = [each[name] - less for each, less in zip(rounds, bare, strict=True)]
        median = statistics.median(added)
        target = f"under 50 ms: {'met' if median < 50 else 'MISSED'}" if name == "import ferlib" else ""
        print(f"| {name} | {median:.1f} | {min(added):.1f}–{max(added):.1f} | {target} |")
    print("\ntorch was not in sys.modules after `import ferlib`, in every round.")


if __name__ == "__main__":
    main()
