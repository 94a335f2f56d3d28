"""How the ranks of a replica find each other, and the process groups that they then talk in."""

import fcntl
import ipaddress
import socket
import struct
from datetime import timedelta

import torch
import torch.distributed as dist
from torch.distributed import TCPStore  # type: ignore[attr-defined]  # documented, and not in its stub's __all__

from llama4coder.env import admit_equal_gpu_numbers, use_network_interface
from llama4coder.parallel.comm import TorchGroup
from llama4coder.parallel.meeting import Meeting
from llama4coder.parallel.plan import RankPlan
from llama4coder.parallel.share import RankShare
from llama4coder.parallel.symmetric import choose_group

_SIOCGIFADDR = 0x8915  # of Linux: the IPv4 address of an interface
_SLOWEST_LOAD_S = 900.0  # on GPUs the first step is part of loading, and waits for the slowest rank


class MeetingPlace:
    """The store behind a `Meeting`; the first rank keeps it for as long as the replica lives."""

    def __init__(self, host: str, timeout_s: float) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as listener:  # ours, since the store would listen everywhere
            listener.bind((host, 0))
            listener.listen()
            self.meeting = Meeting(host, listener.getsockname()[1])
            self._store = TCPStore(
                host,
                self.meeting.port,
                is_master=True,
                wait_for_workers=False,
                timeout=timedelta(seconds=timeout_s),
                master_listen_fd=listener.detach(),
            )


def join(meeting: Meeting, plan: RankPlan, host: str, device: torch.device, timeout_s: float) -> RankShare:
    """Meet the other ranks and form the groups of this one, to be called once per process.

    `host` is the address of this rank's node in the cluster: the ranks talk over the interface that has it. A message
    that takes longer than `timeout_s` breaks the group.

    Raises:
        RuntimeError: not all ranks came within `timeout_s`.
    """
    interface = interface_of(host)
    if interface is not None:
        use_network_interface(interface)
    is_gpu = device.type == "cuda"
    timeout = timedelta(seconds=max(timeout_s, _SLOWEST_LOAD_S) if is_gpu else timeout_s)
    store = TCPStore(meeting.host, meeting.port, is_master=False, timeout=timeout)
    dist.init_process_group(
        "nccl" if is_gpu else "gloo",
        store=store,
        rank=plan.rank,
        world_size=plan.layout.num_ranks,
        timeout=timeout,
        device_id=device if is_gpu else None,
    )
    assert dist.group.WORLD is not None
    admit_equal_gpu_numbers()
    ranks = choose_group(TorchGroup(dist.group.WORLD), device, is_one_node=len(_hosts(store, plan, host)) == 1)
    return RankShare(plan, ranks, _join_kv_ranks(plan, timeout))


def _hosts(store: TCPStore, plan: RankPlan, host: str) -> set[bytes]:
    """The addresses of all ranks' nodes."""
    store.set(f"host of rank {plan.rank}", host)
    return {store.get(f"host of rank {rank}") for rank in range(plan.layout.num_ranks)}


def _join_kv_ranks(plan: RankPlan, timeout: timedelta) -> TorchGroup:
    """Every rank makes every group, in the same order, as torch.distributed asks for."""
    layout = plan.layout
    firsts = range(0, layout.num_ranks, layout.kv_shards)
    groups = {layout.kv_group(first): dist.new_group(layout.kv_group(first), timeout=timeout) for first in firsts}
    return TorchGroup(groups[layout.kv_group(plan.rank)])


def interface_of(host: str) -> str | None:
    """The network interface that has an IPv4 address, or any loopback address; None if no interface has it."""
    wanted = ipaddress.ip_address(host)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, name in socket.if_nameindex():
            try:
                answer = fcntl.ioctl(probe, _SIOCGIFADDR, struct.pack("256s", name.encode()))
            except OSError:  # it has no IPv4 address
                continue
            found = ipaddress.ip_address(answer[20:24])
            if found == wanted or (found.is_loopback and wanted.is_loopback):
                return name
    return None
