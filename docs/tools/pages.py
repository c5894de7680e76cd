"""Hook of mkdocs: pages of the site that do not lie in `docs/`, and links to them.

Notebooks become pages, with the outputs that are stored in them (`refresh.py` runs them). Documents of the repository
that belong to readers too are pages as they stand, and links to its other files are shown as their names.
"""

from __future__ import annotations

import json
import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

REPOSITORY = Path(__file__).resolve().parents[2]

PAGES = {
    "SECURITY.md": "development/security.md",
    "CONTRIBUTING.md": "development/contributing.md",
    "CHANGELOG.md": "development/changelog.md",
    "weights/README.md": "development/model_cards.md",
    "sample_data/README.md": "development/sample_data.md",
    "benchmarks/README.md": "development/benchmarks.md",
    "benchmarks/quality/README.md": "development/benchmarks_quality.md",
    "benchmarks/coregister/README.md": "development/benchmarks_coregister.md",
}
"""Documents of the repository by their paths, and the pages that they are."""

_LINK = re.compile(r"(?<!!)\[([^\]]*)\]\(([^)#:\s]+)(#[^)\s]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the documents of the repository and a page for each notebook."""
    docs = Path(config.docs_dir)
    for path, page in PAGES.items():
        files.append(File.generated(config, page, content=(REPOSITORY / path).read_text("utf-8")))
    for notebook in sorted(docs.glob("notebooks/*.ipynb")):
        name = notebook.relative_to(docs).with_suffix(".md").as_posix()
        files.append(File.generated(config, name, content=as_markdown(json.loads(notebook.read_text("utf-8")))))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Make links to files of the repository links to their pages, or names where they have none."""
    here = page.file.src_uri
    origin = next((path for path, name in PAGES.items() if name == here), f"docs/{here}")
    return _LINK.sub(lambda link: _linked(link, origin, here), markdown)


def _linked(link: re.Match[str], origin: str, here: str) -> str:
    """One link of the document `origin`, which is the page `here`."""
    text, target, anchor = link[1], link[2], link[3] or ""
    path = posixpath.normpath(posixpath.join(posixpath.dirname(origin), target))
    page = PAGES.get(path) or (path.removeprefix("docs/") if path.startswith("docs/") else None)
    page = page and re.sub(r"\.ipynb$", ".md", page)
    if page is None:
        return text
    return f"[{text}]({posixpath.relpath(page, posixpath.dirname(here))}{anchor})"


def as_markdown(notebook: dict[str, Any]) -> str:
    """Return the cells of a notebook as Markdown, code with the text and the pictures that it gave."""
    parts = []
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
        else:
            parts += [f"```python\n{source}\n```", *map(_output, cell["outputs"])]
    return "\n\n".join(parts) + "\n"


def _output(output: dict[str, Any]) -> str:
    """Return one output of a cell: printed text, or a picture as part of the page."""
    if output["output_type"] == "stream":
        return f"```text\n{''.join(output['text']).rstrip()}\n```"
    return f"![{''.join(output['data']['text/plain'])}](data:image/png;base64,{output['data']['image/png'].strip()})"
