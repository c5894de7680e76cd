"""What a file was taken for in one respect, and why: so that it can be told, and overruled."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Decision:
    """`what` was found, in words; `why`: what states it, or shows it; `option`: what would decide otherwise, if any."""

    what: str
    why: str
    option: str | None = None

    def __str__(self) -> str:
        otherwise = f" ({self.option} decides otherwise)" if self.option and self.option not in self.why else ""
        return f"{self.what}: {self.why}{otherwise}"
