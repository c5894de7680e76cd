from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudfree.errors import CloudfreeError
from cloudfree.reconstruct.tiles import LATTICE_PX, check_tile, spans


@given(length=st.integers(1, 3000), steps=st.integers(1, 32), data=st.data())
def test_weights_sum_to_one_everywhere(length: int, steps: int, data: st.DataObject) -> None:
    tile = steps * LATTICE_PX
    overlap = data.draw(st.integers(0, tile - 1))
    total = np.zeros(length)
    for span in spans(length, tile, overlap):
        assert span.start % LATTICE_PX == 0
        assert 0 < len(span) <= tile
        assert (span.weights >= 0).all()
        total[span.start : span.stop] += span.weights
    np.testing.assert_allclose(total, 1, atol=1e-6)


@given(length=st.integers(1, 3000), steps=st.integers(2, 32), data=st.data())
def test_spans_are_ordered_and_overlap_as_asked(length: int, steps: int, data: st.DataObject) -> None:
    tile = steps * LATTICE_PX
    overlap = data.draw(st.integers(0, tile - LATTICE_PX))
    found = spans(length, tile, overlap)
    assert found[0].start == 0
    assert found[-1].stop == length
    for before, after in pairwise(found):
        assert before.start < after.start
        assert before.stop - after.start >= overlap


def test_the_rim_of_a_window_does_not_count_inside_the_image() -> None:
    first, second, *_ = spans(1000, 256, 64)
    assert (first.weights[-16:] == 0).all()
    assert (second.weights[:16] == 0).all()
    assert first.weights[0] == 1


@pytest.mark.parametrize(("tile", "overlap"), [(0, 0), (100, 10), (-16, 0), (64, 64), (64, -1)])
def test_impossible_plans_are_refused(tile: int, overlap: int) -> None:
    with pytest.raises(CloudfreeError, match=r"--tile|--overlap"):
        check_tile(tile, overlap)
