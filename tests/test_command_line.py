"""The command line: help in two screens, files named after the product, the environment, and TAB."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import numpy as np
import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner, Result

from cloudfree.cli import main
from cloudfree.cli.screens import GROUPS, TwoScreens
from cloudfree.network.registry import registered_names
from cloudfree.network.weights import registry
from cloudfree.product.kinds import ALSO, BESIDE

Cli = Callable[..., Result]
Make = Callable[..., Path]

FAST = "--weights", "identity", "--find-clouds", "never", "--edge-limit", "0"
BOTH = pytest.mark.parametrize("command", ["run", "batch"])


def screen(*words: str) -> list[str]:
    done = CliRunner().invoke(main, [*words], env={"COLUMNS": "80"}, terminal_width=80)
    assert done.exit_code == 0, done.output
    return done.output.splitlines()


def every_command(command: click.Command = main, name: str = "") -> Iterator[tuple[str, click.Command]]:
    yield name.strip(), command
    for below, one in getattr(command, "commands", {}).items():
        yield from every_command(one, f"{name} {below}")


COMMANDS = dict(every_command())


def options_of(command: str) -> dict[str, click.Option]:
    """By the names that users type."""
    return {max(one.opts, key=len): one for one in COMMANDS[command].params if isinstance(one, click.Option)}


# --- help ---


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_has_help_and_every_screen_fits_into_80_columns(name: str) -> None:
    assert not [one.opts for one in COMMANDS[name].params if isinstance(one, click.Option) and not one.help]
    assert max(map(len, screen(*name.split(), "--help"))) <= 80


@BOTH
def test_the_first_screen_has_what_most_need_in_the_order_of_use(command: str) -> None:
    lines = screen(command, "--help")
    titles = [line[:-1] for line in lines if line.endswith(":") and not line.startswith(" ")]
    area = ["Area"] if command == "run" else []
    assert titles == ["Inputs", *area, "Output", "Clouds", "Run"]
    assert 10 <= sum(line.startswith("  -") for line in lines) <= 20
    assert len(lines) <= 64
    assert lines[-2] == "  Example:"
    assert not [line for line in lines if line.endswith("[default:")]
    assert "\N{NO-BREAK SPACE}" not in "".join(lines)


@BOTH
def test_the_second_screen_has_every_option_once(command: str) -> None:
    lines = screen(command, "--help-all")
    assert max(map(len, lines)) <= 80
    long = sorted(next(word for word in line.split() if word.startswith("--")) for line in lines if line[:3] == "  -")
    assert long == sorted({*options_of(command), "--help", "--help-all"})
    titles = [line[:-1] for line in lines if line.endswith(":") and not line.startswith(" ")]
    assert titles[-3:] == ["What the files mean", "Network", "Operation"]


def test_every_option_has_its_place_in_the_table_of_groups() -> None:
    placed = [name for group in GROUPS for name in (*group.first, *group.more)]
    assert len(set(placed)) == len(placed)
    assert set(placed) == {*options_of("run"), *options_of("batch"), "--help", "--help-all"}


def test_an_option_without_a_place_is_shown_in_the_last_group() -> None:
    command = TwoScreens("x", params=[click.Option(["--new"], help="Something new.")])
    (*_, (title, last)) = command.grouped(click.Context(command), everything=True)
    assert (title, [one.opts for one in last]) == ("Operation", [["--new"]])
    assert "--new" not in command.get_help(click.Context(command))


@BOTH
def test_the_example_is_a_command_that_parses(command: str) -> None:
    words = screen(command, "--help")[-1].split()
    assert words[:2] == ["cloudfree", command]
    context = COMMANDS[command].make_context(command, words[2:], parent=click.Context(main))
    assert context.params["also"] == ("qa", "report")


# --- files named after the product ---


@pytest.fixture
def files(make_scene: Make, make_sar: Make, make_mask: Make) -> list[str]:
    mask = make_mask(np.pad(np.ones((20, 20)), 38))
    return ["--planet", str(make_scene()), "--sar", str(make_sar()), "--mask", str(mask)]


def beside(folder: Path, stem: str) -> set[str]:
    return {path.name for path in folder.glob(f"{stem}*")}


def test_files_are_named_after_the_product(cli: Cli, files: list[str], tmp_path: Path) -> None:
    done = cli("run", *files, "-o", tmp_path / "clear.tif", *FAST, "--also", "report, QA,mask", "--json")
    assert done.exit_code == 0, done.output
    assert beside(tmp_path, "clear") == {"clear.tif", "clear_qa.tif", "clear_mask.tif", "clear.html"}
    answer = json.loads(done.stdout)
    assert answer["write_mask"] == str(tmp_path / "clear_mask.tif")


def test_a_path_of_its_own_wins_over_also(cli: Cli, files: list[str], tmp_path: Path) -> None:
    words = "-o", tmp_path / "clear.tif", "--qa", tmp_path / "mine.tif", "--also", "qa,quicklook"
    assert cli("run", *files, *words, *FAST).exit_code == 0
    assert beside(tmp_path, "clear") == {"clear.tif", "clear.png"}
    assert (tmp_path / "mine.tif").exists()


def test_a_batch_takes_flags_and_also_together(cli: Cli, files: list[str], tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("planet,sar,mask\n" + ",".join(files[1::2]) + "\n")
    done = cli("batch", tmp_path / "list.csv", "-o", tmp_path / "made", *FAST, "--also", "quicklook", "--qa")
    assert done.exit_code == 0, done.output
    stem = "scene_cloudfree"
    assert beside(tmp_path / "made", stem) == {f"{stem}.tif", f"{stem}.png", f"{stem}_qa.tif"}


@BOTH
def test_a_kind_that_is_none_is_refused_with_those_that_are(cli: Cli, command: str, tmp_path: Path) -> None:
    words = ["--planet", "a.tif"] if command == "run" else ["list.csv"]
    done = cli(command, *words, "-o", tmp_path / "out.tif", "--also", "qa,ndvi")
    assert done.exit_code == 2
    assert "'ndvi' is no kind of file; give any of qa,uncertainty,mask,quicklook,report,stac" in done.stderr


def test_also_has_a_word_for_each_kind() -> None:
    assert [kind.word for kind in BESIDE] == ["qa", "uncertainty", "mask", "quicklook", "report", "stac"]
    assert (*(kind.word for kind in BESIDE), "style") == ALSO


def test_a_style_stands_beside_each_raster_and_is_made_again_where_it_is_gone(
    cli: Cli, files: list[str], tmp_path: Path
) -> None:
    folder = tmp_path / "made"
    folder.mkdir()
    done = cli("run", *files, "-o", folder / "clear.tif", "--qa", folder / "classes.tif", "--also", "style", *FAST)
    assert done.exit_code == 0, done.output
    assert {path.name for path in folder.iterdir()} == {"clear.tif", "clear.qml", "classes.tif", "classes.qml"}
    again = cli("run", *files, "-o", folder / "clear.tif", "--also", "style", *FAST)
    assert again.exit_code == 1
    assert "exists" in again.stderr


def test_a_style_of_the_users_own_is_kept_by_a_batch_and_none_makes_a_product_again(
    cli: Cli, files: list[str], tmp_path: Path
) -> None:
    (tmp_path / "list.csv").write_text(f"planet,sar\n{files[1]},{files[3]}\n")
    words = "batch", tmp_path / "list.csv", "-o", tmp_path / "made", "--also", "style", *FAST, "--json"
    (first,) = json.loads(cli(*words).stdout)
    (style,) = (tmp_path / "made").glob("*.qml")
    style.write_text("mine")
    (second,) = json.loads(cli(*words).stdout)
    assert (first["status"], second["status"], style.read_text()) == ("made", "skipped", "mine")
    (third,) = json.loads(cli(*words, "--buffer", 60).stdout)
    assert third["status"] == "failed"
    assert "is no product of cloudfree and is kept" in third["error"]
    assert style.read_text() == "mine"


@pytest.mark.parametrize("value", ["true", "TRUE"])
def test_yes_in_the_environment_names_a_file_after_the_product(
    cli: Cli, files: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("CLOUDFREE_RUN_QA", value)
    monkeypatch.setenv("CLOUDFREE_RUN_STAC", "false")
    assert cli("run", *files, "-o", tmp_path / "clear.tif", *FAST).exit_code == 0
    assert (tmp_path / "clear_qa.tif").exists()
    assert not (tmp_path / "clear.json").exists()


@pytest.mark.parametrize("words", [("run", "--planet", ""), ("run", "-o", ""), ("batch", ""), ("batch", "a", "-o", "")])
def test_an_empty_name_is_refused_in_a_line(cli: Cli, words: tuple[str, ...]) -> None:
    done = cli(*words)
    assert done.exit_code == 2
    assert "is empty; " in done.stderr


@pytest.mark.parametrize("text", ["qa = true\nstac = false", 'also = "qa"', 'also = ["qa"]', "[run]\nqa = true"])
def test_yes_in_a_file_of_options_names_it_after_the_product(
    cli: Cli, files: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "c.toml").write_text(f"{text}\n")
    before = {path.name for path in tmp_path.iterdir()}
    done = cli("--config", "c.toml", "run", *files, "-o", "clear.tif", *FAST)
    assert done.exit_code == 0, done.output
    assert {path.name for path in tmp_path.iterdir()} - before == {"clear.tif", "clear_qa.tif"}


@pytest.mark.parametrize("key", ["output", "planet", "device", "weights", "tile", "log-file"])
def test_yes_for_what_needs_a_value_is_refused(cli: Cli, files: list[str], tmp_path: Path, key: str) -> None:
    (tmp_path / "c.toml").write_text(f"[run]\n{key} = true\n")
    done = cli("--config", tmp_path / "c.toml", "run", *files, "-o", tmp_path / "clear.tif", *FAST)
    assert done.exit_code == 2
    assert f"has {key} as true; a value is needed" in done.stderr
    assert not (tmp_path / "clear.tif").exists()


def test_yes_for_all_commands_is_for_those_that_take_it(cli: Cli, tmp_path: Path) -> None:
    """`align` has a quicklook too, which is named after nothing."""
    (tmp_path / "c.toml").write_text("quicklook = true\n")
    words = "align", "--planet", tmp_path / "a.tif", "--sar", tmp_path / "b.tif", "-o", tmp_path / "c.tif"
    assert "a.tif does not exist" in cli("--config", tmp_path / "c.toml", *words).stderr


def test_a_file_named_after_the_product_takes_no_log(cli: Cli, files: list[str], tmp_path: Path) -> None:
    log = tmp_path / "clear_qa.tif"
    done = cli("run", *files, "-o", tmp_path / "clear.tif", *FAST, "--also", "qa", "--log-file", log)
    assert done.exit_code == 1
    assert "is an output too; --log-file needs a text file of its own" in done.stderr


# --- the environment ---

ODD = {
    **{"--bbox": "1,2,3,4", "--also": "qa", "--fill": "clouds", "--without-sar": "keep", "--find-clouds": "never"},
    **{"--find-clouds-with": "csmask", "--precision": "fp32", "--coregister": "off", "--compress": "lzw"},
    **{"--planet-quantity": "radiance", "--sar-units": "db", "--mask-unknown": "clear", "--log-format": "json"},
    **{"--planet-bands": "1,2,3,4", "--sar-bands": "1,2", "--planet-scale": "0.5", "--batch": "3"},
    **{"--new-references": "remake", "--without-radar": "allow"},
}
"""Values of options that take no number and no name of a file."""

EACH = [(command, name) for command in ("run", "batch") for name in options_of(command)]


@pytest.mark.parametrize(("command", "name"), EACH)
def test_each_option_comes_from_a_variable_of_its_name(
    command: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    option = options_of(command)[name]
    variables = {f"CLOUDFREE_{command}_{name[2:]}", f"CLOUDFREE_{command}_{option.name}"}
    for variable in (text.replace("-", "_").upper() for text in variables):
        with monkeypatch.context() as environment:
            value = "1" if option.is_flag else ODD.get(name, "7")
            words = ["--planet", "a.tif", "-o", "b.tif"] if command == "run" else ["list.csv", "-o", "made"]
            typed = max(set(option.opts) & set(words), default=None)
            if typed:
                at = words.index(typed)
                del words[at : at + 2]
            environment.setenv(variable, value)
            outer = click.Context(main, info_name="cloudfree", auto_envvar_prefix="CLOUDFREE")
            inner = COMMANDS[command].make_context(command, words, parent=outer)
            assert inner.get_parameter_source(option.name) == click.core.ParameterSource.ENVIRONMENT, variable


def test_a_variable_does_what_its_option_does(
    cli: Cli, files: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLOUDFREE_RUN_BUFFER", "12")
    monkeypatch.setenv("CLOUDFREE_RUN_ALSO", "qa")
    done = cli("run", *files, "-o", tmp_path / "clear.tif", *FAST, "--dry-run")
    assert done.exit_code == 0, done.output
    sources = json.loads(done.stdout)["option_sources"]
    assert sources["--buffer"] == {"value": "12.0", "from": "environment"}
    assert sources["--also"] == {"value": "qa", "from": "environment"}


def test_no_variable_asks_for_help(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLOUDFREE_RUN_HELP_ALL", "1")
    assert "does not exist" in cli("run", "--planet", tmp_path / "a.tif", "-o", "b.tif", *FAST).stderr


# --- TAB ---


def completed(*words: str, at: str = "") -> tuple[set[str], set[str]]:
    """What TAB offers after some words: words, and kinds of names that the shell completes."""
    found = ShellComplete(main, {}, "cloudfree", "_CLOUDFREE_COMPLETE").get_completions(list(words), at)
    return {one.value for one in found if one.type == "plain"}, {one.type for one in found} - {"plain"}


@pytest.mark.parametrize("option", ["--planet", "--sar", "--udm2", "--mask", "--reference", "--aoi", "-o", "--qa"])
def test_names_of_files_complete(option: str) -> None:
    assert completed("run", option, at="sc") == (set(), {"file"})
    assert completed("info", at="sc") == (set(), {"file"})


def test_weights_complete_by_name_or_file() -> None:
    assert registered_names() == [entry.name for entry in registry()]
    for command in ("run", "batch", "demo", "adapt", "evaluate", "train"):
        assert {"auto", "identity", "u-net-small"} <= completed(command, "--weights")[0]
    assert completed("run", "--weights", at="id") == ({"identity"}, set())
    assert completed("run", "--weights", at="./own") == (set(), {"file"})
    assert "identity" in completed("weights", "verify")[0]


def test_presets_devices_and_kinds_complete() -> None:
    assert "scl" in completed("run", "--mask-values")[0]
    assert "udm1" in completed("batch", "--mask-bits")[0]
    assert completed("run", "--mask-bits", at="9") == (set(), set())
    assert completed("run", "--device", at="c")[0] == {"cpu", "cuda"}
    assert completed("run", "--also")[0] == set(ALSO)
    assert completed("run", "--also", at="qa,re")[0] == {"qa,report"}
    assert completed("run", "--also", at="qa,q")[0] == {"qa,quicklook"}
    assert "--also" in completed("batch", at="--al")[0]
    assert {"--help", "--help-all"} <= completed("run", at="--help")[0]


@pytest.mark.parametrize("words", ["run --weights ", "run --device ", "run --mask-values ", "run --also "])
def test_a_key_press_is_answered_without_torch(words: str) -> None:
    code = "import sys; from cloudfree.cli import main\ntry: main(prog_name='cloudfree')\nexcept SystemExit: pass\n"
    code += "assert 'torch' not in sys.modules"
    shell = {"_CLOUDFREE_COMPLETE": "bash_complete", "COMP_WORDS": f"cloudfree {words}", "COMP_CWORD": "3"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | shell, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) > 2
