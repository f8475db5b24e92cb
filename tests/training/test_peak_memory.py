import sys
from pathlib import Path

import numpy as np
import pytest

from peftlens.training import peak_memory
from peftlens.training.peak_memory import PeakMemory, heap_without_holes

MIB = 2**20
linux = pytest.mark.skipif(not peak_memory._RESET.exists(), reason="only Linux keeps such marks")


@linux
def test_what_was_held_for_a_moment_counts():
    peak = PeakMemory.start("cpu")
    np.ones(64 * MIB, np.uint8)
    assert 60 * MIB < peak.bytes() < 80 * MIB


@linux
def test_what_came_before_does_not():
    held = np.ones(64 * MIB, np.uint8)
    np.ones(128 * MIB, np.uint8)
    peak = PeakMemory.start("cpu")
    assert peak.bytes() < 8 * MIB
    assert held.any()


@linux
def test_a_restart_forgets_the_peak_and_keeps_what_is_held():
    peak = PeakMemory.start("cpu")
    held = np.ones(64 * MIB, np.uint8)
    np.ones(128 * MIB, np.uint8)
    assert peak.bytes() > 180 * MIB
    peak.restart()
    assert 60 * MIB < peak.bytes() < 80 * MIB
    assert held.any()


@linux
def test_freed_arrays_between_arrays_in_use_do_not_count():
    with heap_without_holes():
        peak = PeakMemory.start("cpu")
        arrays = [np.ones(MIB, np.uint8) for _ in range(64)]
        held = arrays[1::2]
        del arrays
        peak.restart()
        assert 28 * MIB < peak.bytes() < 40 * MIB
    assert len(held) == 32


def test_nobody_knows_where_the_system_does_not_say(monkeypatch, tmp_path):
    monkeypatch.setattr(peak_memory, "_RESET", tmp_path / "none" / "clear_refs")
    peak = PeakMemory.start("cpu")
    peak.restart()
    assert peak.bytes() is None


def test_a_system_without_the_functions_of_gnu_s_library(monkeypatch):
    def refuse(name):
        raise TypeError(f"bad argument type {type(name)}")  # as on Windows for None

    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(peak_memory.ctypes, "CDLL", refuse)
    monkeypatch.setattr(peak_memory, "_RESET", Path("no", "clear_refs"))
    with heap_without_holes():
        assert PeakMemory.start("cpu").bytes() is None
