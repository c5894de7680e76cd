"""Networks: reflectance and dB in, reflectance out. They know no scene and no file of a user.

`weights` loads a model of `models`, whose slow layers are in `kernels`; `device` says where it runs and in which
precision.
"""
