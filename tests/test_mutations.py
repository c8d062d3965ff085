"""The named mistakes: each still has its place in ferlib, and one is put in and found."""

import dataclasses
import shutil
from pathlib import Path

import pytest

import mutations


def test_each_mistake_has_its_place():
    assert mutations.stale() == []
    assert len(mutations.MUTATIONS) >= 20
    assert len({mutation.name for mutation in mutations.MUTATIONS}) == len(mutations.MUTATIONS)


def test_a_mistake_without_its_place_or_its_tests_is_told(monkeypatch: pytest.MonkeyPatch):
    lost = dataclasses.replace(mutations.MUTATIONS[0], name="lost", old="no such text", tests="test_nothing")
    monkeypatch.setattr(mutations, "MUTATIONS", (lost,))
    assert mutations.stale() == [
        "lost: its text stands 0 times in ferlib/emotions", "lost: there is no tests/test_nothing.py",
    ]  # fmt: skip
    assert mutations.main([]) == 1


def test_what_goes_unnoticed_is_an_error(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    for seen, code in ((True, 0), (False, 1)):
        monkeypatch.setattr(mutations, "noticed", lambda *_, seen=seen: seen)
        monkeypatch.setattr(mutations, "fails", lambda *_: False)
        assert mutations.main(["--only", "upside"]) == code
        monkeypatch.setattr(mutations, "COPIED", ("pyproject.toml",))  # to copy all once is enough
    assert "missed: faces upside down" in capsys.readouterr().out
    monkeypatch.setattr(mutations, "fails", lambda *_: True)
    assert mutations.main(["--only", "upside"]) == 1
    assert "a test fails without any mistake" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        mutations.main(["--only", "no such word"])


def test_a_mistake_is_put_in_noticed_and_taken_out(tmp_path: Path):
    shutil.copytree(mutations.ROOT / "ferlib", tmp_path / "ferlib")
    shutil.copy(mutations.ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests/test_one.py").write_text(
        "from ferlib.emotions import EMOTIONS\n\n\ndef test_order():\n    assert EMOTIONS[6] == 'neutral'\n"
    )
    module = tmp_path / "ferlib/emotions.py"
    whole = module.read_bytes()
    swapped = dataclasses.replace(mutations.MUTATIONS[0], tests="test_one")
    assert mutations.noticed(swapped, tmp_path) and module.read_bytes() == whole
    harmless = dataclasses.replace(swapped, new=swapped.old)
    assert not mutations.noticed(harmless, tmp_path)
