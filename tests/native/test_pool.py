"""The threads behind the kernels: every piece exactly once, whoever calls, however crowded the machine is."""

import ctypes
import threading

import torch

from llama4coder.native.linear import PackedLinear


def test_callers_at_the_same_time_all_get_their_own_results(library: ctypes.CDLL) -> None:
    """Several engines in one process, on fewer cores than threads: thousands of loops, none lost or mixed up."""
    weight = torch.randn(640, 64).bfloat16()
    linear = PackedLinear.pack(library, weight, None)
    inputs = [torch.randn(3, 64).bfloat16() for _ in range(6)]
    expected = [linear(x) for x in inputs]
    wrong: list[int] = []

    def call(index: int) -> None:
        for _ in range(2000):
            if not torch.equal(linear(inputs[index]), expected[index]):
                wrong.append(index)

    threads = [threading.Thread(target=call, args=(index,)) for index in range(len(inputs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert not any(thread.is_alive() for thread in threads), "a loop hangs"
    assert not wrong


def test_results_do_not_depend_on_the_number_of_threads(library: ctypes.CDLL) -> None:
    weight, x = torch.randn(3000, 128).bfloat16(), torch.randn(32, 128).bfloat16()
    linear = PackedLinear.pack(library, weight, None)
    before = linear(x)
    library.l4c_set_num_threads(ctypes.c_int64(5))
    assert all(torch.equal(linear(x), before) for _ in range(200))
