"""What lies beside a scene is found by the scene's own name, whatever the order's tools made of it."""

from pathlib import Path

import pytest

from cloudfree.inputs.location.source import Source
from cloudfree.inputs.optical import planet_product
from cloudfree.inputs.optical.planet_product import METADATA_XML, UDM2, find

ID = "20220515_101530_84_2481"


def touch(folder: Path, *names: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).touch()
    return folder / names[0]


@pytest.mark.parametrize(
    ("scene", "udm2"),
    [
        (f"{ID}_3B_AnalyticMS_SR_harmonized_clip_reproject.tif", f"{ID}_3B_udm2_clip_reproject.tif"),
        (f"{ID}_3B_AnalyticMS_SR_8b_reproject_clip.tif", f"{ID}_3B_udm2_reproject_clip.tif"),
        (f"{ID}_3B_AnalyticMS_SR_clip_file_format.tif", f"{ID}_3B_udm2_clip_file_format.tif"),
        (f"{ID}_3B_AnalyticMS_SR.TIF", f"{ID}_3B_UDM2.TIF"),
        ("composite.tif", "composite_udm2.tif"),
        ("3456789_1056413_2022-05-15_1032_BGRN_SR.tif", "3456789_1056413_2022-05-15_1032_udm2.tif"),
        (f"{ID}_3B_AnalyticMS_SR_clip_north field.tif", f"{ID}_3B_udm2_clip.tif"),
        ("field.tif", "field_udm2.tif"),
    ],
)
def test_suffixes_come_in_any_order_and_case(tmp_path: Path, scene: str, udm2: str) -> None:
    assert find(touch(tmp_path, scene, udm2), UDM2) == Source.of(tmp_path / udm2)


@pytest.mark.parametrize(
    ("scene", "other"),
    [
        ("field.tif", "udm2.tif"),
        (f"{ID}_3B_AnalyticMS_SR.tif", "udm2_clip.tif"),
        (f"{ID}_3B_AnalyticMS_SR.tif", "20220516_101530_84_2481_3B_udm2.tif"),
        (f"{ID}_3B_AnalyticMS_SR.tif", "20220515_101530_84_2482_3B_udm2.tif"),
        ("AnalyticMS_SR.tif", "udm2.tif"),
        ("field_a.tif", "field_udm2.tif"),
        (f"{ID}_3B_AnalyticMS_SR.tif", f"{ID}_3B_udm2.json"),
        (f"{ID}_3B_AnalyticMS_SR.tif", f"{ID}_3B_udm.tif"),
    ],
)
def test_what_is_of_another_scene_or_kind_is_not_taken(tmp_path: Path, scene: str, other: str) -> None:
    path = touch(tmp_path, scene, other)
    assert find(path, UDM2) is None
    decision = str(planet_product.which_udm2(Source.of(path)))
    assert decision.startswith("no UDM2 beside the scene")
    assert "--udm2" in decision


def test_of_several_the_one_of_the_same_clip(tmp_path: Path) -> None:
    whole, clip = f"{ID}_3B_udm2.tif", f"{ID}_3B_udm2_clip.tif"
    assert find(touch(tmp_path, f"{ID}_3B_AnalyticMS_SR_clip.tif", whole, clip), UDM2) == Source.of(tmp_path / clip)
    assert find(touch(tmp_path, f"{ID}_3B_AnalyticMS_SR.tif", whole, clip), UDM2) == Source.of(tmp_path / whole)


def test_the_xml_of_eight_clipped_bands(tmp_path: Path) -> None:
    xml = f"{ID}_3B_AnalyticMS_8b_metadata_clip.xml"
    assert find(touch(tmp_path, f"{ID}_3B_AnalyticMS_8b_clip.tif", xml), METADATA_XML) == Source.of(tmp_path / xml)


def test_links_are_followed(tmp_path: Path) -> None:
    real = touch(tmp_path / "order", f"{ID}_3B_AnalyticMS_SR.tif", f"{ID}_3B_udm2.tif")
    link = tmp_path / "today.tif"
    link.symlink_to(real)
    assert find(link, UDM2) == Source.of(real.with_name(f"{ID}_3B_udm2.tif"))
