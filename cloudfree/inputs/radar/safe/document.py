"""XML files of a Sentinel-1 product; what they lack, or how they are damaged, is one clear line."""

from __future__ import annotations

from dataclasses import dataclass
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import numpy as np

from cloudfree.arrays import Float64Array
from cloudfree.errors import UNPARSABLE, InputError
from cloudfree.inputs.location.source import Source
from cloudfree.inputs.values import REALS


@dataclass(frozen=True)
class Document:
    """A parsed file. Paths are those of ElementTree, from `within` or from the root; `name` is for messages."""

    name: str
    root: Element

    @classmethod
    def of(cls, file: Source) -> Document:
        """The document in a file. Raises InputError where that cannot be read or is no XML."""
        return cls.parse(file.name, file.read_bytes())

    @classmethod
    def parse(cls, name: str, content: bytes) -> Document:
        """The document in the content of a file. Raises InputError where that is no XML."""
        try:
            return cls(name, ElementTree.fromstring(content))
        except UNPARSABLE as error:
            raise InputError(
                f"{name} is damaged XML ({error}); the file as ESA delivers it is needed: fetch the product again"
            ) from error

    def text(self, path: str, within: Element | None = None) -> str:
        """The text of the first element at a path. Raises InputError where there is none."""
        text = self.text_or_none(path, within)
        if not text:
            raise self.wrong(f"has no {path.rpartition('/')[2]}")
        return text

    def text_or_none(self, path: str, within: Element | None = None) -> str | None:
        """The text of the first element at a path, None where there is none."""
        return ((self.root if within is None else within).findtext(path) or "").strip() or None

    def numbers(self, path: str, within: Element | None = None) -> Float64Array:
        """The numbers (N,) that the text of an element lists, one at least, none endless. Raises InputError."""
        try:
            numbers = np.array(self.text(path, within).split(), np.float64)
        except UNPARSABLE:
            numbers = np.array([np.nan])
        if not (np.abs(numbers) <= REALS.most).all():
            raise self.wrong(f"has something else than numbers in {path.rpartition('/')[2]}")
        return numbers

    def number(self, path: str, within: Element | None = None) -> float:
        """One finite number. Raises InputError."""
        return float(self.numbers(path, within)[0])

    def wrong(self, what: str) -> InputError:
        """The error that a file is not what it should be; `what` starts with a verb."""
        return InputError(f"{self.name} {what}; the file as ESA delivers it is needed: fetch the product again")
