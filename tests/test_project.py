"""What surrounds the code agrees with it: recipe, workflows, citation, forms."""

import re
import tomllib
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

yaml = pytest.importorskip("yaml")


def read(name: str) -> dict:
    return yaml.safe_load((CHECKOUT / name).read_text(encoding="utf-8"))


def test_the_conda_recipe_has_the_versions_of_the_package() -> None:
    recipe = read("packaging/conda/recipe.yaml")
    assert recipe["context"]["version"] == PROJECT["version"]
    needed = {line.replace(" ", "") for line in recipe["requirements"]["run"]}
    stated = {one.replace("torch>=", "pytorch>=") for one in PROJECT["dependencies"]}
    assert needed == {*stated, f"python{PROJECT['requires-python']}"}


def test_workflows_call_what_make_calls() -> None:
    makefile = (CHECKOUT / "Makefile").read_text(encoding="utf-8")
    jobs = read(".github/workflows/ci.yml")["jobs"]
    lines = [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]
    called = {target for line in lines for target in re.findall(r"\bmake (\w+)", line)}
    assert called == {"test", "docs", "wheel"}
    assert all(f"\n{target}:" in makefile for target in called)


@pytest.mark.parametrize("name", sorted(path.name for path in (CHECKOUT / ".github" / "ISSUE_TEMPLATE").glob("*.yml")))
def test_forms_can_be_read(name: str) -> None:
    form = read(f".github/ISSUE_TEMPLATE/{name}")
    assert name == "config.yml" or all(part["attributes"]["label"] for part in form["body"])


def test_the_citation_has_the_paper() -> None:
    (paper,) = read("CITATION.cff")["references"]
    assert paper["doi"] == "10.1109/TGRS.2023.3337845"
    assert PROJECT["urls"]["Paper"].endswith(paper["doi"])
