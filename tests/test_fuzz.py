"""Damaged files of every kind are used or refused in one line: a short run of `benchmarks/fuzz.py`."""

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parents[1] / "benchmarks"))
from fuzz import KINDS, outcome, write_sound

SEEDS_EACH = 6


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sound")
    write_sound(folder)
    return folder


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_files_are_used_or_refused_in_one_line(sound: Path, kind: str) -> None:
    wrong = {}
    for seed in range(SEEDS_EACH):
        what, why = outcome(sound, seed, [kind])
        if why:
            wrong[seed] = what, why
    assert not wrong


def test_a_sound_set_is_used(sound: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fuzz.damage", lambda folder, kind, rng: None)
    assert {outcome(sound, 0, [kind]) for kind in KINDS} == {(f"{kind} used", "") for kind in KINDS}
