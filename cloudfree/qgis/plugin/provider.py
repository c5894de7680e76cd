"""The plugin, and the provider that it adds to the Processing toolbox."""

from __future__ import annotations

from qgis.core import QgsApplication, QgsProcessingProvider

from .align import Align
from .batch import Batch
from .run import Run


class CloudfreeProvider(QgsProcessingProvider):
    """Algorithms `cloudfree:run`, `cloudfree:align` and `cloudfree:batch`."""

    def id(self) -> str:
        return "cloudfree"

    def name(self) -> str:
        return "cloudfree"

    def loadAlgorithms(self) -> None:  # noqa: N802 - as QGIS calls it
        for algorithm in (Run, Align, Batch):
            self.addAlgorithm(algorithm())


class CloudfreePlugin:
    """What QGIS loads: it adds the provider, and takes it away."""

    def __init__(self) -> None:
        self._provider: CloudfreeProvider | None = None

    def initProcessing(self) -> None:  # noqa: N802 - as QGIS calls it, where it has no window
        self._provider = CloudfreeProvider()
        QgsApplication.processingRegistry().addProvider(self._provider)

    def initGui(self) -> None:  # noqa: N802 - as QGIS calls it
        self.initProcessing()

    def unload(self) -> None:
        if self._provider:
            QgsApplication.processingRegistry().removeProvider(self._provider)
