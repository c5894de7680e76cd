"""cloudfree in QGIS's Processing toolbox. `cloudfree qgis install` puts this folder into a profile of QGIS.

It runs in QGIS's own Python, imports nothing of cloudfree, and starts its command in the environment where that is
installed (`command.json`), so that torch stays out of QGIS. Written for QGIS 3.22 and later.
"""

from __future__ import annotations

from typing import Any


def classFactory(iface: Any) -> Any:  # noqa: N802 - as QGIS calls it
    """Return the plugin."""
    from .provider import CloudfreePlugin  # noqa: PLC0415 - QGIS reads this file to list plugins that are off

    return CloudfreePlugin()
