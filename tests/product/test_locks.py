"""A target is one run's at a time; what the dead leave is swept, what the living have is not."""

import errno
import multiprocessing
import os
import signal
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest
from filelock import FileLock

from cloudfree.errors import OutputError
from cloudfree.product import locks
from cloudfree.product.locks import claimed


def hold(target: Path, begun: Event, seconds: float) -> None:
    with claimed([target], 30) as folders:
        (folders[target] / "half.tif").write_text("half")
        begun.set()
        time.sleep(seconds)


def start(target: Path, seconds: float) -> multiprocessing.Process:
    context = multiprocessing.get_context("spawn")
    begun = context.Event()
    process = context.Process(target=hold, args=(target, begun, seconds))
    process.start()
    assert begun.wait(60)
    return process


@pytest.mark.slow
def test_a_second_claim_waits_or_fails(tmp_path: Path) -> None:
    target = tmp_path / "out.tif"
    process = start(target, 1.5)
    with pytest.raises(OutputError, match=r"is being made by another run.*--wait"), claimed([target]):
        pass
    with claimed([tmp_path / "other.tif"]):
        assert (tmp_path / ".cloudfree-out.tif/half.tif").exists(), "the living keep what they have"
    with claimed([target], 30) as folders:
        assert [path.name for path in folders[target].iterdir()] == ["lock"]
    process.join()
    assert not list(tmp_path.iterdir())


def test_the_dead_hold_nothing_and_are_swept_by_others_too(tmp_path: Path) -> None:
    for name in ("out.tif", "other.tif"):
        process = start(tmp_path / "out.tif", 60)
        os.kill(process.pid or 0, signal.SIGKILL)
        process.join()
        assert (tmp_path / ".cloudfree-out.tif/half.tif").exists()
        (tmp_path / ".cloudfree-empty").mkdir()
        with claimed([tmp_path / name]) as folders:
            assert not list(folders[tmp_path / name].glob("half.tif"))
        assert not list(tmp_path.iterdir())


def test_a_run_may_claim_again_what_it_has(tmp_path: Path) -> None:
    target = tmp_path / "out.tif"
    with claimed([target]) as outer:
        (outer[target] / "a").touch()
        with claimed([target, tmp_path / "b.tif"]) as inner:
            assert inner[target] == outer[target]
        assert (outer[target] / "a").exists()
    assert not list(tmp_path.iterdir())


def test_what_the_next_run_makes_is_not_taken_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lock goes last, so that none can begin in a folder that is being emptied."""
    target, gone = tmp_path / "out.tif", []
    unlink = os.unlink
    monkeypatch.setattr(os, "unlink", lambda path, **how: (gone.append(Path(path).name), unlink(path, **how)))
    with claimed([target]) as folders:
        for name in ("a", "z"):
            (folders[target] / name).touch()
    assert sorted(gone[:2]) == ["a", "z"]
    assert gone[2:] == ["lock"]
    assert not list(tmp_path.iterdir())


def test_threads_take_turns(tmp_path: Path) -> None:
    target, inside = tmp_path / "out.tif", []

    def make(number: int) -> None:
        with claimed([target], 60) as folders:
            inside.append(number)
            (folders[target] / "half.tif").write_text(str(number))
            time.sleep(0.05)
            assert (folders[target] / "half.tif").read_text() == str(number)
            assert inside.pop() == number
            assert not inside

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(make, range(8)))
    assert not list(tmp_path.iterdir())


def test_links_to_one_folder_are_one_place(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    process = start(tmp_path / "real/out.tif", 30)
    with pytest.raises(OutputError, match="another run"), claimed([tmp_path / "link/out.tif"]):
        pass
    process.kill()
    process.join()
    with claimed([tmp_path / "real/out.tif", tmp_path / "link/out.tif"]):
        pass
    assert not list((tmp_path / "real").iterdir())


@pytest.mark.attack(11)
@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EINVAL, errno.ENOTSUP, errno.EIO])
def test_a_file_system_without_locks_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def flock(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", flock)
    with pytest.raises(OutputError, match=r"cannot be locked \(") as refusal, claimed([tmp_path / "out.tif"]):
        pass
    assert "\n" not in refusal.value.message


@pytest.mark.attack(11)
def test_where_locks_are_no_system_call_files_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As filelock has it: a marker with the process in it, which is free when that is dead."""

    def flock(*_: object) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", flock)
    target = tmp_path / "out.tif"
    with warnings.catch_warnings(action="ignore"), claimed([target]) as folders:
        (folders[target] / "half.tif").touch()
    assert not list(tmp_path.iterdir())


def test_names_as_long_as_can_be_and_folders_that_are_not_there(tmp_path: Path) -> None:
    long = tmp_path / ("x" * 251 + ".tif")
    with claimed([long]) as folders:
        (folders[long] / long.name).touch()
    with pytest.raises(OutputError, match="cannot be written"), claimed([tmp_path / "nowhere/out.tif"]):
        pass


@pytest.mark.parametrize("first", ["a", "link"])
def test_runs_that_share_targets_in_opposite_order_wait_for_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: str
) -> None:
    """Each lock is held for a while before the next is asked for, so that without one order each run has one of two.

    By a link that sorts after "b", the order of names as they are given is the opposite one too.
    """
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "a")
    acquire = FileLock.acquire

    def acquire_slowly(lock: FileLock, **how: object) -> object:
        proxy = acquire(lock, **how)
        time.sleep(0.3)
        return proxy

    def make(targets: list[Path]) -> int:
        with claimed(targets, 3) as folders:
            return len(folders)

    monkeypatch.setattr("filelock.FileLock.acquire", acquire_slowly)
    orders = [[tmp_path / "a/t", tmp_path / "b/t"], [tmp_path / "b/t", tmp_path / first / "t"]]
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(make, orders)) == [2, 2]
    assert not [path for path in tmp_path.rglob("*") if path.name.startswith(".")]


@pytest.mark.attack(7)
def test_a_link_in_place_of_the_hidden_folder_empties_nothing(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.txt").write_text("years")
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / ".cloudfree-out.tif").symlink_to(precious)
    with pytest.raises(OutputError, match="is a link"), claimed([shared / "out.tif"]):
        pass
    with claimed([shared / "other.tif"]):
        pass
    assert [path.name for path in precious.iterdir()] == ["thesis.txt"]


@pytest.mark.attack(7)
@pytest.mark.parametrize("moment", ["_locked", "_empty", "_delete", "_remove"])
def test_nor_does_one_that_takes_its_place_between_a_look_and_a_deletion(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    precious, hidden = tmp_path / "precious", tmp_path / ".cloudfree-out.tif"
    precious.mkdir()
    for name in ("half.tif", "lock"):
        (precious / name).write_text("years")
    hidden.mkdir()
    (hidden / "half.tif").touch()  # of a run that died
    step = getattr(locks, moment)

    def with_a_swap(*arguments: object) -> object:
        done = step(*arguments) if moment == "_locked" else None
        if not hidden.is_symlink():
            hidden.rename(tmp_path / "elsewhere")
            hidden.symlink_to(precious)
        return done or step(*arguments)

    monkeypatch.setattr(locks, moment, with_a_swap)
    with suppress(OutputError), claimed([tmp_path / "out.tif"]):
        pass
    assert hidden.is_symlink()
    assert {path.name: path.read_text() for path in precious.iterdir()} == {"half.tif": "years", "lock": "years"}


@pytest.mark.attack(7)
def test_folders_in_the_hidden_folder_stop_nothing(tmp_path: Path) -> None:
    (tmp_path / ".cloudfree-out.tif" / "sub" / "sub").mkdir(parents=True)
    with claimed([tmp_path / "out.tif"]) as folders:
        assert [path.name for path in folders[tmp_path / "out.tif"].iterdir()] == ["lock"]
    assert not list(tmp_path.iterdir())
