"""Run a function in real processes joined by gloo, on CPU.

They are forked from a server that has imported what ranks need, so that only the first call waits for these imports.
"""

import multiprocessing
import os
import socket
import warnings
from collections.abc import Callable
from typing import Any

import torch

PRELOADED = ["torch", "transformers", "accelerate", "peft", "datasets", "tsembed.training.loop", "tests.ranks"]


def run_ranks(function: Callable, world_size: int, *arguments: Any) -> None:
    """Call `function(rank, *arguments)` in `world_size` processes; an error in any of them is raised here.

    A warning in one of them is what it is here: under pytest an error.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    arguments = (world_size, port, list(warnings.filters), function, arguments)
    multiprocessing.set_forkserver_preload(PRELOADED)  # read when the server starts
    torch.multiprocessing.start_processes(_join, arguments, nprocs=world_size, start_method="forkserver")


def _join(rank: int, world_size: int, port: int, filters: list, function: Callable, arguments: tuple) -> None:
    warnings.resetwarnings()  # also forgets which warnings were shown before
    warnings.filters[:] = filters
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(world_size),
        "LOCAL_WORLD_SIZE": str(world_size),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "ACCELERATE_USE_CPU": "true",
        "OMP_NUM_THREADS": "1",
    }
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", rank=rank, world_size=world_size)
    try:
        function(rank, *arguments)
    finally:
        torch.distributed.destroy_process_group()
