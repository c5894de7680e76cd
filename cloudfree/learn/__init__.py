"""How networks learn, from clear places under clouds, pairs of images, and a user's own scenes.

`train`, told by `train_options`, is the loop; `adapt` fine-tunes to one scene. Both let a `learner` minimise its goal,
`distributed` over processes, while `workers` draw samples.

Networks that see learn by `seeing` from `seen_samples`: ground beneath `lifted_layers`, with all that a run shows of
it. `make_samples` makes them of `obscured_places`, which `sample_grounds` reads, and keeps them in `sample_files`;
`adapt` makes them of `obscured_windows`. Networks as published learn by `losses`: `sources` turns files into `samples`,
`pairs` are cloudy and clear images, `clouded_places` lays `cloud_layers` over `places` and what is clear in `scenes`,
varied by `augment`. What finds clouds learns by `detection` from `sky_samples`: `labelled_grounds` under such
layers, and `clouded_images` as they are, with `sky_labels`.
"""
