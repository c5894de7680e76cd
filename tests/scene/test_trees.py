"""Trees of a scene: what they learn that lines cannot, and what of the linear models stays beside them."""

import numpy as np
import pytest
from support import pattern, sar_values_db

from cloudfree.arrays import Image, Mask
from cloudfree.scene import candidates, model, neighbourhood, stack
from cloudfree.scene.trees import Trees


def samples(count: int = 600) -> tuple[Image, Image]:
    """Features (n, 3), and a target (n, 2) that steps with the first and the product of the others."""
    features = np.random.default_rng(0).uniform(-1, 1, (count, 3)).astype(np.float32)
    steps = np.stack([features[:, 0] > 0.2, features[:, 1] * features[:, 2] > 0], axis=1)
    return features, steps.astype(np.float32)


def test_they_learn_steps_that_lines_cannot():
    features, target = samples(3000)
    found = Trees.grown(features[:2000], target[:2000], 20).predicted(features[2000:])
    design = np.column_stack([features, np.ones(len(features))])
    line = design[2000:] @ np.linalg.lstsq(design[:2000], target[:2000], rcond=None)[0]
    error, of_line = (np.square(made - target[2000:]).mean(axis=0) for made in (found, line))
    assert (error < 0.3 * of_line).all()


def test_equal_samples_give_equal_trees_and_parts_equal_the_whole():
    features, target = samples()
    trees, again = (Trees.grown(features, target, 7) for _ in range(2))
    for one, other in zip(vars(trees).values(), vars(again).values(), strict=True):
        np.testing.assert_array_equal(one, other)
    many = np.tile(features, (10, 1))
    whole = trees.predicted(many)
    np.testing.assert_array_equal(np.concatenate([trees.predicted(many[:77]), trees.predicted(many[77:])]), whole)
    assert len({trees.value[trees.child[root]].tobytes() for root in trees.roots}) == 7, "each is another"


def test_every_leaf_has_the_mean_of_five_samples_or_more():
    features, target = samples()
    for root in (tree := Trees.grown(features, target, 2)).roots:
        leaves = tree._leaves(features, root)
        assert np.bincount(leaves)[np.unique(leaves)].min() >= 5
        means = [target[leaves == leaf].mean(axis=0) for leaf in leaves[:20]]
        np.testing.assert_allclose(tree.value[leaves[:20]], means, atol=1e-5)


@pytest.mark.parametrize(("count", "scale"), [(1, 1.0), (9, 1.0), (200, 0.0), (200, 1e-30), (200, 1e6)])
def test_few_samples_and_constant_features(count: int, scale: float) -> None:
    features, target = samples(count)
    found = Trees.grown(scale * features, target, 3).predicted(scale * features)
    assert np.isfinite(found).all()
    if count < 10 or scale == 0:
        np.testing.assert_allclose(found, np.broadcast_to(target.mean(axis=0), found.shape), atol=1e-5)


# --- in the model of a scene ---


def fields() -> tuple[Image, Image, Image, Mask]:
    """Two crops whose colours of another day go together as no line has it; radar; that day; a cloud."""
    crop = pattern(96, 120, 3, 5) > 0
    day, other_day = np.where(crop, 0.3, 0.1), 0.15 + 0.02 * pattern(96, 120, 4, 5)
    other_day = np.where(crop == (other_day > 0.15), other_day, 0.3 - other_day)
    other = [other_day + 0.05 * np.abs(other_day - 0.15) * band for band in range(4)]
    truth = [day * (other_day > 0.15) + 0.02 * band for band in range(4)]
    hidden = np.zeros((96, 120), bool)
    hidden[30:60, 40:80] = True
    noise = 0.003 * np.random.default_rng(0).normal(size=(2, 4, 96, 120))
    images = (np.stack(image) + part for image, part in zip((truth, other), noise, strict=True))
    truth, other = (image.astype(np.float32) for image in images)
    return truth, sar_values_db(96, 120, 0), other, hidden


def test_holes_give_them_weight_and_the_ground_gains(monkeypatch: pytest.MonkeyPatch) -> None:
    truth, sar_db, other, hidden = fields()
    valid = np.ones_like(hidden)
    cloudy = np.where(hidden, 0.9, truth).astype(np.float32)
    fitted = model.fit(cloudy, sar_db, hidden, valid, others=[other])
    assert sum(fitted.weights.values()) == pytest.approx(1, abs=0.01)
    assert fitted.weights["trees"] > 0.3
    monkeypatch.setattr(candidates, "_FEWEST_GROWN_FROM", 10**6)
    without = model.fit(cloudy, sar_db, hidden, valid, others=[other])
    assert "trees" not in without.weights
    error, before = (np.square(one.whole() - truth)[:, hidden].mean() for one in (fitted, without))
    assert error < 0.8 * before


def test_the_ground_is_the_mixture_where_it_is_hidden_and_linear_elsewhere() -> None:
    truth, sar_db, other, hidden = fields()
    fitted = model.fit(truth, sar_db, hidden, np.ones_like(hidden), others=[other])
    only_linear = model.fit(truth, sar_db, hidden, np.ones_like(hidden), others=[other], by_holes=False)
    assert "trees" not in only_linear.weights, "they are as slow as holes"
    held = fitted.held_out[0]
    cut = held.hole.mask
    off = np.square(held.model.whole() - truth)
    assert off[:, cut].mean() < 0.5 * np.square(truth - truth.mean(axis=(1, 2), keepdims=True))[:, cut].mean()


@pytest.mark.parametrize("weight", [0.0, 0.4, 1.0])
def test_trees_are_mixed_in_where_ground_is_hidden(weight: float) -> None:
    truth, _, other, hidden = fields()
    date = model._dates([other], None, ~hidden, 10.0)
    around = neighbourhood.Neighbourhood(date, None)
    everywhere = np.arange(hidden.size)
    trees = Trees.grown(around.features(everywhere[:2000]), truth.reshape(4, -1)[:, :2000].T, 10)
    term = model.DateTerm(date[0], np.full((34, 4), 0.01))
    ground = np.zeros((4, 96, 120), np.float32)
    around.mix_in(ground, (term,), trees, weight, hidden, 10.0)
    linear = term.reflectance(other)
    said = trees.predicted(around.features(everywhere)).T.reshape(truth.shape)
    np.testing.assert_allclose(
        (ground + linear)[:, hidden], ((1 - weight) * linear + weight * said)[:, hidden], atol=1e-5
    )
    assert not ground[:, :20].any(), "far away the linear models stand alone"


def test_the_detail_of_another_date_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pixel of 3 m that the other date shows stands out as it does without trees, though they have a weight."""
    truth, sar_db, other, hidden = fields()
    texture = 0.02 * pattern(96, 120, 7, 1.0)
    images = truth + texture, sar_db, other + texture, hidden
    fine, radar, date, cloud = (np.repeat(np.repeat(image, 3, -1), 3, -2) for image in images)
    spotted = date.copy()
    spotted[:, 135, 180] += 0.1

    def standing_out() -> tuple[Image, float]:
        fitted = model.fit_fine(fine, radar, cloud, np.ones_like(cloud), 10 / 3, [date])
        return (fitted.whole([spotted]) - fitted.whole([date]))[:, 135, 180], fitted.weights.get("trees", 0.0)

    spot, weight = standing_out()
    monkeypatch.setattr(candidates, "_FEWEST_GROWN_FROM", 10**6)
    assert weight > 0.2
    np.testing.assert_allclose(spot, standing_out()[0], rtol=0.15)


def test_few_clear_pixels_grow_no_trees() -> None:
    truth, sar_db, other, hidden = fields()
    hidden[:] = True
    hidden[:14, :14] = False
    fitted = model.fit(truth, sar_db, hidden, np.ones_like(hidden), others=[other])
    assert "trees" not in fitted.weights
    assert np.isfinite(fitted.whole()).all()


def test_much_hidden_ground_has_fewer_trees() -> None:
    assert [neighbourhood.trees_for(count) for count in (0, 10_000, 600_000, 10**8)] == [30, 30, 20, 10]


def test_shares_of_what_weighs_nothing_are_the_expected_ones() -> None:
    expected = np.array([0.25, 0.75])
    np.testing.assert_allclose(stack.shares(np.array([0.1, 0.1]), expected), [0.5, 0.5])
    np.testing.assert_allclose(stack.shares(np.zeros(2), expected), expected)
