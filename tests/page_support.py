"""Pages as a test sees them: their elements, what they would fetch, and their pictures as pixels."""

from __future__ import annotations

import base64
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
from rasterio.io import MemoryFile

_VOID = {"meta", "img", "input", "br"}
_FETCHING = {"src", "href", "srcset", "poster", "data", "action"}


class Page(HTMLParser):
    """A page's elements as (tag, attributes), and the text inside each kind of them."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: dict[str, list[str]] = {}
        self.open: list[str] = []
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)
        self.close()
        assert not self.open, "every element is closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {key: value or "" for key, value in attrs}))
        if tag not in _VOID:
            self.open.append(tag)
            self.texts.setdefault(tag, []).append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {key: value or "" for key, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        for tag in set(self.open):
            self.texts[tag][-1] += data

    def all(self, tag: str, **wanted: str) -> list[dict[str, str]]:
        """The attributes of each element of a kind."""
        return [
            attributes for name, attributes in self.elements if name == tag and wanted.items() <= attributes.items()
        ]

    def text(self, tag: str) -> str:
        return " ".join(" ".join(self.texts.get(tag, [])).split())

    @property
    def fetched(self) -> set[str]:
        """What a browser would ask for to show it; links that a reader follows are none of it."""
        asked = {
            value
            for tag, attributes in self.elements
            if tag != "a"
            for key, value in attributes.items()
            if key in _FETCHING
        }
        return {address for address in asked if not address.startswith("data:")} | set(
            re.findall(r"url\(|@import", self.source)
        )

    @property
    def numbers(self) -> dict[str, Any]:
        """What it carries as JSON."""
        match = re.search(r'<script type="application/json" id="cloudfree">(.*?)</script>', self.source, re.DOTALL)
        assert match
        return json.loads(match[1])

    def pictures(self) -> dict[str, np.ndarray]:
        """Pixels (bands, H, W) of each image, by its alternative text."""
        return {element["alt"]: decoded(element["src"]) for element in self.all("img")}


def decoded(uri: str) -> np.ndarray:
    """The pixels (bands, H, W) of a data URI."""
    kind, _, content = uri.partition(";base64,")
    assert kind in ("data:image/webp", "data:image/png")
    with MemoryFile(base64.b64decode(content)) as file, file.open() as image:
        return image.read()
