"""Every bad input: one clear line, exit status 1, and the folder exactly as it was."""

import hashlib
import itertools
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from click.testing import Result
from rasterio.shutil import copy
from safetensors.torch import save_file
from support import ORIGIN, TINY_ONE_BLOCK, UTM33, sar_values_db, scene_dn, write_raster

from cloudfree.network.models import AlignCR
from cloudfree.network.weights import save_model, weights_folder

Cli = Callable[..., Result]
MakeScene = Callable[..., Path]
MakeSar = Callable[..., Path]
MakeMask = Callable[..., Path]
NORTH_UP = Affine(3, 0, ORIGIN[0], 0, -3, ORIGIN[1])
FAR = Affine(3, 0, ORIGIN[0] + 90_000, 0, -3, ORIGIN[1])


def listing(folder: Path) -> dict[str, str]:
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }


class Case:
    """A good run in a folder of its own, to be spoiled in one respect."""

    def __init__(self, cli: Cli, folder: Path, scene: Path, sar: Path) -> None:
        self.cli, self.folder = cli, folder
        self.options: dict[str, object] = {
            "--planet": scene,
            "--sar": sar,
            "-o": folder / "out.tif",
            "--weights": "identity",
        }
        self.flags: list[object] = []

    @property
    def scene(self) -> Path:
        return Path(str(self.options["--planet"]))

    def fails(self, *words: str, status: int = 1) -> None:
        before = listing(self.folder)
        result = self.cli("run", *itertools.chain(*self.options.items()), *self.flags)
        assert result.exit_code == status, result.output
        if status == 1:
            errors = [line for line in result.stderr.splitlines() if not line.startswith("WARNING")]
            assert len(errors) == 1, errors
            assert errors[0].startswith("Error: ")
            assert ";" in errors[0] or ":" in errors[0]
        for word in words:
            assert word in result.stderr, result.stderr
        assert result.stdout == ""
        assert listing(self.folder) == before
        assert not list(self.folder.rglob(".cloudfree*"))


@pytest.fixture
def case(cli: Cli, make_scene: MakeScene, make_sar: MakeSar, tmp_path: Path) -> Case:
    return Case(cli, tmp_path, make_scene(), make_sar())


def truncate(path: Path, share: float) -> None:
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])


# --- the scene ---


@pytest.mark.parametrize("option", ["--planet", "--sar", "--udm2", "--mask"])
def test_missing_file(case: Case, option: str) -> None:
    case.options[option] = case.folder / "nowhere.tif"
    case.fails("nowhere.tif", "does not exist")


@pytest.mark.parametrize("option", ["--planet", "--sar", "--udm2", "--mask"])
def test_not_a_raster(case: Case, option: str) -> None:
    path = case.folder / "words.tif"
    path.write_text("these are words")
    case.options[option] = path
    case.fails("words.tif", "cannot be read as a raster")


@pytest.mark.parametrize("option", ["--planet", "--sar"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_truncated_tiff(case: Case, option: str, share: float) -> None:
    truncate(Path(str(case.options[option])), share)
    case.fails("fetch")


def test_truncated_mask(case: Case, make_mask: MakeMask) -> None:
    case.options["--mask"] = make_mask(np.ones((96, 96)))
    truncate(case.folder / "mask.tif", 0.5)
    case.fails("mask.tif", "fetch")


@pytest.mark.parametrize("option", ["--planet", "--sar"])
def test_no_georeference(case: Case, option: str) -> None:
    path = Path(str(case.options[option]))
    with rasterio.open(path) as dataset:
        values, names = dataset.read(), dataset.descriptions
    write_raster(path, values, NORTH_UP, crs=None, nodata=0, descriptions=names)
    case.fails("no coordinate reference system")
    with pytest.warns(rasterio.errors.NotGeoreferencedWarning):
        write_raster(path, values, Affine.identity(), UTM33, nodata=0, descriptions=names)
    case.fails("no geotransform")


@pytest.mark.parametrize("bands", [1, 3, 5])
def test_a_scene_of_other_band_counts(case: Case, make_scene: MakeScene, bands: int) -> None:
    make_scene(dn=scene_dn(96, 96, bands))
    case.fails(f"{bands} band", "--planet-bands")


@pytest.mark.parametrize("dtype", ["uint8", "float32", "int16"])
def test_a_scene_of_another_type(case: Case, make_scene: MakeScene, dtype: str) -> None:
    make_scene(dn=(scene_dn(96, 96) // 40).astype(dtype))
    case.fails(dtype, "uint16")


def test_a_scene_without_data(case: Case, make_scene: MakeScene) -> None:
    make_scene(dn=np.zeros((4, 96, 96), np.uint16))
    case.fails("all pixels are nodata")


@pytest.mark.attack(10)
def test_band_numbers_that_do_not_fit(case: Case) -> None:
    for bands in ("1,2,3,9", "1,1,1,1", "1,2,3,4,4"):
        case.options["--planet-bands"] = bands
        case.fails(f"--planet-bands {bands}")
    case.options["--planet-bands"] = "one"
    case.fails("--planet-bands", status=2)


# --- Sentinel-1 ---


def test_disjoint_footprints(case: Case, make_sar: MakeSar) -> None:
    make_sar(transform=FAR)
    case.fails("does not overlap")


def test_sar_that_only_sees_nodata(case: Case, make_scene: MakeScene, make_sar: MakeSar) -> None:
    dn = scene_dn(300, 300)
    dn[:, :, :150] = 0
    make_scene(dn=dn)
    make_sar(40, transform=Affine(10, 0, ORIGIN[0], 0, -10, ORIGIN[1]))
    case.fails("no valid pixel where")


@pytest.mark.parametrize(
    ("bands", "names", "word"),
    [(1, None, "1 band"), (3, None, "unnamed"), (3, ("VV", "odd", "angle"), "odd"), (2, ("VV", "VV"), "VV")],
)
def test_sar_bands_that_cannot_be_told(
    case: Case, make_sar: MakeSar, bands: int, names: tuple | None, word: str
) -> None:
    make_sar(values=np.repeat(sar_values_db(300, 300)[:1], bands, axis=0), descriptions=names)
    case.fails(word, "--sar-bands")


@pytest.mark.parametrize("value", [0, np.nan, -np.inf, -70])
def test_all_invalid_sar(case: Case, make_sar: MakeSar, value: float) -> None:
    make_sar(values=np.full((2, 300, 300), value, np.float32))
    case.fails("no valid pixel")


def test_complex_sar(case: Case, make_sar: MakeSar) -> None:
    make_sar(values=sar_values_db(300, 300).astype(np.complex64))
    case.fails("complex")


def test_ambiguous_units(case: Case, make_sar: MakeSar) -> None:
    make_sar(values=sar_values_db(300, 300) + 200)
    case.fails("ambiguous", "--sar-units")
    make_sar(values=np.full((2, 300, 300), 400, np.uint16) + np.arange(2, dtype=np.uint16)[:, None, None])
    case.fails("uncalibrated", "calibrate")
    case.options["--sar-units"] = "amplitude"
    case.fails("52 dB", "calibrate")


def test_the_same_sar_file_twice(case: Case) -> None:
    case.flags = ["--sar", case.options["--sar"]]
    case.fails("is given twice with --sar")


# --- mask, weights, options ---


def test_masks_elsewhere(case: Case, make_mask: MakeMask) -> None:
    case.options["--mask"] = make_mask(np.ones((96, 96)), transform=FAR)
    case.fails("does not overlap")
    del case.options["--mask"]
    case.options["--udm2"] = make_mask(np.ones((8, 96, 96)), transform=FAR)
    case.fails("does not overlap")


def test_fill_clouds_without_a_mask_and_two_masks(case: Case, make_mask: MakeMask) -> None:
    case.options |= {"--fill": "clouds", "--find-clouds": "never"}
    case.fails("--fill clouds needs to know where they are")
    case.options |= {"--mask": make_mask(np.ones((96, 96))), "--udm2": make_mask(np.ones((8, 96, 96)), name="u.tif")}
    case.fails("--mask and --udm2")


def test_weights_missing_corrupt_or_other(case: Case) -> None:
    import torch

    case.options["--weights"] = "nonesuch"
    case.fails("nonesuch", "identity")
    path = case.folder / "w.safetensors"
    case.options["--weights"] = path
    path.write_bytes((weights_folder() / "identity.safetensors").read_bytes()[:-10])
    case.fails("w.safetensors")
    path.write_bytes(b"\x00" * 100)
    case.fails("w.safetensors")
    save_file({"conv.weight": torch.zeros(3)}, path)
    case.fails("without the metadata")
    save_file(
        {"conv.weight": torch.zeros(3)}, path, {"cloudfree": '{"format": 1, "architecture": "unet", "config": {}}'}
    )
    case.fails("unet", "align_cr")
    torch.save({"network": {"module.other.weight": torch.zeros(3)}}, case.folder / "other.pth")
    case.options["--weights"] = case.folder / "other.pth"
    case.fails("other network")


@pytest.mark.attack(8)
def test_weights_whose_answer_is_not_finite(case: Case) -> None:
    """They would make nodata of clouds."""
    network = AlignCR(TINY_ONE_BLOCK)
    for parameter in network.parameters():
        parameter.data.fill_(1e30)
    case.options["--weights"] = save_model(network, case.folder / "huge.safetensors")
    case.options["--mask"] = case.folder / "mask.tif"
    with rasterio.open(case.scene) as scene:
        write_raster(case.options["--mask"], np.ones((1, *scene.shape), np.uint8), scene.transform, scene.crs)
    case.fails("not finite")


def test_weights_of_the_wrong_hash(
    case: Case, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path_factory.mktemp("weights")
    for file in weights_folder().iterdir():
        if file.is_file():
            (folder / file.name).write_bytes(file.read_bytes())
    damaged = bytearray((folder / "identity.safetensors").read_bytes())
    damaged[-1] ^= 1
    (folder / "identity.safetensors").write_bytes(damaged)
    monkeypatch.setattr("cloudfree.network.weights.weights_folder", lambda: folder)
    case.fails("sha256")


@pytest.mark.parametrize(("option", "value"), [("--tile", 100), ("--tile", 0), ("--overlap", 512), ("--overlap", -1)])
def test_tiles_off_the_lattice(case: Case, option: str, value: int) -> None:
    case.options[option] = value
    case.fails(option)


@pytest.mark.parametrize("device", ["cuda:7", "tpu", "cuda:x", "mps"])
def test_devices_that_are_not_there(case: Case, device: str) -> None:
    case.options["--device"] = device
    case.fails(device, "--device")


def test_cuda_asked_for_and_absent(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    case.options["--device"] = "cuda"
    case.fails("no CUDA device")


def test_coregistration_required_and_not_to_be_had(case: Case, make_scene: MakeScene) -> None:
    make_scene(dn=np.full((4, 96, 96), 1000, np.uint16))
    case.options["--coregister"] = "require"
    case.fails("no reliable offset")


def test_usage_errors_exit_2(case: Case) -> None:
    case.options["--fill"] = "sometimes"
    case.fails("--fill", status=2)
    del case.options["--fill"], case.options["--planet"]
    case.fails("--planet", status=2)


# --- the output ---


def test_existing_target_is_kept(case: Case) -> None:
    (case.folder / "out.tif").write_text("precious")
    case.fails("exists", "--overwrite")
    del case.options["-o"]
    case.options |= {"-o": case.folder / "new.tif", "--qa": case.folder / "out.tif"}
    case.fails("exists", "--overwrite")


@pytest.mark.parametrize("option", ["--planet", "--sar"])
def test_target_equal_to_an_input(case: Case, option: str) -> None:
    case.options["-o"] = case.options[option]
    case.flags = ["--overwrite"]
    case.fails("is an input")
    link = case.folder / "link.tif"
    link.hardlink_to(Path(str(case.options[option])))
    case.options["-o"] = link
    case.fails("is an input")


def test_target_equal_to_the_mask_that_was_found(case: Case, make_mask: MakeMask) -> None:
    udm2 = make_mask(np.ones((8, 96, 96)), name="20211008_002442_03_2456_3B_udm2.tif")
    case.options["--planet"] = case.scene.rename(case.folder / "20211008_002442_03_2456_3B_AnalyticMS_SR.tif")
    case.options["-o"] = udm2
    case.flags = ["--overwrite"]
    case.fails("is an input")


def test_targets_that_cannot_be_written(case: Case) -> None:
    case.options["-o"] = case.folder / "no" / "such" / "out.tif"
    case.fails("does not exist")
    case.options["-o"] = case.folder
    case.flags = ["--overwrite"]
    case.fails("is a folder")
    case.options["-o"] = "/proc/out.tif"
    case.fails("cannot be written")
    case.options |= {"-o": case.folder / "out.tif", "--qa": case.folder / "out.tif"}
    case.fails("two outputs")


# --- interruptions, in a process of their own ---

SLOW_IDENTITY = """
import sys, time
from cloudfree.network.models import Identity
forward = Identity.forward
def slow(self, *inputs):
    time.sleep(0.2)
    return forward(self, *inputs)
Identity.forward = slow
from cloudfree.cli import main
main()
"""


def start(case: Case, code: str = SLOW_IDENTITY, *extra: str, **popen: object) -> subprocess.Popen:
    arguments = [str(part) for pair in case.options.items() for part in pair]
    return subprocess.Popen(
        [sys.executable, "-c", code, "run", *arguments, *extra], stderr=subprocess.PIPE, text=True, **popen
    )


def wait_for_work(case: Case, process: subprocess.Popen) -> None:
    for _ in range(600):
        if list(case.folder.glob(".cloudfree-*/*.tif")):
            return
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)
    pytest.fail("the run did not start")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_interrupted_runs_leave_no_half_file(case: Case, make_scene: MakeScene, number: signal.Signals) -> None:
    make_scene(400, 400)
    (case.folder / "out.tif").write_text("precious")
    before = listing(case.folder)
    # What a shell runs in the background ignores SIGINT, and so do its children, unless told otherwise.
    listening = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}
    process = start(case, SLOW_IDENTITY, "--overwrite", "--tile", "32", "--overlap", "0", **listening)
    wait_for_work(case, process)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode != 0
    assert "Traceback" not in errors
    left = {name: digest for name, digest in listing(case.folder).items() if not name.startswith(".cloudfree-")}
    assert left == before
    if number != signal.SIGKILL:
        assert not list(case.folder.glob(".cloudfree-*"))


@pytest.mark.slow
@pytest.mark.parametrize("limit", [200_000, 700_000, 1_500_000])
def test_a_disk_that_fills_up(case: Case, make_scene: MakeScene, limit: int) -> None:
    """A limit on the size of files stands in for a full disk: writes fail in the same way."""
    noise = np.random.default_rng(0).integers(1, 9000, (4, 400, 400)).astype(np.uint16)
    make_scene(dn=noise)
    before = listing(case.folder)

    def limited() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    process = start(case, "from cloudfree.cli import main; main()", preexec_fn=limited)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1, errors
    assert errors.count("Error: ") == 1
    assert "Traceback" not in errors
    assert listing(case.folder) == before


@pytest.mark.attack(10)
@pytest.mark.parametrize("option", ["--buffer", "--edge-limit", "--max-shift"])
@pytest.mark.parametrize("metres", ["nan", "inf"])
def test_metres_are_finite(cli: Cli, option: str, metres: str) -> None:
    result = cli("run", "--planet", "scene.tif", "-o", "out.tif", option, metres)
    assert result.exit_code == 2
    assert f"'{option}': " in result.stderr
    assert "is not" in result.stderr


def test_a_scene_made_of_other_files_needs_trust_which_tags_tell(
    cli: Cli, make_scene: MakeScene, make_sar: MakeSar, tmp_path: Path
) -> None:
    scene, sar, inbox = make_scene(), make_sar(), tmp_path / "inbox"
    inbox.mkdir()
    copy(scene, inbox / "scene.vrt", driver="VRT")
    arguments = "run", "--planet", inbox / "scene.vrt", "--sar", sar, "-o", tmp_path / "out.tif"
    result = cli(*arguments)
    assert result.exit_code == 1
    assert "--trust-inputs" in result.stderr
    assert not (tmp_path / "out.tif").exists()
    assert cli(*arguments, "--trust-inputs").exit_code == 0
    with rasterio.open(tmp_path / "out.tif") as dataset:
        assert any("trust_inputs" in value for value in dataset.tags().values())


@pytest.mark.parametrize("command", ["samples", "train", "adapt"])
def test_a_seed_below_zero_is_a_wrong_command_line(cli: Cli, command: str) -> None:
    """No generator takes one."""
    result = cli(command, "--seed", "-1")
    assert result.exit_code == 2
    assert "'--seed': -1 is not in the range 0<=x<=" in result.output


@pytest.mark.attack(10)
@pytest.mark.parametrize("value", ["nan", "inf", "1e40"])
@pytest.mark.parametrize(
    ("command", "option", "allowed"),
    [
        ("train", "--minutes", "0<x<="),
        ("train", "--learning-rate", "0<x<="),
        ("adapt", "--minutes", "0<x<="),
        ("run", "--adapt", "0<=x<="),
        ("run", "--sar-scale", "<=x<="),
        ("run", "--tile", "integer"),
    ],
)
def test_numbers_are_finite_and_bounded(cli: Cli, command: str, option: str, allowed: str, value: str) -> None:
    result = cli(command, option, value)
    assert result.exit_code == 2
    assert f"'{option}': " in result.output
    assert allowed in result.output
