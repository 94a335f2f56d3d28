"""Kernels for CUDA devices, written in Triton; imported only where a model runs on one."""
