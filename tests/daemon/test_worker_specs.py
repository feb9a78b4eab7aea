"""What each worker is granted, on machines that are not here: one for each GPU, and never more threads than cores."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gpufair.protocol.errors import LocalError
from gpufair.provider.config import Config
from gpufair.provider.hardware.gpu import GpuDevice, GpuFindings
from gpufair.provider.hardware.probe import Hardware
from gpufair.provider.home import Home
from gpufair.provider.selling import patience, worker_specs
from gpufair.provider.workers.runtime import WorkerSpec

RIG = tuple(GpuDevice(f"GPU-{n}", "NVIDIA H200", 141 * 10**9, 140 * 10**9) for n in range(8))


def specs(home: Path, *, cores: int, **workers: Any) -> list[WorkerSpec]:
    hardware = Hardware("a processor", cores, 2**38, 2**37, 2**40, GpuFindings(RIG, "570.1"))
    config = replace(Config(), workers=replace(Config().workers, **workers))
    return worker_specs(config, Home(home), hardware)


def test_each_gpu_that_is_sold_has_one_worker(tmp_path: Path) -> None:
    chosen = tuple(device.uuid for device in RIG[2:6])
    for jobs in (1, 2, 16):
        made = specs(tmp_path, cores=32, gpus=chosen, concurrent_jobs=jobs)
        assert [spec.gpu for spec in made] == list(chosen)
        assert [spec.threads for spec in made] == [7] * 4


def test_a_gpu_that_is_not_here_is_not_sold(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match="GPU-8") as caught:
        specs(tmp_path, cores=32, gpus=("GPU-7", "GPU-8"))
    assert "NVIDIA H200 (GPU-7)" in caught.value.hint


def test_the_processor_has_as_many_as_the_owner_wants(tmp_path: Path) -> None:
    made = specs(tmp_path, cores=16, concurrent_jobs=3)
    assert [(spec.gpu, spec.threads, spec.cpu_milli) for spec in made] == [(None, 5, 5000)] * 3


@pytest.mark.parametrize("cores", [1, 2, 3, 8, 64])
@pytest.mark.parametrize("jobs", [1, 2, 5, 8])
@pytest.mark.parametrize("cpus", [0.0, 0.5, 4.0, 64.0])
def test_workers_never_crowd_the_cores(tmp_path: Path, cores: int, jobs: int, cpus: float) -> None:
    made = specs(tmp_path, cores=cores, concurrent_jobs=jobs, cpus=cpus)
    assert len(made) == jobs
    assert sum(spec.threads for spec in made) <= max(cores, jobs)


def test_arithmetic_goes_to_every_worker_and_compiling_is_waited_for(tmp_path: Path) -> None:
    made = specs(tmp_path, cores=8, gpus=("GPU-0", "GPU-1"), dtype="bfloat16", compile=True)
    assert {(spec.dtype, spec.compile) for spec in made} == {("bfloat16", True)}
    slow = replace(Config(), workers=replace(Config().workers, compile=True))
    assert patience(slow).silence_ms > 4 * patience(Config()).silence_ms
