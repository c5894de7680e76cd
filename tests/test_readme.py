"""What the README shows is run."""

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from click.testing import Result
from support import TINY_ONE_BLOCK

from cloudfree.network.models import AlignCR

README = (Path(__file__).resolve().parents[1] / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```console\n(.*?)```", README, re.DOTALL)
COMMANDS = [line for block in BLOCKS for line in block.splitlines()]
PYTHON = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.fixture
def workplace(
    make_scene: Callable[..., Path], make_sar: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A folder that holds every input the README names."""
    make_scene()
    make_scene(name="last_week.tif")
    make_sar()
    (tmp_path / "inbox").mkdir()
    make_scene(name="inbox/20240615_101530_84_2481_3B_AnalyticMS_SR.tif")
    make_sar(name="inbox/s1.tif")
    model = AlignCR(TINY_ONE_BLOCK)
    torch.save(
        {"network": {f"module.{key}": value for key, value in model.state_dict().items()}}, tmp_path / "published.pth"
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("block", [block for block in BLOCKS if "$ cloudfree" in block])
def test_commands(block: str, workplace: Path, cli: Callable[..., Result]) -> None:
    for line in block.splitlines():
        program, *arguments = shlex.split(line.removeprefix("$ "), comments=True)
        assert program == "cloudfree"
        result = cli(*arguments)
        assert result.exit_code == 0, result.output


@pytest.mark.parametrize("code", PYTHON)
def test_library(code: str, workplace: Path) -> None:
    exec(compile(code, "README.md", "exec"), {})
    assert (workplace / "out.tif").is_file()


def test_the_two_commands_exist() -> None:
    makefile = (Path(__file__).resolve().parents[1] / "Makefile").read_text(encoding="utf-8")
    for line in COMMANDS:
        if line.startswith("$ make"):
            assert f"\n{line.split()[2]}:" in makefile
