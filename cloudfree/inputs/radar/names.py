"""What names of files and bands say of a radar image: polarisations, and what products carry beside backscatter."""

from __future__ import annotations

import re

from cloudfree.bands import SAR_BANDS

POLARISATIONS = (*SAR_BANDS, "HH", "HV")
"""In the order of bands."""

COMPANION_WORDS = frozenset(
    {"angle", "inc", "incidence", "lia", "ls", "layover", "shadow", "mask", "datamask", "area", "dem", "rgb"}
)
"""Incidence angles, layover, masks, scattering area, heights, pictures."""


_LAST = re.compile(
    r"(?:^|[^a-z0-9])(rgb|dem|area|browse|angle|shadow|lia|wm|(local_?)?inc(idence)?(_?(map|angle))?(_ell)?|ls(_map)?|"
    r"layover(_?shadow)?(_mask)?|(data_?|water_?|border_?)?mask|number_of_looks|rtc_anf.*)$",
    re.IGNORECASE,
)
"""How the names of such files end: `_inc_map`, `_ls_map` (ASF), `_rtc_anf_gamma0_to_beta0` (OPERA), `_BorderMask`."""


def _any_of(words: frozenset[str]) -> re.Pattern[str]:
    """Any of these as a whole word: between digits and signs, not between letters."""
    return re.compile(rf"(?<![a-z])({'|'.join(sorted(words))})(?![a-z])", re.IGNORECASE)


_POLARISATION = _any_of(frozenset(name.lower() for name in POLARISATIONS))
_COMPANION = _any_of(COMPANION_WORDS)


def polarisations_in(text: str) -> set[str]:
    """All polarisations that a text names, of VV, VH, HH, HV."""
    return {match.upper() for match in _POLARISATION.findall(text)}


def polarisation_in(text: str) -> str | None:
    """The one polarisation that a text names; None where it names none or several."""
    names = polarisations_in(text)
    return names.pop() if len(names) == 1 else None


def without_polarisation(text: str) -> str:
    """A text in which files of one image but of different polarisations are called alike."""
    return _POLARISATION.sub("", text)


def is_companion_of_product(text: str) -> bool:
    """Whether a file's name ends in what products carry beside backscatter, and not in two polarisations' image of it.

    Words elsewhere in it say what was done to the image, or of which area it is.
    """
    return len(polarisations_in(text)) < 2 and bool(_LAST.search(text))


def is_companion(text: str) -> bool:
    """Whether a text names what products carry beside backscatter."""
    return bool(_COMPANION.search(text))
