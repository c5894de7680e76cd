"""What the algorithms share: parameters for files and layers, and the words of a command line that they become."""

from __future__ import annotations

import shlex
from typing import Any

from qgis.core import (
    QgsCoordinateReferenceSystem,
    QgsProcessing,
    QgsProcessingAlgorithm,
    QgsProcessingException,
    QgsProcessingParameterDefinition,
    QgsProcessingParameterString,
)

from . import command

_WGS84 = "EPSG:4326"


class CommandAlgorithm(QgsProcessingAlgorithm):
    """An algorithm that is one command: `arguments` makes its words."""

    COMMAND, TITLE, HELP = "", "", ""
    MORE = "MORE"

    def createInstance(self) -> CommandAlgorithm:  # noqa: N802 - as QGIS calls it
        return type(self)()

    def name(self) -> str:
        return self.COMMAND

    def displayName(self) -> str:  # noqa: N802 - as QGIS calls it
        return self.TITLE

    def shortHelpString(self) -> str:  # noqa: N802 - as QGIS calls it
        return self.HELP

    def add_advanced(self, parameter: QgsProcessingParameterDefinition) -> None:
        parameter.setFlags(parameter.flags() | QgsProcessingParameterDefinition.FlagAdvanced)
        self.addParameter(parameter)

    def add_more(self) -> None:
        """Any other options, as they are typed."""
        text = f"More options, as 'cloudfree {self.COMMAND} --help' lists them"
        self.add_advanced(QgsProcessingParameterString(self.MORE, text, "", optional=True))

    def more(self, parameters: dict[str, Any], context: Any) -> list[str]:
        try:
            return shlex.split(self.parameterAsString(parameters, self.MORE, context))
        except ValueError as error:
            raise QgsProcessingException(f"more options cannot be read ({error}): check quotation marks") from error

    def run_command(self, arguments: list[str], feedback: Any) -> None:
        command.run([self.COMMAND, *arguments], feedback)

    def file_of(self, parameters: dict[str, Any], name: str, context: Any) -> str:
        """The file of a layer, raster or vector; "" where none was given."""
        layer = self.parameterAsLayer(parameters, name, context)
        return _file_of(layer) if layer else ""

    def files_of(self, parameters: dict[str, Any], name: str, context: Any) -> list[str]:
        return [_file_of(layer) for layer in self.parameterAsLayerList(parameters, name, context)]

    def target(self, parameters: dict[str, Any], name: str, context: Any) -> str:
        """Where an output is to be written; "" where it is not wanted."""
        return str(self.parameterAsOutputLayer(parameters, name, context) or "")

    def bbox(self, parameters: dict[str, Any], name: str, context: Any) -> str:
        """An extent as WEST,SOUTH,EAST,NORTH in degrees; "" where none was given."""
        extent = self.parameterAsExtent(parameters, name, context, QgsCoordinateReferenceSystem(_WGS84))
        if extent.isNull():
            return ""
        edges = extent.xMinimum(), extent.yMinimum(), extent.xMaximum(), extent.yMaximum()
        return ",".join(f"{edge:.8f}" for edge in edges)


def options(**values: str) -> list[str]:
    """Words of a command line: `--name=value` of those that were given."""
    return [f"--{name.replace('_', '-')}={value}" for name, value in values.items() if value]


def repeated(name: str, values: list[str]) -> list[str]:
    return [f"--{name}={value}" for value in values]


RASTERS = QgsProcessing.TypeRaster


def _file_of(layer: Any) -> str:
    """The file behind a layer. Raises QgsProcessingException for one in memory, in a database or on a server."""
    if layer.providerType() not in ("gdal", "ogr"):
        raise QgsProcessingException(
            f"{layer.name()} is no file ({layer.providerType()}); cloudfree reads files: save the layer as one first"
        )
    return str(layer.source()).partition("|")[0]
