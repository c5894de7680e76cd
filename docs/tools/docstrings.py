"""Extension of griffe, which reads docstrings for the Python reference: fields that a class explains become a list.

    tile, overlap: in pixels, ...

is how this package writes them, each on lines of its own.
"""

from __future__ import annotations

import re
from typing import Any

import griffe

_FIELDS = re.compile(r"^(\w+(?:, \w+)*): (?=\S)", re.MULTILINE)


class FieldsAsList(griffe.Extension):
    """Makes items of a list of such lines."""

    def on_class(self, *, cls: griffe.Class, **_: Any) -> None:
        """Called with each class when all of it is known."""
        if cls.docstring and len(_FIELDS.findall(cls.docstring.value)) > 1:
            summary, _blank, rest = cls.docstring.value.partition("\n\n")
            cls.docstring.value = f"{summary}\n\n{_FIELDS.sub(_item, rest)}"


def _item(fields: re.Match[str]) -> str:
    return "- " + ", ".join(f"`{name}`" for name in fields[1].split(", ")) + ": "
