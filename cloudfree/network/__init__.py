"""Networks: reflectance and dB in, reflectance out. They know no scene and no file of a user.

`weights` loads a model of `models`, whose slow layers are in `kernels`; `registry` says which come with the package;
`device` says where it runs and in which precision.
"""
