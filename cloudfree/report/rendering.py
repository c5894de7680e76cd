"""Templates to pages that allow no script, style or picture but their own."""

from __future__ import annotations

import base64
import hashlib
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from cloudfree.errors import in_one_line

if TYPE_CHECKING:
    import jinja2

_TEMPLATES = Path(__file__).parent / "templates"


def rendered(template: str, **values: Any) -> bytes:
    """Return a page of `templates/` in UTF-8. Values are text, and escaped."""
    text = _environment().get_template(template).render(values)
    return text.encode("utf-8", "replace")  # names of files may not be UTF-8


@lru_cache(maxsize=1)
def _environment() -> jinja2.Environment:
    import jinja2  # noqa: PLC0415 - runs without a report do not need it

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        finalize=lambda value: in_one_line(value) if type(value) is str else value,  # a name may turn what follows
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"csp_hash": _csp_hash, "link": link, "thousands": "{:,}".format}
    environment.policies["json.dumps_kwargs"] = {"ensure_ascii": False}
    return environment


def link(path: Path | str) -> str:
    """Return a relative path as a link, percent-encoded, so that no name is taken for an address or a query."""
    return quote(Path(path).as_posix().encode("utf-8", "surrogateescape"))


def _csp_hash(text: str) -> str:
    """Return the source of an inline script or style of this text for a Content-Security-Policy."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode('ascii')}'"
