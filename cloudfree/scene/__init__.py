"""What a scene says of itself, before any network: numpy and scipy on a coarse grid, no torch.

`survey` looks first; `coregister` finds the `offset` of Sentinel-1; `prior` guesses the ground under cloud in closed
form; `priming` shows it to a network in place of cloud; `trust` finds how far the network is then believed.
"""
