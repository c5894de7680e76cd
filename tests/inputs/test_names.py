"""Names and addresses as users, lists and folders have them: read, or refused in one line that shows no secret."""

import json
import os
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
import rasterio
from click.testing import CliRunner, Result

from cloudfree.cli import main
from cloudfree.errors import InputError, showable, without_secrets
from cloudfree.inputs.files import InputOptions
from cloudfree.inputs.location.names import local_file
from cloudfree.inputs.location.source import Source

Make = Callable[..., Path]
Cli = Callable[..., Result]

SECRET = "S3CR3T"
HOST = "127.0.0.1:9"  # discard: nobody listens
ADDRESSES = [
    f"HTTP://user:{SECRET}@{HOST}/x.tif",
    f"HTTPS://{HOST}/x.tif?sig={SECRET}",
    f"https://{HOST}/x.tif#{SECRET}",
    f"https://{HOST}/x.tif;token={SECRET}",
    f"https://{HOST}/a;token={SECRET}/x.tif",
    f"https://u:a/{SECRET}@{HOST}/x.tif",
    f"https://u:a?{SECRET}@{HOST}/x.tif",
    f"https:/u:{SECRET}@{HOST}/x.tif",
    f"ftp://u:{SECRET}@{HOST}/x.tif",
    f"sftp://user:{SECRET}@host/x.tif",
    f"user:{SECRET}@host:/x.tif",
    f"file://user:{SECRET}@host/x.tif",
    f"file:///x.tif?token={SECRET}",
    f"file:///x.tif#{SECRET}",
    f"s3://bucket/x.tif?sig={SECRET}",
    f"S3://bucket/x.tif?sig={SECRET}",
    f"/vsis3/bucket/x.tif?sig={SECRET}",
    f"/vsicurl/https://u:{SECRET}@{HOST}/x.tif",
    f"/VSICURL/https://u:{SECRET}@{HOST}/x.tif",
    f"/vsicurl?url=https%3A%2F%2Fu%3A{SECRET}%40127.0.0.1%3A9%2Fx.tif",
    f"/vsicurl?header.Authorization={SECRET}&url=http://{HOST}/x.tif",
    f"/vsicurl_streaming/https://u:{SECRET}@{HOST}/x.tif",
    f"/vsicrypt/key={SECRET},file=x.tif",
    f"/vsizip//vsicurl/https://u:{SECRET}@{HOST}/o.zip/a.tif",
    f"zip+https://u:{SECRET}@{HOST}/o.zip!a.tif",
    f"zip+HTTPS://{HOST}/o.zip?sig={SECRET}!a.tif",
    f'NETCDF:"https://u:{SECRET}@{HOST}/x.nc":VV',
    f"netcdf:https://u:{SECRET}@{HOST}/x.nc",
    f"WMS:https://u:{SECRET}@host/wms",
]


def words_of(*arguments: object) -> str:
    """All that a command says, which is a line or Click's words, and no traceback."""
    done = CliRunner().invoke(main, [str(argument) for argument in arguments])
    if done.exception and not isinstance(done.exception, SystemExit):
        traceback.print_exception(done.exception)
    assert isinstance(done.exception, SystemExit)
    return done.stdout + done.stderr


@pytest.mark.attack(9)
@pytest.mark.parametrize("address", ADDRESSES)
def test_secrets_of_addresses_are_shown_nowhere(
    address: str, make_scene: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GDAL_HTTP_MAX_RETRY", "0")
    monkeypatch.setenv("AWS_NO_SIGN_REQUEST", "YES")
    monkeypatch.setenv("AWS_S3_ENDPOINT", HOST)
    scene = make_scene()
    (tmp_path / "c.toml").write_text(f"weights = {json.dumps(address)}\n")
    run = "run", "--planet", scene, "-o", "out.tif"
    for arguments in (
        ("run", "--planet", address, "-o", "out.tif", "-v"),
        ("run", "--planet", address, "-o", "out.tif", "--json", "--log-format", "json"),
        ("run", "--planet", scene, "-o", address, "--find-clouds", "never"),
        (*run, "--sar", address),
        (*run, "--aoi", address),
        (*run, "--weights", address),
        (*run, "--tile", address),
        ("info", address),
        ("--config", address, "info", scene),
        ("--config", "c.toml", *run, "--dry-run"),
    ):
        assert SECRET not in words_of(*arguments)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c.toml", "scene.tif"]


@pytest.mark.attack(9)
@pytest.mark.parametrize(
    "address", [*ADDRESSES, f"https://u:a '{SECRET}@{HOST}/x.tif", f"https://{HOST}/a b.tif?sig=a {SECRET}"]
)
def test_sources_and_options_show_no_secret(address: str) -> None:
    try:
        planet = InputOptions.of(address, None).planet
        said = without_secrets(f"'{planet.address}' not recognized")  # as GDAL says
        shown = str(planet), repr(planet), planet.name, planet.stem, planet.as_written, said
    except InputError as refused:
        shown = (refused.message,)
    assert SECRET not in "".join(shown)


@pytest.mark.attack(9)
@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("HTTP 403: https://h/a.tif?sig=x (denied); give up", "HTTP 403: https://h/a.tif (denied); give up"),
        ("see https://h:81/a@2x/b.tif; or ask", "see https://2x/b.tif; or ask"),
        ("'/vsicurl/https://u:p@[::1]:8/a.tif?x' is none", "'/vsicurl/https://[::1]:8/a.tif' is none"),
        ("from https%3A%2F%2Fu%3Ap%40h%2Fa.tif, said", "from https://h/a.tif, said"),
        ("ssh me:word@host:/a", "ssh host:/a"),
        (
            "zip://ARCHIVE!FILE and zip+https://HOST/ARCHIVE!FILE",
            "zip://ARCHIVE!FILE and zip+https://HOST/ARCHIVE!FILE",
        ),
        ("C:/a/b.tif: 12:30, netcdf:FILE:VARIABLE", "C:/a/b.tif: 12:30, netcdf:FILE:VARIABLE"),
    ],
)
def test_what_is_shown_of_addresses_in_a_text(text: str, shown: str) -> None:
    assert without_secrets(text) == shown


@pytest.mark.attack(9)
@pytest.mark.parametrize(
    "address",
    [
        "sftp://host/a.tif",
        "WMS:https://host/wms",
        "gopher:host",
        "/vsistdin/",
        "/vsisubfile/0_9,a",
        "/vsicurl_streaming/x",
        Path("sftp://host/a.tif"),
    ],
)
def test_addresses_of_unknown_kinds_are_refused(address: str | Path) -> None:
    with pytest.raises(InputError) as refused:
        Source.of(address)
    assert "; " in refused.value.message


@pytest.mark.attack(9)
def test_a_file_that_is_called_like_an_address_asks_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """GDAL makes requests of names like `https:host`, which a folder may hold."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "https:host").write_text("no raster")
    for name in ("https:host", Path("https:host"), *Path().iterdir()):
        assert Source.of(name).address == str(tmp_path / "https:host")


@pytest.mark.parametrize(
    ("written", "address", "shown"),
    [
        ("HTTPS://host/A.tif?x=1", "/vsicurl/https://host/A.tif?x=1", "https://host/A.tif"),
        ("file:///a/b%20c.tif", "/a/b c.tif", "/a/b c.tif"),
        ("FILE://localhost/a.tif", "/a.tif", "/a.tif"),
        (
            "zip+https://h/o.zip?s=1!b/VV.tif",
            "/vsizip/{/vsicurl/https://h/o.zip?s=1}/b/VV.tif",
            "https://h/o.zip/b/VV.tif",
        ),
        ("/vsicurl?url=https%3A%2F%2Fh%2Fx.tif", "/vsicurl?url=https%3A%2F%2Fh%2Fx.tif", "https://h/x.tif"),
    ],
)
def test_known_addresses_in_other_forms(written: str, address: str, shown: str) -> None:
    assert (Source.of(written).address, str(Source.of(written))) == (address, shown)


# --- names that nothing can read ---

NO_UTF8 = os.fsdecode(b"sc\xe9ne.tif")
ODD_NAMES = [NO_UTF8, "a\0b.tif", "x" * 300 + ".tif", "/".join(["x"] * 3000), os.fsdecode(b"f\xe9/scene.tif")]


@pytest.mark.attack(9)
@pytest.mark.parametrize("name", ODD_NAMES)
def test_names_that_nothing_can_read_are_refused(name: str) -> None:
    for read in (Source.of, local_file, lambda text: Source.of(Path(text)), lambda text: InputOptions.of(text, None)):
        with pytest.raises(InputError) as refused:
            read(name)
        assert refused.value.message.isprintable()


@pytest.mark.attack(9)
def test_a_name_that_is_no_utf8_is_one_line_in_every_place(
    cli: Cli, make_scene: Make, make_sar: Make, tmp_path: Path
) -> None:
    scene, sar, odd = make_scene(), make_sar(), tmp_path / NO_UTF8
    odd.write_bytes(scene.read_bytes())
    before = sorted(tmp_path.iterdir())
    run = ["run", "--planet", scene, "--sar", sar, "-o", tmp_path / "out.tif", "--find-clouds", "never"]
    for place, option in ((2, []), (4, []), (6, []), (6, ["--json", "--log-format", "json"])):
        arguments = [*run[:place], odd, *run[place + 1 :], "--weights", "identity", *option]
        done = CliRunner().invoke(main, list(map(os.fspath, arguments)))
        assert done.exit_code == 1
        assert len(done.stderr.splitlines()) == 1
        assert "no UTF-8" in done.stderr
        if option:
            assert "sc\\udce9ne.tif" in json.loads(done.stdout)["error"]
    for option in ("--aoi", "--report", "--log-file", "--weights"):
        done = CliRunner().invoke(main, list(map(os.fspath, [*run, option, odd])))
        assert (done.exit_code, len(done.stderr.splitlines())) == (1, 1)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.attack(9)
def test_a_name_that_is_no_utf8_beside_a_scene_is_passed_over(cli: Cli, make_scene: Make, tmp_path: Path) -> None:
    scene = make_scene()
    (tmp_path / os.fsdecode(b"sc\xe9ne_udm2.tif")).write_bytes(b"")
    assert cli("info", scene).exit_code == 0
    assert [file.name for file in Source.of(scene).beside()] == ["scene.tif"]
    assert [file.name for file in Source.of(tmp_path).files()] == ["scene.tif"]


# --- words that forge lines ---


@pytest.mark.attack(9)
def test_words_of_files_make_no_line_of_their_own(cli: Cli, make_scene: Make, make_sar: Make, tmp_path: Path) -> None:
    forged = "x\nERROR: all is lost\r\x1b[31m\u2028\u202e"
    scene = make_scene(name=f"{forged}.tif", descriptions=tuple(f"{forged}{n}" for n in range(4)))
    for arguments in (
        ("info", scene),
        ("run", "--planet", scene, "-o", tmp_path / "out.tif", "-v", "--fill", forged),
        ("run", "--planet", scene, "-o", tmp_path / "out.tif", "-v", "--mask", scene),
        (forged,),
        ("run", f"--{forged}"),
        ("run", "--planet", scene, "--device", forged, "-o", tmp_path / "out.tif"),
    ):
        said = words_of(*arguments) if arguments[0] != "info" else cli(*arguments).output
        assert not [line for line in said.split("\n") if line.startswith(("ERROR", "\x1b"))]
        assert said.replace("\n", "").isprintable()
    assert showable("a\nb") == "a\\nb"


@pytest.mark.attack(9)
def test_words_of_files_are_words_in_products_and_pages(
    cli: Cli, make_scene: Make, make_sar: Make, tmp_path: Path
) -> None:
    folder = tmp_path / "p<" / "script><img src=x onerror=alert(1)>"
    folder.mkdir(parents=True)
    name = "20240615_101530_84_2481\x1b[31m\n<u>\u202e\"'&"
    scene = make_scene(name=str(folder / f"{name}.tif"))
    with rasterio.open(scene, "r+") as dataset:
        dataset.update_tags(DATE="2024-06-15<u>\x1b", units="</script>")
    sides = {"--report": "r.html", "--stac": "s.json", "--log-file": "l.txt"}
    files = [word for option, side in sides.items() for word in (option, folder / side)]
    run = ["run", "--planet", scene, "--sar", make_sar(), "-o", folder / "out.tif", "--weights", "identity"]
    done = cli(*run, "--json", "-v", "--find-clouds", "never", *files)
    assert done.exit_code == 0
    assert not {"\x1b", "\u202e"} & set(done.stderr + (folder / "l.txt").read_text())
    assert json.loads(done.stdout)["output"] == str(folder / "out.tif")
    assert json.loads((folder / "s.json").read_text())["type"] == "Feature"
    page = (folder / "r.html").read_text()
    assert not [words for words in ("<u>", "<img src=x", "\x1b", "</script><") if words in page]
    assert "\u202e" not in page.partition("<script type")[0]
