"""What a scene says of itself, before any network: numpy and scipy on a coarse grid, no torch.

`survey` looks first; `coregister` finds the `offset` of Sentinel-1, and for `other_dates` theirs, of a large scene by a
few `sights`, if ground `held_out` bears it out; `references` says which of these help, none of the `same_acquisition`,
and `look` puts all in place. `model` is what the ground under cloud probably looks like: by the `features` that are
known of every pixel (radar under Gaussians: `smoothing`) and a field on a `lattice`, with settings found by `evidence`;
several `candidates`, and `trees` by each pixel's `neighbourhood`, mixed by a `stack` as holes decide; rows
go on all `threads`. `unobstructed` says where nothing is in the way of the ground, `cloud_edges` follows a mask's
clouds to where they end and to the `cast_shadows` of theirs, and `uncertainty` is how far off all of that may be.
"""
