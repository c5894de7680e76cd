"""One decision on how to read a file, and why, so that a user can see it and overrule it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Decision:
    """`what` was decided, `why`, and the `option` that overrules it, if there is one; all in words."""

    what: str
    why: str
    option: str | None = None

    def __str__(self) -> str:
        otherwise = f" ({self.option} decides otherwise)" if self.option and self.option not in self.why else ""
        return f"{self.what}: {self.why}{otherwise}"
