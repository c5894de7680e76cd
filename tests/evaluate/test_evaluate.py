"""Methods and baselines scored on images, and the tables of that."""

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from support import ORIGIN, pattern, sar_values_db, tiny_seeing, write_raster

from cloudfree.errors import InputError
from cloudfree.evaluate import tables, triplets
from cloudfree.evaluate.baselines import BASELINES
from cloudfree.evaluate.methods import network
from cloudfree.evaluate.score import PUBLISHED_GROUPS, WORLDCOVER, Score, Table, evaluate

SIDE = 64
TEN_METRES = Affine(10, 0, ORIGIN[0], 0, -10, ORIGIN[1])


def images(seed: int = 0, side: int = SIDE) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Clear and cloudy digital numbers (4, H, W), backscatter (2, H, W), and mask (H, W)."""
    sar_db = sar_values_db(side, side, seed)
    ground = (sar_db[0] + 10) / 3
    clear = np.stack([1500 + 200 * b + 150 * ground for b in range(4)]).astype(np.uint16)
    mask = pattern(side, side, seed + 3, smooth=8) > 0.8
    return clear, np.where(mask, 7000, clear + 20).astype(np.uint16), sar_db, mask


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two images with a mask, the first with land cover too, and one without any."""
    for name, seed in (("a", 0), ("b", 1), ("c", 2)):
        clear, cloudy, sar_db, mask = images(seed)
        write_raster(tmp_path / f"{name}_clear.tif", clear, TEN_METRES, nodata=0)
        write_raster(tmp_path / f"{name}_cloudy.tif", cloudy, TEN_METRES, nodata=0)
        write_raster(tmp_path / f"{name}_sar.tif", sar_db, TEN_METRES, descriptions=("VV", "VH"))
        if name != "c":
            write_raster(tmp_path / f"{name}_mask.tif", mask[None].astype(np.uint8), TEN_METRES)
    cover = np.full((1, SIDE, SIDE), 10, np.uint8)
    cover[:, :, SIDE // 2 :] = 95
    write_raster(tmp_path / "a_landcover.tif", cover, TEN_METRES)
    return tmp_path


@pytest.fixture
def m3rcr(tmp_path: Path) -> Path:
    """A list in the layout of M3R-CR: 200 pixels of 3 m, radar and land cover of 10 m, a mask as .npy."""
    clear, cloudy, _, mask = images(side=200)
    three, folder = Affine(3, 0, ORIGIN[0], 0, -3, ORIGIN[1]), tmp_path / "test"
    folder.mkdir()
    write_raster(folder / "clear_1.tif", clear, three, nodata=0)
    write_raster(folder / "cloudy_1.tif", cloudy, three, nodata=0)
    ten = Affine(10, 0, ORIGIN[0] + 1, 0, -10, ORIGIN[1] - 2)
    write_raster(folder / "S1_1.tif", sar_values_db(60, 60).astype(np.float64), ten)
    write_raster(folder / "lc_1.tif", np.full((1, 60, 60), 40, np.uint8), ten)
    np.save(folder / "mask_1.npy", mask)
    path = tmp_path / "test.csv"
    path.write_text("clear_1.tif,cloudy_1.tif,S1_1.tif,lc_1.tif,mask_1.npy\n")
    return path


def score(table: Table, image: str, method: str, region: str = "all") -> Score:
    (found,) = [s for s in table.scores if (s.image, s.method, s.region) == (image, method, region)]
    return found


def test_reads_the_layout_of_m3rcr(m3rcr):
    (files,) = triplets.find(m3rcr)
    found = triplets.read(files)
    assert found.seen.reflectance.shape == found.truth.shape == (4, 200, 200)
    assert found.seen.sar_db.shape == (2, 200, 200)
    assert found.seen.mask.shape == found.land_cover.shape == (200, 200)
    assert found.seen.pixel_size_m == pytest.approx(3)
    # Radar lies where it says, and may leave a rim bare; stretched it reaches everywhere.
    assert np.isfinite(found.seen.sar_db[:, 5:-5, 5:-5]).all()
    assert np.isfinite(triplets.read(files, georeferenced=False).seen.sar_db).all()


def test_reads_the_short_form_and_paths_beside_the_list(m3rcr):
    short = m3rcr.parent / "test" / "short.csv"
    short.write_text("clear_1.tif,cloudy_1.tif,S1_1.tif\n\n")
    found = triplets.read(triplets.find(short)[0])
    assert found.seen.mask is None
    assert found.land_cover is None
    assert triplets.find(m3rcr, root=m3rcr.parent / "test") == triplets.find(m3rcr)


@pytest.mark.parametrize(("text", "words"), [("a.tif,b.tif\n", "2 columns"), ("", "names no images")])
def test_refuses_lists_of_another_form(tmp_path, text, words):
    path = tmp_path / "list.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=words):
        triplets.find(path)


def test_refuses_what_is_not_there(tmp_path):
    for source in (tmp_path, tmp_path / "none.csv"):
        with pytest.raises(InputError):
            triplets.find(source)


def test_scores_are_those_of_scikit_image(folder):
    table = evaluate(folder)
    clear, cloudy, _, mask = images()
    truth, restored = clear / 1e4, cloudy / 1e4
    found = score(table, "a", "input")
    assert found.psnr_db == pytest.approx(peak_signal_noise_ratio(truth, restored, data_range=1.0), abs=1e-4)
    options = {"channel_axis": 0, "data_range": 1.0, "gaussian_weights": True, "use_sample_covariance": False}
    _, similarity = structural_similarity(truth, restored, full=True, **options)
    assert found.ssim == pytest.approx(similarity.mean(), abs=1e-5)
    under_cloud = score(table, "a", "input", "cloud")
    assert under_cloud.pixels == mask.sum()
    assert under_cloud.ssim == pytest.approx(similarity[:, mask].mean(), abs=1e-5)
    assert under_cloud.mae == pytest.approx(np.abs(truth - restored)[:, mask].mean(), abs=1e-6)


def test_the_baselines_are_always_there_and_in_their_known_order(folder):
    table = evaluate(folder, {"perfect": lambda seen: np.full_like(seen.reflectance, 0.2)})
    assert [s.method for s in table.averages() if s.region == "cloud"] == [*BASELINES, "perfect"]
    by_method = {s.method: s.psnr_db for s in table.averages() if s.region == "cloud"}
    assert by_method["input"] < by_method["median"] < by_method["ridge"]
    assert by_method["median"] < by_method["scene model"]


def test_land_cover_in_both_groupings(folder):
    table = evaluate(folder)
    regions = {s.region for s in table.scores if s.image == "a"}
    assert regions == {"all", "cloud", "clear", "class: trees", "class: mangroves", "group: forest", "group: unknown"}
    assert score(table, "a", "median", "class: trees").pixels == SIDE * SIDE // 2
    covered = {code for codes in PUBLISHED_GROUPS.values() for code in codes}
    assert covered == set(WORLDCOVER)


def test_averages_are_of_images_that_have_the_region(folder):
    table = evaluate(folder)
    (mean,) = [s for s in table.averages() if (s.method, s.region) == ("median", "cloud")]
    values = [score(table, name, "median", "cloud").psnr_db for name in ("a", "b")]
    assert mean.psnr_db == pytest.approx(np.mean(values))
    (mean,) = [s for s in table.averages() if (s.method, s.region) == ("median", "class: trees")]
    assert mean.psnr_db == score(table, "a", "median", "class: trees").psnr_db


def test_same_date_pastes_clouds_and_lets_no_truth_through_the_mask(folder):
    seen_by = []

    def spy(seen):
        seen_by.append(seen)
        return seen.reflectance

    table = evaluate(folder, {"spy": spy}, same_date=True)
    assert table.skipped == ("c",)
    clear, cloudy, _, mask = images()
    np.testing.assert_allclose(seen_by[0].reflectance[:, mask], (cloudy / 1e4)[:, mask], atol=1e-6)
    far = seen_by[0].distance_m() > 60
    np.testing.assert_allclose(seen_by[0].reflectance[:, far], (clear / 1e4)[:, far], atol=1e-6)
    near = ~mask & ~far
    assert (seen_by[0].reflectance[:, near] > (clear / 1e4 + 1e-4)[:, near]).any()


def test_same_date_without_any_mask_is_refused(tmp_path):
    clear, cloudy, sar_db, _ = images()
    for name, values in (("clear", clear), ("cloudy", cloudy), ("sar", sar_db)):
        write_raster(tmp_path / f"a_{name}.tif", values, TEN_METRES)
    with pytest.raises(InputError, match="masked pixel"):
        evaluate(tmp_path, same_date=True)
    assert score(evaluate(tmp_path), "a", "scene model").psnr_db > 10  # all of it restored, none known to be clear


def test_observed_pixels_can_be_kept(folder):
    constant = {"constant": lambda seen: np.full_like(seen.reflectance, 0.2)}
    changed, kept = (evaluate(folder, constant, keep_observed=keep) for keep in (False, True))
    assert score(kept, "a", "constant", "clear") == _renamed(score(kept, "a", "input", "clear"), "constant", kept)
    cloud = [score(table, "a", "constant", "cloud").psnr_db for table in (changed, kept)]
    assert cloud[0] == cloud[1]
    assert score(changed, "a", "constant", "clear").psnr_db < score(kept, "a", "constant", "clear").psnr_db


def _renamed(found: Score, method: str, table: Table) -> Score:
    """The same measures under another name; SSIM near the mask sees past it."""
    ssim = score(table, found.image, method, found.region).ssim
    return Score(found.image, method, found.region, found.pixels, found.psnr_db, ssim, found.sam_deg, found.mae)


def test_published_protocol(m3rcr):
    shapes = []

    def perfect_in_the_centre(seen):
        shapes.append(seen.reflectance.shape)
        return images(side=200)[0][:, 20:180, 20:180] * np.float32(1e-4)

    table = evaluate(m3rcr, {"perfect": perfect_in_the_centre}, protocol="published")
    assert shapes == [(4, 160, 160)]
    found = score(table, "cloudy_1", "perfect")
    assert found.pixels == 160 * 160
    assert found.psnr_db == 100
    assert found.mae == 0


def test_tables_as_text(folder):
    table = evaluate(folder, {"same": lambda seen: seen.reflectance})
    rows = list(csv.DictReader(tables.as_csv(table).splitlines()))
    assert len(rows) == len(table.scores) + len(table.averages())
    assert float(rows[0]["psnr_db"]) == table.scores[0].psnr_db
    document = json.loads(tables.as_json(table))
    assert document["protocol"] == "true"
    assert len(document["images"]) == len(table.scores)
    text = tables.as_markdown(table)
    assert "| same |" in text
    assert text.count("| method |") == len({s.region for s in table.scores})


def test_infinite_and_missing_measures_survive_as_text():
    blank = Score("a", "m", "all", 1, math.inf, 1.0, math.nan, 0.0)
    table = Table((blank,), (), "true", same_date=False, keep_observed=False)
    assert json.loads(tables.as_json(table))["images"][0]["psnr_db"] is None
    assert "inf" in tables.as_markdown(table)
    assert "inf" in tables.as_csv(table)


def test_a_network_is_a_method(folder):
    from cloudfree.network.models import Identity

    table = evaluate(folder, {"identity": network(Identity(Identity.config_type()))})
    # The network clips to 0..1 and otherwise changes nothing.
    assert score(table, "a", "identity").psnr_db == pytest.approx(score(table, "a", "input").psnr_db, abs=1e-3)


def test_a_network_that_sees_starts_from_the_scenes_model(folder):
    table = evaluate(folder, {"seeing": network(tiny_seeing(step=0))}, same_date=True)
    ranks = {s.method: s.psnr_db for s in table.averages() if s.region == "cloud"}
    assert ranks["seeing"] > max(ranks["input"], ranks["median"]) + 2


def test_the_callback_sees_every_image(folder):
    called = []
    evaluate(folder, callback=lambda triplet, restored: called.append((triplet.name, list(restored))))
    assert called == [(name, list(BASELINES)) for name in "abc"]


def test_the_command_prints_every_layout(folder, cli):
    arguments = ("evaluate", folder, "--weights", "identity", "--same-date")
    markdown, table, plain = (cli(*arguments, "--format", layout).stdout for layout in ("markdown", "csv", "json"))
    assert "| identity |" in markdown
    assert len(table.splitlines()) == 1 + len(json.loads(plain)["images"]) + len(json.loads(plain)["averages"])
    assert cli("evaluate", folder / "nowhere", "--weights", "identity").exit_code == 1
