"""Networks: reflectance and dB in, reflectance out. They know no file of a user.

`weights` loads a model of `models`, whose slow layers are in `kernels`; `predict` runs it on a device, with
`cuda_graphs` on CUDA; `tiles` plans overlapping windows, and `sliding_window` takes a scene through them.
"""
