"""What a run does before its network starts: look at every input, and decide everything."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from cloudfree import described, detect
from cloudfree.bands import SkyClass
from cloudfree.errors import CoregistrationError, InputError, warnings_heard
from cloudfree.geometry.displacement import Displacement
from cloudfree.inputs.area import of_scene
from cloudfree.inputs.files import Inputs, identify
from cloudfree.inputs.location.source import AnyPath, Source
from cloudfree.inputs.masks.found import FoundClouds
from cloudfree.inputs.optical import planet_product
from cloudfree.inputs.optical.scene import Scene
from cloudfree.inputs.raster.access import gdal_settings
from cloudfree.network.device import resolve_device, resolve_precision
from cloudfree.network.models import CloudRemovalModel
from cloudfree.network.weights import default_weights, load_model
from cloudfree.plan import Options, Plan
from cloudfree.product.targets import check_targets
from cloudfree.reconstruct import tiles
from cloudfree.reconstruct.strips import Fill
from cloudfree.scene import cloud_edges, coregister, references, survey
from cloudfree.scene.model import of_survey
from cloudfree.scene.offset import Offset
from cloudfree.scene.survey import Survey


def make_plan(options: Options, load: Callable[[str], CloudRemovalModel] | None = None) -> Plan:
    """Look at every input and decide everything, without running the network or writing a file.

    `load` returns the network by the name or file of its weights, where that is not `load_model`. Raises
    CloudfreeError for what a user can mend.
    """
    with warnings_heard() as warnings:
        plan = _decided(options, load or load_model)
        described.log_plan(plan)
    return replace(plan, warnings=tuple(warnings))


def files_of(options: Options, inputs: Inputs) -> tuple[Source, ...]:
    """Every file that decides what a run makes, identified as `inputs`: references that are left out too."""
    given = [reference for reference in options.references if not reference.is_folder]  # of a folder, what was used
    images = [inputs.scene.path, *given, *(reference.path for reference in inputs.references)]
    metadata = [xml for image in images if (xml := planet_product.find(image, planet_product.METADATA_XML))]
    area = [Source.of(options.aoi)] if options.aoi else []
    return tuple(dict.fromkeys([*inputs.paths, *given, *metadata, *area]))


def weights_of(options: Options) -> str:
    """The name or file of the weights of a run."""
    return default_weights().name if options.weights == "auto" else options.weights


def _decided(options: Options, load: Callable[[str], CloudRemovalModel]) -> Plan:
    tiles.check_tile(options.tile, options.overlap)
    device = resolve_device(options.device)
    with gdal_settings():
        inputs = identify(options)
        files = files_of(options, inputs)
        read: list[AnyPath] = [*files, *options.references, Path(options.weights)]
        check_targets(options.targets, read, options.overwrite)
        part = of_scene(inputs.scene.grid, options.bbox, options.aoi)
        with inputs.open() as reader:
            surveyed = survey.take(inputs.scene, reader)
            inputs, surveyed = _with_found_clouds(options, inputs, surveyed)
            offset = _coregister(options, inputs.scene, surveyed)
            displacement = offset.on(surveyed.grid) if offset else Displacement(surveyed.grid)
            surveyed = survey.with_sar_displaced(surveyed, reader.sar, displacement)
        max_shift_m = None if options.coregister == "off" else options.max_shift_m
        inputs, surveyed, reference_offsets = references.align(inputs, surveyed, max_shift_m)
    inputs, surveyed = _with_followed_edges(options, inputs, surveyed)
    fill = Fill(_extent(options, inputs), options.without_sar)
    network = load(weights_of(options))
    if options.uncertainty:
        _check_uncertainty(inputs, network)
    needs_model = inputs.masked and (network.expects_prefill or fill.without_sar == "fill")
    return Plan(
        options=options,
        files=files,
        inputs=inputs,
        fill=fill,
        survey=surveyed,
        offset=offset,
        displacement=displacement,
        reference_offsets=reference_offsets,
        scene_model=of_survey(surveyed, inputs.scene) if needs_model else None,
        network=network,
        device=str(device),
        precision=resolve_precision(options.precision, device),
        part=part,
    )


def _with_found_clouds(options: Options, inputs: Inputs, surveyed: Survey) -> tuple[Inputs, Survey]:
    """With what a detector finds in the scene, where that is wanted."""
    if options.find_clouds == "never" or (options.find_clouds == "auto" and inputs.mask):
        return inputs, surveyed
    reflectance = np.clip(inputs.scene.reflectance(surveyed.dn), 0, 1)
    precision = resolve_precision(options.precision, resolve_device("cpu"))
    detector, size_m = detect.load(options.find_clouds_with, precision), surveyed.grid.pixel_size_m
    sky = detect.find_sky(reflectance, surveyed.data, size_m, detector)
    clouds = FoundClouds(surveyed.grid, sky.classes, 1 - sky.probability[[SkyClass.CLEAR, SkyClass.SNOW]].sum(axis=0))
    return replace(inputs, found=clouds), replace(surveyed, cloudy=surveyed.cloudy | clouds.hidden)


def _with_followed_edges(options: Options, inputs: Inputs, surveyed: Survey) -> tuple[Inputs, Survey]:
    """With what is connected to the clouds that are known, where that is wanted."""
    if not inputs.masked or not options.edge_limit_m:
        return inputs, surveyed
    classes = cloud_edges.follow(surveyed, inputs.scene, options.edge_limit_m)
    surveyed, clouds = cloud_edges.with_edges(surveyed, inputs.found, classes)
    return replace(inputs, found=clouds), surveyed


def _extent(options: Options, inputs: Inputs) -> Literal["clouds", "all"]:
    if options.fill == "auto":
        return "clouds" if inputs.masked else "all"
    if options.fill == "clouds" and not inputs.masked:
        raise InputError(
            "--fill clouds needs to know where they are, and there is no mask; give --udm2 or --mask, or leave "
            "--find-clouds at auto, or use --fill all"
        )
    return options.fill


def _check_uncertainty(inputs: Inputs, network: CloudRemovalModel) -> None:
    """Raise InputError where nothing would calibrate it: it needs a mask, and weights that start from the model."""
    if not inputs.masked:
        raise InputError(
            "--uncertainty is calibrated on clear ground hidden like the clouds of a mask, and there is none; "
            "give --udm2 or --mask, or leave --find-clouds at auto, or leave it out"
        )
    if not network.expects_prefill:
        raise InputError(
            f"--uncertainty needs weights that start from the scene's model; {network.info.name} is shown the "
            "plain image: use the default weights (cloudfree weights list), or leave it out"
        )


def _coregister(options: Options, scene: Scene, surveyed: Survey) -> Offset | None:
    if options.coregister == "off":
        return None
    offset = coregister.of_survey(surveyed, scene, options.max_shift_m)
    if options.coregister == "require" and not offset.accepted:
        raise CoregistrationError(
            f"no reliable offset between Sentinel-1 and the scene: {offset.reason}; --coregister require needs one: "
            "use a clearer scene or a nearer date, or --coregister auto to go on without"
        )
    return offset
