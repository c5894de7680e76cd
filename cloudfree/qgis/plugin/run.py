"""`cloudfree run` as an algorithm."""

from __future__ import annotations

from typing import Any

from qgis.core import (
    QgsProcessingParameterEnum,
    QgsProcessingParameterExtent,
    QgsProcessingParameterFileDestination,
    QgsProcessingParameterMapLayer,
    QgsProcessingParameterMultipleLayers,
    QgsProcessingParameterNumber,
    QgsProcessingParameterRasterDestination,
    QgsProcessingParameterRasterLayer,
    QgsProcessingParameterString,
)

from .algorithm import RASTERS, CommandAlgorithm, options, repeated

_HELP = """Reconstructs the clouded pixels of a PlanetScope scene with Sentinel-1 and images of other dates, and \
writes a Cloud-Optimized GeoTIFF. Clear pixels stay bit for bit as they were observed.

Without a mask clouds and their shadows are found in the scene. Classes say what was observed and what was \
reconstructed; uncertainty is one standard deviation of reflectance."""
_RASTERS_BESIDE = {"QA": "Classes: observed, reconstructed", "UNCERTAINTY": "Uncertainty", "WRITE_MASK": "Clouds found"}
_DEVICES = ("auto", "cpu", "cuda", "mps")


class Run(CommandAlgorithm):
    """A scene, radar and other dates in; the product and what stands beside it out, each with its style."""

    COMMAND, TITLE, HELP = "run", "Remove clouds from a scene", _HELP

    def initAlgorithm(self, configuration: Any = None) -> None:  # noqa: N802 - as QGIS calls it
        self.addParameter(QgsProcessingParameterRasterLayer("PLANET", "PlanetScope scene"))
        sar = QgsProcessingParameterMultipleLayers("SAR", "Sentinel-1, VV and VH", RASTERS, optional=True)
        self.addParameter(sar)
        others = "The same place on other dates, clouds allowed"
        self.addParameter(QgsProcessingParameterMultipleLayers("REFERENCES", others, RASTERS, optional=True))
        self.addParameter(QgsProcessingParameterRasterLayer("UDM2", "Usable data mask (UDM2)", optional=True))
        self.addParameter(QgsProcessingParameterMapLayer("MASK", "Another mask, or polygons of clouds", optional=True))
        self.addParameter(QgsProcessingParameterExtent("EXTENT", "Part to write", optional=True))
        self._add_advanced()
        self.addParameter(QgsProcessingParameterRasterDestination("OUTPUT", "Cloud-free scene"))
        for name, title in _RASTERS_BESIDE.items():
            by_default = name == "QA"
            self.addParameter(QgsProcessingParameterRasterDestination(name, title, None, True, by_default))
        pages = "HTML files (*.html)"
        report = QgsProcessingParameterFileDestination("REPORT", "Report", pages, optional=True, createByDefault=False)
        self.addParameter(report)

    def _add_advanced(self) -> None:
        buffer = QgsProcessingParameterNumber("BUFFER", "Buffer of the mask in metres", defaultValue=30, minValue=0)
        self.add_advanced(buffer)
        self.add_advanced(QgsProcessingParameterString("WEIGHTS", "Weights: a name or a file", "auto"))
        self.add_advanced(QgsProcessingParameterEnum("DEVICE", "Device", _DEVICES, defaultValue=0))
        self.add_more()

    def processAlgorithm(  # noqa: N802 - as QGIS calls it
        self, parameters: dict[str, Any], context: Any, feedback: Any
    ) -> dict[str, str]:
        targets = {name: self.target(parameters, name, context) for name in ("OUTPUT", *_RASTERS_BESIDE)}
        targets["REPORT"] = self.parameterAsFileOutput(parameters, "REPORT", context)
        arguments = [
            *options(**{name.lower(): self.file_of(parameters, name, context) for name in ("PLANET", "UDM2", "MASK")}),
            *repeated("sar", self.files_of(parameters, "SAR", context)),
            *repeated("reference", self.files_of(parameters, "REFERENCES", context)),
            *options(bbox=self.bbox(parameters, "EXTENT", context)),
            *options(buffer=f"{self.parameterAsDouble(parameters, 'BUFFER', context):g}"),
            *options(weights=self.parameterAsString(parameters, "WEIGHTS", context)),
            *options(device=_DEVICES[self.parameterAsEnum(parameters, "DEVICE", context)]),
            *options(**{name.lower(): target for name, target in targets.items()}),
            *("--also=style", "--overwrite"),
            *self.more(parameters, context),
        ]
        self.run_command(arguments, feedback)
        return {name: target for name, target in targets.items() if target}
