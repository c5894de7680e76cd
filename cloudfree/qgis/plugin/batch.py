"""`cloudfree batch` as an algorithm."""

from __future__ import annotations

from typing import Any

from qgis.core import (
    QgsProcessingParameterBoolean,
    QgsProcessingParameterFile,
    QgsProcessingParameterFolderDestination,
)

from .algorithm import CommandAlgorithm, options

_HELP = """Removes the clouds of all scenes of a folder. Each is given the radar that sees most of it and the clearest \
of its other dates; what is made already is skipped."""


class Batch(CommandAlgorithm):
    """A folder of scenes in, a folder of products out."""

    COMMAND, TITLE, HELP = "batch", "Remove clouds from a folder of scenes", _HELP

    def initAlgorithm(self, configuration: Any = None) -> None:  # noqa: N802 - as QGIS calls it
        folder = QgsProcessingParameterFile.Folder
        scenes = QgsProcessingParameterFile("SOURCE", "Folder of scenes, radar and masks", folder)
        self.addParameter(scenes)
        self.addParameter(QgsProcessingParameterBoolean("QA", "Classes beside each product", True))
        self.addParameter(QgsProcessingParameterBoolean("WITHOUT_RADAR", "Also scenes without Sentinel-1", False))
        self.add_more()
        self.addParameter(QgsProcessingParameterFolderDestination("OUTPUT", "Folder of products"))

    def processAlgorithm(  # noqa: N802 - as QGIS calls it
        self, parameters: dict[str, Any], context: Any, feedback: Any
    ) -> dict[str, str]:
        target = self.parameterAsString(parameters, "OUTPUT", context)
        beside = ["qa"] * self.parameterAsBool(parameters, "QA", context) + ["style"]
        allowed = "allow" if self.parameterAsBool(parameters, "WITHOUT_RADAR", context) else ""
        arguments = [
            self.parameterAsFile(parameters, "SOURCE", context),
            *options(output=target, also=",".join(beside), without_radar=allowed),
            *self.more(parameters, context),
        ]
        self.run_command(arguments, feedback)
        return {"OUTPUT": target}
