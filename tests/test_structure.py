"""The promises that the code makes about itself."""

import ast
import subprocess
import sys
import typing
from pathlib import Path

import pytest

import cloudfree
from cloudfree.plan import Options, RunArguments

PACKAGE = Path(cloudfree.__file__).parent
CHECKOUT = PACKAGE.parent

# From verbs to nouns. A room, or a module at the top, imports from those that stand in a later line.
LEVELS = (
    {"__main__"},
    {"cli"},
    {"demo", "doctor", "batch"},
    {"pipeline", "align"},
    {"planning"},
    {"described"},
    {"plan"},
    {"learn"},
    {"evaluate"},
    {"detect"},
    {"report"},
    {"product"},
    {"reconstruct"},
    {"scene"},
    {"inputs", "network"},
    {"simulate"},
    {"geometry"},
    {"process", "stages"},
    {"arrays", "bands", "errors"},
)
LEVEL_OF = {room: level for level, rooms in enumerate(LEVELS) for room in rooms}
MOST_AT_THE_TOP = 14


def imports_of(path: Path) -> set[str]:
    """Modules of cloudfree that a file imports, at the top or within."""
    imported: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("cloudfree"):
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            imported |= {name if module_file(name) else node.module for name in names}
        elif isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names if alias.name.startswith("cloudfree.")}
    return imported - {"cloudfree"}


def module_file(name: str) -> Path | None:
    stem = CHECKOUT / Path(*name.split("."))
    return next((p for p in (stem.with_suffix(".py"), stem / "__init__.py") if p.is_file()), None)


def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name."""
    return {
        ".".join(p.relative_to(CHECKOUT).with_suffix("").parts).removesuffix(".__init__"): p
        for p in PACKAGE.rglob("*.py")
    }


def room_of(module: str) -> str:
    """The room of a module: `cloudfree.scene.model` is in `scene`, and `cloudfree.grid` is one of its own."""
    return module.split(".")[1]


def test_imports_go_one_way() -> None:
    """From verbs to nouns, never back: no module is reached from itself."""
    graph = {name: imports_of(path) for name, path in modules().items() if name != "cloudfree"}
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, f"import cycle: {' -> '.join((*path, name))}"
        if name not in done:
            for other in graph.get(name, ()):
                visit(other, (*path, name))
            done.add(name)

    for name in graph:
        visit(name, ())


def test_rooms_import_from_rooms_below_them() -> None:
    climbs = [
        f"{name} imports {other}"
        for name, path in modules().items()
        if name != "cloudfree"
        for other in imports_of(path)
        if room_of(other) != room_of(name) and LEVEL_OF[room_of(other)] <= LEVEL_OF[room_of(name)]
    ]
    assert not climbs


def test_the_house_has_few_doors_and_each_is_on_the_map() -> None:
    """At the top there are a dozen modules at most; tests stand in the same rooms; CONTRIBUTING names each."""
    at_the_top = {path.stem for path in PACKAGE.glob("*.py")}
    rooms = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert len(at_the_top) <= MOST_AT_THE_TOP
    assert rooms | at_the_top - {"__init__"} == set(LEVEL_OF)
    tests = {path.name for path in (CHECKOUT / "tests").iterdir() if any(path.glob("test_*.py"))}
    assert tests <= rooms
    contributing = (CHECKOUT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert not [name for name in LEVEL_OF if f"`{name}`" not in contributing and f"`{name}/`" not in contributing]


@pytest.mark.parametrize("room", sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py")))
def test_each_room_says_what_it_is_for(room: str) -> None:
    """And names all of its modules, so that the way in is its first page."""
    text = ast.get_docstring(ast.parse((PACKAGE / room / "__init__.py").read_text(encoding="utf-8")))
    assert text
    inside = {path.stem for path in (PACKAGE / room).glob("*.py")} - {"__init__"}
    inside |= {path.parent.name for path in (PACKAGE / room).glob("*/__init__.py")}
    unnamed = {name for name in inside if f"`{name}`" not in text}
    assert not unnamed or room == "cli"  # one file a command, and --help names them


@pytest.mark.slow
def test_the_public_names_are_there_and_documented() -> None:
    code = """
import cloudfree
from cloudfree.plan import Options, RunArguments
for name in cloudfree.__all__:
    value = getattr(cloudfree, name)
    assert name == "__version__" or (value.__doc__ and len(value.__doc__) > 40), name
assert set(cloudfree.__all__) == set(dir(cloudfree))
try: cloudfree.nothing_of_the_kind
except AttributeError as error: print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "nothing_of_the_kind" in done.stdout, done.stderr
    assert (PACKAGE / "py.typed").exists()


@pytest.mark.slow
def test_nothing_needs_a_module_that_only_unix_has() -> None:
    """`import cloudfree` and every command work on Windows, where these are missing; peak memory is just not told."""
    elsewhere = "triton", "cloudfree.qgis"  # where there is a card, and in QGIS's own Python
    names = sorted(name for name in modules() if not any(place in name for place in elsewhere))
    names.remove("cloudfree.__main__")
    code = f"""
import sys
import typing
for absent in ("resource", "fcntl", "termios", "pwd", "grp"):
    sys.modules[absent] = None
import importlib
for name in {names!r}:
    importlib.import_module(name)
from cloudfree.process import peak_memory_mb
assert peak_memory_mb() is None
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_help_is_instant_because_torch_is_not_imported() -> None:
    code = "import sys; from cloudfree.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
    code += "assert not {'torch', 'rasterio', 'scipy'} & set(sys.modules), 'heavy imports'"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "run" in done.stdout


def test_running_the_module_is_running_the_command() -> None:
    done = subprocess.run([sys.executable, "-m", "cloudfree", "--version"], capture_output=True, text=True, check=True)
    assert cloudfree.__version__ in done.stdout


def test_arguments_of_run_are_the_fields_of_its_options() -> None:
    """`run` names them for type checkers; their defaults and what they mean stand once, in `Options`."""
    options, arguments = typing.get_type_hints(Options), typing.get_type_hints(RunArguments)
    assert set(arguments) == set(options) - {"planet", "sar", "output"}
    of_files = {name for name, kind in options.items() if any(t in str(kind) for t in ("Path", "Source"))}
    for name in set(arguments) - of_files:
        assert arguments[name] == options[name], name
