"""Memory that processes which train and attack keep for their next tensors."""

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # of malloc.h


def keep_memory() -> None:
    """Have this process keep the memory that it frees, on Linux with glibc; elsewhere nothing changes.

    By default glibc hands large blocks back to the system as soon as they are free, and every step of training gets its
    activations anew, page by page: up to a quarter of the time of a network as large as the paper's on MNIST (measured
    by `benchmarks/training.py --return-memory`). A process that keeps them is as large as it was at its peak. Numbers
    do not change.

    >>> keep_memory()
    """
    if sys.platform == "linux" and (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)):  # musl has none
        mallopt(_MMAP_MAX, 0)
        mallopt(_TRIM_THRESHOLD, 2**31 - 1)
