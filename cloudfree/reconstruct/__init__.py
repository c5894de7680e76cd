"""A scene through the network, window by window.

`tile` is one window: what the network is shown, with what `see_through` makes of thin cloud and shadow, and how far its
answer is taken. `tiles` plans overlapping windows, `strips` reads rows of a scene with the weight (`feather`) that each
pixel is reconstructed by, `sliding_window` takes them through the network and blends what comes out. `predictor` is the
network on its device, and `trust` how far it is believed on a scene, by its `own_clouds`, `lifted` off their ground and
laid over clear ground; `texture` is what that has of finer detail than the scene's model. `golden` compares a predictor
with what weights gave where they were made.
"""
