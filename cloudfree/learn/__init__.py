"""How networks learn, from clear places under clouds, pairs of images, and a user's own scenes.

`train`, told by `train_options`, is the loop; `adapt` fine-tunes to one scene. Both let a `learner` minimise `losses`,
`distributed` over processes. `sources` turns files into `samples`: `pairs` are cloudy and clear images;
`clouded_places` lays `cloud_layers` over `places` and what is clear in `scenes`, varied by `augment`. What finds clouds
learns by `detection` from `sky_samples` of `labelled_grounds`.
"""
