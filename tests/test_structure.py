"""The promises that the code makes about itself."""

import ast
import subprocess
import sys
from pathlib import Path

import cloudfree

PACKAGE = Path(cloudfree.__file__).parent


def imports_of(path: Path) -> set[str]:
    """Modules of cloudfree that a file imports, at the top or within."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("cloudfree"):
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if module_file(name) else node.module for name in names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.startswith("cloudfree.")}
    return found - {"cloudfree"}


def module_file(name: str) -> Path | None:
    stem = PACKAGE.parent / Path(*name.split("."))
    return next((p for p in (stem.with_suffix(".py"), stem / "__init__.py") if p.is_file()), None)


def test_imports_go_one_way() -> None:
    """From verbs to nouns, never back: no module is reached from itself."""
    names = {
        ".".join(p.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): p
        for p in PACKAGE.rglob("*.py")
    }
    graph = {name: imports_of(path) for name, path in names.items() if name != "cloudfree"}
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, f"import cycle: {' -> '.join((*path, name))}"
        if name not in done:
            for other in graph.get(name, ()):
                visit(other, (*path, name))
            done.add(name)

    for name in graph:
        visit(name, ())


def test_help_is_instant_because_torch_is_not_imported() -> None:
    code = "import sys; from cloudfree.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
    code += "assert not {'torch', 'rasterio', 'scipy'} & set(sys.modules), 'heavy imports'"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "run" in done.stdout


def test_running_the_module_is_running_the_command() -> None:
    done = subprocess.run([sys.executable, "-m", "cloudfree", "--version"], capture_output=True, text=True, check=True)
    assert cloudfree.__version__ in done.stdout
