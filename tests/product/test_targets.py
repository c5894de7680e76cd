"""Files appear under their names whole, at the end, all of them or none."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from cloudfree.errors import OutputError
from cloudfree.product.targets import check_targets, staging


def test_files_appear_together_at_the_end(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    targets = [tmp_path / "a.tif", tmp_path / "other" / "b.png"]
    with staging(dict(enumerate(targets)), overwrite=False) as staged:
        for number, target in enumerate(targets):
            staged[number].write_text(target.name)
            assert staged[number].parent.parent == target.parent, "on the same disk, so that a move is one step"
            assert not target.exists()
    assert [target.read_text() for target in targets] == ["a.tif", "b.png"]
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["a.tif", "b.png", "other"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_leaves_what_was_there(tmp_path: Path, error: type[BaseException]) -> None:
    target = tmp_path / "a.tif"
    target.write_text("old")

    def fail() -> None:
        with staging({"product": target}, overwrite=True) as staged:
            staged["product"].write_text("new")
            raise error

    with pytest.raises(error):
        fail()
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_file_that_came_meanwhile_is_kept(tmp_path: Path) -> None:
    targets = [tmp_path / "a.tif", tmp_path / "b.tif"]

    def publish() -> None:
        with staging(dict(enumerate(targets)), overwrite=False) as staged:
            for path in staged.values():
                path.write_text("new")
            targets[1].write_text("another's")

    with pytest.raises(OutputError, match=r"b.tif exists and is kept"):
        publish()
    assert targets[1].read_text() == "another's"
    assert list(tmp_path.iterdir()) == [targets[1]]


def test_targets_are_checked_before(tmp_path: Path) -> None:
    scene, out = tmp_path / "scene.tif", tmp_path / "out.tif"
    scene.touch()
    (tmp_path / "link.tif").symlink_to(scene)
    check_targets([out], [scene], overwrite=False)
    for targets, message in (
        ([tmp_path / "link.tif"], "is an input"),
        ([out, tmp_path / "." / "out.tif"], "named for two outputs"),
        ([tmp_path], "is a folder"),
        ([tmp_path / "none" / "out.tif"], "does not exist"),
    ):
        with pytest.raises(OutputError, match=message):
            check_targets(targets, [scene], overwrite=True)


@pytest.mark.attack(11)
@pytest.mark.parametrize("stood", [True, False])
def test_what_was_moved_is_taken_back_where_a_later_file_cannot_be(
    tmp_path: Path, stood: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = tmp_path / "a.tif", tmp_path / "b.tif"
    if stood:
        first.write_text("old")
    replace = Path.replace

    def fails(self: Path, target: Path) -> Path:
        if target == second:
            raise OSError(errno.EIO, "no")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", fails)

    def make() -> None:
        with staging({1: first, 2: second}, overwrite=True) as staged:
            for path in staged.values():
                path.write_text("new")

    with pytest.raises(OutputError):
        make()
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == ({"a.tif": "old"} if stood else {})


@pytest.mark.attack(7)
def test_what_is_no_file_is_kept(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.tif")
    (tmp_path / "link.tif").symlink_to(tmp_path / "nothing")
    for path in (tmp_path / "pipe.tif", tmp_path / "link.tif", Path("/dev/null")):
        with pytest.raises(OutputError, match="is kept"):
            check_targets([path], [], overwrite=True)


@pytest.mark.attack(11)
@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOSYS, errno.ENOTSUP])
def test_a_file_system_that_cannot_wait_for_the_disk_is_written_to(
    tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", failing(number))
    with staging({1: tmp_path / "a.tif"}, overwrite=False) as staged:
        staged[1].write_text("new")
    assert (tmp_path / "a.tif").read_text() == "new"


@pytest.mark.attack(11)
@pytest.mark.parametrize("number", [errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EBUSY, errno.EPERM])
def test_what_cannot_be_put_in_its_place_is_one_line_and_leaves_what_was_there(
    tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "a.tif"
    target.write_text("old")
    monkeypatch.setattr(Path, "replace", failing(number))

    def make() -> None:
        with staging({1: target, 2: tmp_path / "b.tif"}, overwrite=True) as staged:
            for path in staged.values():
                path.write_text("new")

    with pytest.raises(OutputError, match="what was there is kept"):
        make()
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a.tif": "old"}


@pytest.mark.attack(11)
def test_what_was_there_is_taken_back_where_files_have_one_name_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    targets = {1: tmp_path / "a.tif", 2: tmp_path / "b.tif"}
    for path in targets.values():
        path.write_text("old")
    replace = Path.replace

    def only_the_first(self: Path, target: Path) -> Path:
        if self.name == "b.tif":
            raise OSError(errno.EXDEV, "no")
        return replace(self, target)

    monkeypatch.setattr(Path, "hardlink_to", failing(errno.ENOTSUP))
    monkeypatch.setattr(Path, "replace", only_the_first)

    def make() -> None:
        with staging(targets, overwrite=True) as staged:
            for path in staged.values():
                path.write_text("new")

    with pytest.raises(OutputError):
        make()
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a.tif": "old", "b.tif": "old"}


def failing(number: int) -> Callable[..., None]:
    def fails(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    return fails
