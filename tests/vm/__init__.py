"""The library on distribution kernels, in virtual machines; see README.md."""
