"""The Docker adapter and a real engine: what it refuses, what it makes, and what it says when the engine is gone."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import threading
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gpufair.protocol.errors import LocalError
from gpufair.protocol.frames import Hello, Ready, Run
from gpufair.protocol.messages.market import Isolation
from gpufair.provider.workers.docker import DockerRuntime
from gpufair.provider.workers.runtime import LABEL_NODE, WorkerSpec

NODE = f"did:test:docker:{os.getpid()}"
CANARY = "canary-7d1f"


@pytest.fixture
def connected(hostile_image, docker_host, engine):
    @asynccontextmanager
    async def connect(**more):
        runtime = await DockerRuntime.connect(**{"node": NODE, "image": hostile_image, "host": docker_host, **more})
        try:
            yield runtime
        finally:
            await runtime.close()

    yield connect
    for node in (NODE, f"{NODE}:other"):
        for left in engine.containers(all=True, filters={"label": f"{LABEL_NODE}={node}"}):
            engine.remove_container(left["Id"], force=True)


def test_the_image_is_known_by_its_digest(connected, hostile_image):
    async def scenario():
        async with connected() as runtime:
            assert runtime.worker_image.hex() == hostile_image.removeprefix("sha256:")
            assert runtime.isolation is Isolation.CONTAINER
        async with connected(gvisor=True) as runtime:
            assert runtime.isolation is Isolation.GVISOR

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "image", ["gpufair-base", "python:3.11", "latest", "sha256:abc", "x@sha256:" + "g" * 64, "--help"]
)
def test_a_tag_is_never_accepted(image, docker_host):
    with pytest.raises(LocalError, match="named by its digest"):
        asyncio.run(DockerRuntime.connect(node=NODE, image=image, host=docker_host))


def test_no_image_at_all_names_the_command_that_makes_one(docker_host):
    with pytest.raises(LocalError, match="no worker image") as caught:
        asyncio.run(DockerRuntime.connect(node=NODE, image="", host=docker_host))
    assert "script/image" in caught.value.hint


def test_an_image_that_is_not_there(docker_host):
    with pytest.raises(LocalError, match="no such image") as caught:
        asyncio.run(DockerRuntime.connect(node=NODE, image="sha256:" + "0" * 64, host=docker_host))
    assert "pull" in caught.value.hint


@pytest.mark.parametrize("line", ["ENV LD_PRELOAD=/evil.so", "ENV NVIDIA_VISIBLE_DEVICES=all", "VOLUME /data"])
def test_an_image_that_reaches_past_the_walls(line, build, docker_host):
    with pytest.raises(LocalError, match="is refused"):
        asyncio.run(DockerRuntime.connect(node=NODE, image=build(line), host=docker_host))


@pytest.mark.parametrize("host", ["unix:///nowhere/docker.sock", "tcp://127.0.0.1:1", "http://evil", "ssh://host"])
def test_no_engine_is_said_with_a_way_out(host):
    with pytest.raises(LocalError) as caught:
        asyncio.run(DockerRuntime.connect(node=NODE, image="sha256:" + "0" * 64, host=host))
    assert caught.value.hint


def test_nothing_of_a_job_reaches_the_engine(connected, engine, spec, tools):
    """Every field that a buyer fills carries a mark, and the engine never hears of it."""

    async def scenario():
        async with connected() as runtime:
            pool = tools.pool(runtime, spec)
            run = tools.order(negative_prompt=CANARY, scheduler=CANARY, precision=CANARY, task=CANARY)
            assert isinstance(run, Run)
            stream = pool.run(run)
            await anext(stream)
            (container,) = engine.containers(filters={"label": f"{LABEL_NODE}={NODE}"})
            made = engine.inspect_container(container["Id"])
            assert CANARY not in json.dumps(made)
            assert run.attempt.hex() not in json.dumps(made)
            await stream.aclose()
            host = made["HostConfig"]
            assert not any(host[key] for key in ("Binds", "Privileged", "CapAdd", "Devices", "VolumesFrom"))
            assert (host["PidMode"], host["NetworkMode"], host["IpcMode"]) == ("", "none", "private")
            assert host["LogConfig"]["Type"] == "none"
            assert [(mount["Source"], mount["RW"]) for mount in made["Mounts"]] == [(str(spec.models), False)]
            await pool.close()

    asyncio.run(scenario())


def test_a_gpu_that_the_engine_can_not_give_leaves_no_container(connected, engine, spec):
    if Path("/proc/driver/nvidia/version").exists():
        pytest.skip("this machine has an NVIDIA driver")

    async def scenario():
        async with connected() as runtime:
            wanting = WorkerSpec(models=spec.models, memory_bytes=spec.memory_bytes, gpu="GPU-none")
            with pytest.raises(LocalError, match="engine refuses"):
                await runtime.start(wanting, "g1")
            assert await runtime.leftovers() == []

    asyncio.run(scenario())


def test_a_models_folder_that_is_not_there_leaves_no_container(connected, spec):
    async def scenario():
        async with connected() as runtime:
            with pytest.raises(LocalError, match="engine refuses"):
                await runtime.start(WorkerSpec(models=Path("/nowhere"), memory_bytes=spec.memory_bytes), "m1")
            assert await runtime.leftovers() == []

    asyncio.run(scenario())


def test_a_start_that_is_cancelled_leaves_no_container(connected, spec):
    async def scenario():
        async with connected() as runtime:
            for delay in (0.0, 0.02, 0.1, 0.3):
                starting = asyncio.create_task(runtime.start(spec, f"c{int(delay * 1000)}"))
                await asyncio.sleep(delay)
                starting.cancel()
                outcome = (await asyncio.gather(starting, return_exceptions=True))[0]
                if not isinstance(outcome, BaseException):
                    await outcome.kill()
            for _ in range(100):
                if not await runtime.leftovers():
                    break
                await asyncio.sleep(0.1)
            assert await runtime.leftovers() == []

    asyncio.run(scenario())


def test_a_worker_ends_when_its_daemon_goes(connected, spec, engine):
    """The attachment is its stdin: a daemon that dies without a word takes an honest worker along."""

    async def scenario():
        async with connected() as runtime:
            worker = await runtime.start(spec, "w1")
            await worker.send(Hello(1, b"n" * 16, 1, "auto"))
            assert isinstance(await worker.receive(), Ready)
            await worker._channel.close()  # as the kernel does for a process that is gone
            for _ in range(100):
                if not engine.containers(filters={"label": f"{LABEL_NODE}={NODE}"}):
                    break
                await asyncio.sleep(0.1)
            assert engine.inspect_container(worker.container)["State"]["Status"] == "exited"
            assert [left.worker for left in await runtime.leftovers()] == ["w1"], "still there to be found by its label"

    asyncio.run(scenario())


def test_no_open_file_stays_behind(connected, spec):
    async def scenario():
        async with connected() as runtime:
            counts = []
            for round_ in range(10):
                worker = await runtime.start(spec, f"f{round_}")
                await worker.send(Hello(1, b"n" * 16, 1, "auto"))
                assert isinstance(await worker.receive(), Ready)
                await worker.kill()
                gc.collect()  # the SDK keeps up to 25 connections, and leaves others to the collector
                counts.append(sum(1 for _ in Path("/proc/self/fd").iterdir()))
            assert counts[-1] <= counts[-3], counts

    asyncio.run(scenario())


def test_leftovers_are_those_of_our_node_alone(connected, spec):
    async def scenario():
        async with connected() as ours, connected(node=f"{NODE}:other") as theirs:
            await ours.start(spec, "w1")
            await theirs.start(spec, "w2")
            assert [left.worker for left in await ours.leftovers()] == ["w1"]
            assert [left.worker for left in await theirs.leftovers()] == ["w2"]
            (left,) = await ours.leftovers()
            await ours.reap(left)
            await ours.reap(left)
            assert await ours.leftovers() == []
            assert len(await theirs.leftovers()) == 1

    asyncio.run(scenario())


def test_the_engine_goes_while_a_worker_runs(connected, docker_host, spec, tools, tmp_path):
    """Through a socket of our own that is cut, because the real engine serves other tests."""

    async def scenario():
        cut = threading.Event()
        path = tmp_path / "engine.sock"
        tasks: set[asyncio.Task[None]] = set()

        async def relay(reader, writer):
            there_reader, there_writer = await asyncio.open_unix_connection(docker_host.removeprefix("unix://"))

            async def pump(source, sink):
                while not cut.is_set() and (data := await source.read(65536)):
                    sink.write(data)
                    await sink.drain()
                sink.close()

            tasks.update(asyncio.create_task(pump(*pair)) for pair in ((reader, there_writer), (there_reader, writer)))
            writers.append(writer)

        writers = []
        server = await asyncio.start_unix_server(relay, path)
        async with connected(host=f"unix://{path}") as runtime:
            pool = tools.pool(runtime, spec)
            stream = pool.run(tools.order("silent"))
            await anext(stream)
            cut.set()
            server.close()
            path.unlink()
            for writer in writers:
                writer.close()
            with pytest.raises(LocalError, match="doesn't answer") as caught:
                [event async for event in stream]
            assert "docker" in caught.value.hint
            with pytest.raises(LocalError, match="doesn't answer"):
                await tools.collect(pool, tools.order())
            # The engine comes back: the same pool serves again, and clears what was left behind.
            cut.clear()
            back = await asyncio.start_unix_server(relay, path)
            assert tools.is_picture(await tools.collect(pool, tools.order()))
            await pool.close()
            assert await pool.reap() == 0
            back.close()
        for task in tasks:
            task.cancel()

    asyncio.run(scenario())
