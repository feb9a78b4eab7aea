"""The machine is asked, limits of our own count, and no GPU comes with its reason."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from gpufair.provider.hardware.energy import Meter, counter
from gpufair.provider.hardware.gpu import GpuDevice, GpuFindings, NvmlProbe
from gpufair.provider.hardware.probe import probe


class NoGpu:
    def look(self) -> GpuFindings:
        return GpuFindings(why="none here")


def tree(root: Path, **files: str) -> Path:
    names = {
        "max": "sys/fs/cgroup/memory.max", "limit": "sys/fs/cgroup/memory/memory.limit_in_bytes",
        "cpu": "sys/fs/cgroup/cpu.max", "quota": "sys/fs/cgroup/cpu/cpu.cfs_quota_us",
        "period": "sys/fs/cgroup/cpu/cpu.cfs_period_us", "cpuinfo": "proc/cpuinfo", "meminfo": "proc/meminfo",
    }  # fmt: skip
    for key, text in files.items():
        path = root / names[key]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_this_machine(tmp_path):
    found = probe(tmp_path / "not" / "yet", NoGpu())
    assert 1 <= found.cpu_cores <= (os.cpu_count() or 1)
    assert 64 << 20 < found.memory_free <= found.memory_bytes
    assert found.disk_free > 0
    assert found.cpu_name
    assert found.gpus.why == "none here"


@pytest.mark.parametrize(
    ("files", "cores", "memory"),
    [
        ({}, None, None),
        ({"max": "max\n", "cpu": "max 100000\n"}, None, None),
        ({"max": "268435456\n", "cpu": "100000 100000\n"}, 1, 256 << 20),
        ({"limit": "134217728\n", "quota": "50000\n", "period": "100000\n"}, 1, 128 << 20),
        ({"limit": "9223372036854771712\n", "quota": "-1\n", "period": "100000\n"}, None, None),
        ({"max": "", "cpu": "", "quota": "x", "period": "0", "meminfo": "MemAvailable: ?\n"}, None, None),
    ],
)
def test_limits_of_our_own_count(files, cores, memory, tmp_path):
    whole = probe(tmp_path, NoGpu(), root=tree(tmp_path / "whole"))
    found = probe(tmp_path, NoGpu(), root=tree(tmp_path / "limited", **files))
    assert found.cpu_cores == (cores or whole.cpu_cores)
    assert found.memory_bytes == (memory or whole.memory_bytes)
    assert found.memory_free <= found.memory_bytes


def test_a_name_from_the_machine_is_safe_to_print(tmp_path):
    root = tree(tmp_path / "r", cpuinfo="processor : 0\nmodel name\t: Evil \x1b[31m CPU" + "x" * 500 + "\n")
    name = probe(tmp_path, NoGpu(), root=root).cpu_name
    assert name.startswith("Evil")
    assert "\x1b" not in name
    assert len(name) <= 128


def test_without_a_driver_it_says_so():
    found = NvmlProbe().look()
    if Path("/proc/driver/nvidia/version").exists():
        assert found.devices
        assert found.driver
    else:
        assert found.devices == ()
        assert "NVIDIA" in found.why


def test_without_the_package_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert "pip install" in NvmlProbe().look().why


class NvmlError(Exception):
    pass


def library(monkeypatch, **more):
    """NVML as its Python package shows it, with two cards."""

    def nothing(*_):
        return None

    cards = {0: "GPU-aaaa", 1: "GPU-bbbb"}
    calls = {
        "NVMLError": NvmlError, "nvmlInit": nothing, "nvmlShutdown": nothing, "nvmlDeviceGetCount": lambda: len(cards),
        "nvmlDeviceGetHandleByIndex": lambda index: index, "nvmlDeviceGetUUID": cards.__getitem__,
        "nvmlDeviceGetName": lambda _: b"NVIDIA Thing\n9000", "nvmlSystemGetDriverVersion": lambda: "560.1",
        "nvmlDeviceGetMemoryInfo": lambda _: SimpleNamespace(total=8 << 30, free=7 << 30),
    }  # fmt: skip
    monkeypatch.setitem(sys.modules, "pynvml", SimpleNamespace(**{**calls, **more}))


def test_cards_are_listed(monkeypatch):
    library(monkeypatch)
    found = NvmlProbe().look()
    assert [gpu.uuid for gpu in found.devices] == ["GPU-aaaa", "GPU-bbbb"]
    assert found.devices[0] == GpuDevice("GPU-aaaa", "NVIDIA Thing 9000", 8 << 30, 7 << 30)
    assert (found.driver, found.why) == ("560.1", "")


def test_a_card_that_fell_off_its_bus_is_named_and_the_other_is_there(monkeypatch):
    def handle(index):
        if index == 0:
            raise NvmlError("GPU is lost")
        return index

    library(monkeypatch, nvmlDeviceGetHandleByIndex=handle)
    found = NvmlProbe().look()
    assert [gpu.uuid for gpu in found.devices] == ["GPU-bbbb"]
    assert "GPU 0" in found.why
    assert "lost" in found.why


def test_a_driver_that_fails_half_way_is_a_reason(monkeypatch):
    def broken():
        raise NvmlError("version mismatch")

    library(monkeypatch, nvmlSystemGetDriverVersion=broken)
    assert "version mismatch" in NvmlProbe().look().why
    library(monkeypatch, nvmlDeviceGetCount=lambda: 0)
    assert "knows no GPU" in NvmlProbe().look().why


class TwoSecondsLater:
    def __init__(self):
        self.now = 0

    def now_ms(self):
        self.now += 2_000
        return self.now


def test_a_gpu_s_own_counter_and_what_was_drawn_on_average(monkeypatch):
    drawn = iter([5_000, 905_000])
    library(
        monkeypatch, nvmlDeviceGetHandleByUUID=lambda uuid: uuid,
        nvmlDeviceGetTotalEnergyConsumption=lambda _: next(drawn),
    )  # fmt: skip
    assert Meter(counter("GPU-aaaa"), TwoSecondsLater()).milliwatts() == 450_000


def test_no_counter_is_no_guess(monkeypatch):
    def unsupported(_):
        raise NvmlError("Not Supported")

    assert Meter(counter(None), TwoSecondsLater()).milliwatts() == 0
    library(monkeypatch, nvmlDeviceGetHandleByUUID=lambda uuid: uuid, nvmlDeviceGetTotalEnergyConsumption=unsupported)
    assert counter("GPU-aaaa").millijoules() is None
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert counter("GPU-aaaa").millijoules() is None

    class Reloaded:
        counts = iter([7, 3])

        def millijoules(self):
            return next(self.counts)

    assert Meter(Reloaded(), TwoSecondsLater()).milliwatts() == 0
