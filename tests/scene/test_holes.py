"""Holes are the scene's own mask, moved: on grids of any resolution alike, and piece by piece as a whole."""

import numpy as np
import pytest

from cloudfree.scene.stack import Move, holes

H, W = 40, 56


def mask() -> np.ndarray:
    hidden = np.zeros((H, W), bool)
    hidden[3:17, 5:30], hidden[20:24, 40:50] = True, True
    return hidden


def test_holes_lie_on_clear_ground_and_are_what_their_moves_make() -> None:
    hidden = mask()
    found = holes(hidden, ~hidden)
    assert len(found) == 3
    for hole in found:
        assert hole.mask.any()
        assert not (hole.mask & hidden).any()
        together = np.logical_or.reduce([move.of(hidden) for move in hole.moves])
        np.testing.assert_array_equal(hole.mask, together & ~hidden)
    assert not holes(np.zeros_like(hidden), ~hidden)


@pytest.mark.parametrize("flips", [(False, False), (True, False), (False, True), (True, True)])
@pytest.mark.parametrize("scale", [1, 3])
def test_pieces_of_a_move_are_the_whole(flips: tuple[bool, bool], scale: int) -> None:
    """Of the rows and columns of an image that is finer than the grid, too."""
    move = Move(flips, (13 / H, 45 / W))
    image = np.arange(H * W).reshape(H, W)
    fine = np.kron(image, np.ones((scale, scale), int))
    made = np.full_like(fine, -1)
    for row, from_row in move.pieces(0, range(scale * H), scale * H):
        for col, from_col in move.pieces(1, range(scale * W), scale * W):
            made[row.start : row.stop, col.start : col.stop] = fine[np.ix_(from_row, from_col)]
    np.testing.assert_array_equal(made, np.kron(move.of(image), np.ones((scale, scale), int)))


def test_a_part_of_an_axis_has_its_part_of_the_pieces() -> None:
    move = Move((True, False), (0.25, 0.0))
    whole = np.concatenate([list(came) for _, came in move.pieces(0, range(H), H)])
    part = np.concatenate([list(came) for _, came in move.pieces(0, range(5, 33), H)])
    np.testing.assert_array_equal(part, whole[5:33])
