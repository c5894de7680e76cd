"""The algorithms in QGIS: the plugin is put into a profile, and QGIS itself runs them; skipped where QGIS is absent."""

import ast
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import rasterio
from click.testing import Result

import cloudfree
from cloudfree.bands import Qa

Cli = Callable[..., Result]
Make = Callable[..., Path]

PLUGIN = Path(cloudfree.__file__).parent / "qgis" / "plugin"
# Debian's wrapper hands qgis_process an option that it does not know.
PROGRAM = next((found for name in ("qgis_process.bin", "qgis_process") if (found := shutil.which(name))), None)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's folder in which QGIS was started once."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    (profile_of(tmp_path)).mkdir(parents=True)
    return tmp_path


def profile_of(home: Path, version: str = "QGIS3", name: str = "default") -> Path:
    return home / ".local" / "share" / "QGIS" / version / "profiles" / name


def plugin_of(profile: Path) -> Path:
    return profile / "python" / "plugins" / "cloudfree_qgis"


@pytest.mark.skipif(sys.platform != "linux", reason="profiles lie elsewhere")
def test_the_plugin_is_installed_into_each_qgis_and_starts_this_python(cli: Cli, home: Path) -> None:
    profile_of(home, "QGIS4").mkdir(parents=True)
    for _ in range(2):  # also over an earlier one
        done = cli("qgis", "install")
        assert done.exit_code == 0, done.output
    for version in ("QGIS3", "QGIS4"):
        plugin = plugin_of(profile_of(home, version))
        assert f"Installed in {plugin}." in done.output
        assert json.loads((plugin / "command.json").read_text()) == [sys.executable, "-m", "cloudfree"]
        assert {path.name for path in plugin.iterdir()} == {
            *(path.name for path in PLUGIN.iterdir() if path.is_file()),
            "command.json",
        }
        assert [path.name for path in plugin.parent.iterdir()] == ["cloudfree_qgis"]


@pytest.mark.skipif(sys.platform != "linux", reason="profiles lie elsewhere")
def test_without_qgis_one_line_says_what_to_do(cli: Cli, home: Path) -> None:
    done = cli("qgis", "install", "--profile", "work")
    assert done.exit_code == 1
    assert "has no profile 'work'; QGIS makes one when it is first started" in done.stderr
    assert done.stderr.count("\n") == 1


def test_what_a_user_has_is_kept(cli: Cli, tmp_path: Path) -> None:
    plugin = plugin_of(tmp_path)
    plugin.mkdir(parents=True)
    (plugin / "notes.txt").write_text("mine")
    done = cli("qgis", "install", "--profile-folder", tmp_path)
    assert done.exit_code == 1
    assert "is no plugin of ours" in done.stderr
    assert (plugin / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("name", ["../x", "", ".", "a/b", "/tmp"])
def test_a_profile_is_named_and_a_folder_is_there(cli: Cli, tmp_path: Path, home: Path, name: str) -> None:
    done = cli("qgis", "install", "--profile", name)
    assert done.exit_code == 1
    assert "is no name of a profile" in done.stderr
    done = cli("qgis", "install", "--profile-folder", tmp_path / "none")
    assert done.exit_code == 1
    assert "is no folder" in done.stderr
    assert not (tmp_path / "none").exists()


def test_the_plugin_imports_nothing_of_the_package_and_has_its_version() -> None:
    for path in PLUGIN.glob("*.py"):
        imported = [
            name
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Import | ast.ImportFrom)
            for name in (node.module or "" if isinstance(node, ast.ImportFrom) else node.names[0].name).split(".")[:1]
        ]
        assert "cloudfree" not in imported, path
    assert f"version={cloudfree.__version__}\n" in (PLUGIN / "metadata.txt").read_text()


@pytest.fixture
def qgis(cli: Cli, home: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start `qgis_process` as that user, with the plugin."""
    if not PROGRAM:
        pytest.skip("QGIS is not installed")
    assert cli("qgis", "install").exit_code == 0
    environment = {"HOME": str(home), "PATH": "/usr/bin:/bin", "QT_QPA_PLATFORM": "offscreen"}
    started: list[subprocess.Popen[str]] = []

    def start(*words: object) -> subprocess.Popen[str]:
        command = [PROGRAM, *map(str, words)]
        pipe = subprocess.PIPE
        started.append(subprocess.Popen(command, env=environment, stdout=pipe, stderr=subprocess.STDOUT, text=True))
        return started[-1]

    start("plugins", "enable", "cloudfree_qgis").communicate(timeout=120)
    yield start
    for process in started:
        process.kill()
        process.wait()
        assert process.stdout
        process.stdout.close()


@pytest.mark.slow
def test_qgis_runs_the_main_job(
    qgis: Callable[..., subprocess.Popen[str]], make_scene: Make, make_sar: Make, make_mask: Make, tmp_path: Path
) -> None:
    out, qa = tmp_path / "made" / "out.tif", tmp_path / "made" / "qa.tif"
    out.parent.mkdir()
    flagged = np.zeros((100, 120))
    flagged[20:60, 20:60] = 1
    inputs = f"--PLANET={make_scene()}", f"--SAR={make_sar()}", f"--MASK={make_mask(flagged)}"
    weights = "--WEIGHTS=identity", "--BUFFER=0", "--MORE=--edge-limit 0"
    said, _ = qgis("run", "cloudfree:run", *inputs, *weights, f"--OUTPUT={out}", f"--QA={qa}").communicate(timeout=200)
    assert out.exists(), said
    with rasterio.open(qa) as dataset:
        assert (dataset.read(1)[25:55, 25:55] == Qa.RECONSTRUCTED).all()
    assert {path.name for path in out.parent.iterdir()} == {"out.tif", "out.qml", "qa.tif", "qa.qml"}


@pytest.mark.slow
def test_a_failure_is_told_in_qgis_in_its_own_line(
    qgis: Callable[..., subprocess.Popen[str]], make_scene: Make, make_sar: Make, tmp_path: Path
) -> None:
    inputs = f"--PLANET={make_scene()}", f"--SAR={make_sar()}"
    process = qgis("run", "cloudfree:run", *inputs, "--WEIGHTS=none_such", f"--OUTPUT={tmp_path / 'out.tif'}")
    said, _ = process.communicate(timeout=200)
    assert "none_such" in said
    assert process.returncode
    assert not (tmp_path / "out.tif").exists()


class Feedback:
    """What QGIS hands to an algorithm; `cancelled` after so many questions."""

    def __init__(self, cancelled_after: float = float("inf")) -> None:
        self.said, self.progress, self._left = list[str](), list[int](), cancelled_after

    def isCanceled(self) -> bool:  # noqa: N802 - as QGIS calls it
        self._left -= 1
        return self._left < 0

    def setProgress(self, percent: int) -> None:  # noqa: N802 - as QGIS calls it
        self.progress.append(percent)

    def pushCommandInfo(self, line: str) -> None:  # noqa: N802 - as QGIS calls it
        self.said.append(line)

    pushInfo = pushWarning = pushCommandInfo  # noqa: N815 - as QGIS calls them


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The plugin's module that starts commands, outside of QGIS; its command is this Python."""
    core = ModuleType("qgis.core")
    core.QgsProcessingException = RuntimeError
    monkeypatch.setitem(sys.modules, "qgis", ModuleType("qgis"))
    monkeypatch.setitem(sys.modules, "qgis.core", core)
    shutil.copy(PLUGIN / "command.py", tmp_path)
    (tmp_path / "command.json").write_text(json.dumps([sys.executable, "-u", "-c"]))
    spec = spec_from_file_location("plugin_command", tmp_path / "command.py")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_what_a_command_says_and_how_far_it_is_reaches_qgis(command: ModuleType) -> None:
    feedback = Feedback()
    command.run(["print('WARNING: haze'); print('1.0/4.0 Mpx, 25 %')"], feedback)
    assert feedback.said[1:] == ["WARNING: haze", "1.0/4.0 Mpx, 25 %"]
    assert feedback.progress == [25]


def test_a_command_that_fails_is_told_by_its_last_line(command: ModuleType) -> None:
    with pytest.raises(RuntimeError, match="Error: no such file"):
        command.run(["import sys; sys.exit('Error: no such file')"], Feedback())
    with pytest.raises(RuntimeError, match="exit code 3"):
        command.run(["import sys; sys.exit(3)"], Feedback())


def test_a_command_that_is_cancelled_has_ended(command: ModuleType, tmp_path: Path) -> None:
    sleeps = f"import os, time; open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); time.sleep(100)"
    with pytest.raises(RuntimeError, match="cancelled; no file was written"):
        command.run([sleeps], Feedback(cancelled_after=10))
    assert not Path("/proc", (tmp_path / "pid").read_text()).exists()


def test_an_environment_that_is_gone_is_told(command: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "command.json").write_text(json.dumps(["/gone/python", "-m", "cloudfree"]))
    with pytest.raises(RuntimeError, match=r"/gone/python is not there any more.*'cloudfree qgis install'"):
        command.run([], Feedback())


def test_python_of_qgis_does_not_lead_the_command_astray(command: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONHOME", "/of/qgis")
    feedback = Feedback()
    command.run(["import os; print(os.environ.get('PYTHONHOME'))"], feedback)
    assert feedback.said[-1] == "None"
