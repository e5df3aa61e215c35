"""Several processes that train one network: what torchrun has started, with gradients summed over their shares."""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from itertools import count

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

_MEETINGS = count(1)  # of this process with the others


@contextmanager
def joined(device: str | torch.device = "cpu") -> Iterator[None]:
    """Within the block the processes that torchrun has started work together; a process that it has not is alone.

        torchrun --standalone --nproc-per-node 2 script.py

    They talk by gloo on CPUs and by NCCL on GPUs, where "cuda" is for each process the one of its local number.
    """
    if not _launched() or _several():
        yield
        return
    gpu = torch.device(device).type == "cuda"
    if gpu:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    store, rank, processes = next(dist.rendezvous("env://"))
    # Where nobody left an address the last time; and for as long as it takes, as the others may wait for hours while
    # the first evaluates, and torchrun ends them if it dies.
    how = {"store": dist.PrefixStore(f"meeting {next(_MEETINGS)}", store), "rank": rank, "world_size": processes}
    dist.init_process_group("nccl" if gpu else "gloo", timeout=timedelta(days=365), **how)
    try:
        yield
    finally:
        dist.destroy_process_group()


def place() -> tuple[int, int]:
    """The number of this process, and how many work together.

    >>> place()
    (0, 1)
    """
    return (dist.get_rank(), dist.get_world_size()) if _several() else (0, 1)


def wait_for_all() -> None:
    """Go on once every process is here."""
    if _several():
        dist.barrier()


def check_alone(what: str) -> None:
    """ValueError in a process that torchrun has started, for what starts processes of its own."""
    if _launched():
        raise ValueError(f"{what} starts processes of its own: leave out torchrun, which is for a script that trains")


def total(values: Sequence[float], device: torch.device) -> np.ndarray:
    """The sums over all processes, (values,) float64; `device` is where they meet."""
    if not _several():
        return np.array(values, dtype=np.float64)
    sums = torch.tensor(values, dtype=torch.float64, device=device)
    dist.all_reduce(sums)
    return sums.cpu().numpy()


def add_gradients(weights: Iterable[Tensor]) -> None:
    """Replace every weight's gradient by its sum over all processes, in one message."""
    if not _several():
        return
    gradients = [weight.grad for weight in weights if weight.grad is not None]
    sums = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(sums)
    for gradient, part in zip(gradients, sums.split([gradient.numel() for gradient in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))


def take_first(tensors: Iterable[Tensor]) -> None:
    """Give every process the first one's tensors."""
    if _several():
        for tensor in tensors:
            dist.broadcast(tensor, 0)


def _launched() -> bool:
    return "TORCHELASTIC_RUN_ID" in os.environ


def _several() -> bool:
    return dist.is_available() and dist.is_initialized()
