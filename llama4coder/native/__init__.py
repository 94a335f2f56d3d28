"""Kernels in C for CPUs that compute in bfloat16; everything works without them, only slower."""
