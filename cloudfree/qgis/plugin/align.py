"""`cloudfree align` as an algorithm."""

from __future__ import annotations

from typing import Any

from qgis.core import (
    QgsProcessingParameterMultipleLayers,
    QgsProcessingParameterRasterDestination,
    QgsProcessingParameterRasterLayer,
)

from .algorithm import RASTERS, CommandAlgorithm, options, repeated


class Align(CommandAlgorithm):
    """Sentinel-1 in dB on the grid of a scene."""

    COMMAND, TITLE = "align", "Put Sentinel-1 onto a scene's grid"
    HELP = "Reprojects Sentinel-1 onto the scene's pixels, corrects its offset where clear ground bears it out, in dB."

    def initAlgorithm(self, configuration: Any = None) -> None:  # noqa: N802 - as QGIS calls it
        self.addParameter(QgsProcessingParameterRasterLayer("PLANET", "PlanetScope scene"))
        self.addParameter(QgsProcessingParameterMultipleLayers("SAR", "Sentinel-1, VV and VH", RASTERS))
        self.addParameter(QgsProcessingParameterRasterLayer("UDM2", "Usable data mask (UDM2)", optional=True))
        self.add_more()
        self.addParameter(QgsProcessingParameterRasterDestination("OUTPUT", "Sentinel-1 on the scene's grid"))

    def processAlgorithm(  # noqa: N802 - as QGIS calls it
        self, parameters: dict[str, Any], context: Any, feedback: Any
    ) -> dict[str, str]:
        target = self.target(parameters, "OUTPUT", context)
        arguments = [
            *options(**{name.lower(): self.file_of(parameters, name, context) for name in ("PLANET", "UDM2")}),
            *repeated("sar", self.files_of(parameters, "SAR", context)),
            *options(output=target),
            "--overwrite",
            *self.more(parameters, context),
        ]
        self.run_command(arguments, feedback)
        return {"OUTPUT": target}
