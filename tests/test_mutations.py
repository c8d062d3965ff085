"""The named mistakes: each still has its place in ferlib, and one is put in and found."""

import dataclasses
import shutil
from pathlib import Path

import mutations


def test_each_mistake_has_its_place():
    assert mutations.stale() == []
    assert len(mutations.MUTATIONS) >= 20
    assert len({mutation.name for mutation in mutations.MUTATIONS}) == len(mutations.MUTATIONS)


def test_a_mistake_is_put_in_noticed_and_taken_out(tmp_path: Path):
    for name in ("ferlib", "tests", "pyproject.toml"):
        copy = shutil.copytree if (mutations.ROOT / name).is_dir() else shutil.copy
        copy(mutations.ROOT / name, tmp_path / name)
    (tmp_path / "tests/test_one.py").write_text(
        "from ferlib.emotions import EMOTIONS\n\n\ndef test_order():\n    assert EMOTIONS[6] == 'neutral'\n"
    )
    module = tmp_path / "ferlib/emotions.py"
    whole = module.read_bytes()
    swapped = dataclasses.replace(mutations.MUTATIONS[0], tests="test_one")
    assert mutations.noticed(swapped, tmp_path) and module.read_bytes() == whole
    harmless = dataclasses.replace(swapped, new=swapped.old)
    assert not mutations.noticed(harmless, tmp_path)
