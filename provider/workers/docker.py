"""Workers in containers, under runc or gVisor. Rule: alone imports the Docker SDK, and checks all that it asked for.

The container's description comes whole from `hardening`; after the start the engine is asked what it made of it, and a
difference ends the worker. The SDK blocks, so its calls run in threads; frames don't go through it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import docker.errors
import requests.exceptions

import docker
from gpufair.protocol.errors import Fault, LocalError
from gpufair.protocol.frames import FromWorker, ToWorker
from gpufair.protocol.messages.market import Isolation
from gpufair.provider.config import PINNED
from gpufair.provider.workers import hardening, sources
from gpufair.provider.workers.attach import AttachPipe
from gpufair.provider.workers.channel import Channel, LogTail
from gpufair.provider.workers.runtime import LABEL_NODE, LABEL_WORKER, Leftover, WorkerExit, WorkerSpec

API_TIMEOUT = 60
THREADS = 4
DEFAULT_HOST = "unix:///var/run/docker.sock"
ATTACH = {"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1}
T = TypeVar("T")


class Engine:
    """Calls to one engine: each in a thread, each failure a `LocalError` that says what to do."""

    def __init__(self, host: str) -> None:
        self.host = host
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="engine")
        self.api = self._client()

    def submit(self, call: Callable[[], T]) -> Future[T]:
        """Begin a call without waiting."""
        try:
            return self._threads.submit(self._explained, call)
        except RuntimeError as err:
            raise LocalError(Fault.INTERNAL, "the runtime was closed while a worker of it still ran") from err

    async def call(self, call: Callable[[], T]) -> T:
        """Make a call. It goes on to its end even if whoever waits is cancelled."""
        return await asyncio.wrap_future(self.submit(call))

    def remove(self, container: str) -> None:
        """Kill and remove a container with its anonymous volumes; one that has gone is no error. Blocks."""
        try:
            self.api.remove_container(container, force=True, v=True)
        except docker.errors.NotFound:
            return
        except docker.errors.APIError as err:
            if err.status_code != requests.codes.conflict:  # 409: a removal is under way already
                raise

    def close(self) -> None:
        """Wait for calls under way, then let go of the connections. Blocks."""
        self._threads.shutdown(wait=True)
        self.api.close()

    def _client(self) -> docker.APIClient:
        if not self.host.startswith("unix://"):
            raise LocalError(
                Fault.NOT_ALLOWED,
                f"workers need an engine on this machine, and {self.host} is not a local socket",
                hint="set the engine's address to unix:///path/to/docker.sock",
            )
        return self._explained(lambda: docker.APIClient(base_url=self.host, version="auto", timeout=API_TIMEOUT))

    def _explained(self, call: Callable[[], T]) -> T:
        try:
            return call()
        except docker.errors.ImageNotFound as err:
            raise LocalError(
                Fault.UNKNOWN, f"the engine has no such image: {err.explanation}", hint="pull or build it first"
            ) from err
        except docker.errors.APIError as err:
            raise LocalError(Fault.UNAVAILABLE, f"the engine refuses: {err.explanation or err}") from err
        except (docker.errors.DockerException, requests.exceptions.RequestException, OSError) as err:
            raise LocalError(
                Fault.UNAVAILABLE,
                f"the container engine at {self.host} doesn't answer",
                hint="start it (systemctl start docker), or let workers run as processes",
            ) from err


class DockerWorker:
    """One container, attached."""

    def __init__(self, engine: Engine, spec: WorkerSpec, worker: str, container: str, attached: socket.socket) -> None:
        self.id = worker
        self.container = container
        self.exit: WorkerExit | None = None
        self._engine, self._models = engine, spec.models
        self._log = LogTail()
        self._channel = Channel(AttachPipe(attached, self._log), self._log)
        self._ending = asyncio.Lock()

    @property
    def log_tail(self) -> str:
        """The end of its stderr."""
        return str(self._log)

    @property
    def alive(self) -> bool:
        """Whether the attachment still stands."""
        return self._channel.alive

    def model_path(self, folder: Path) -> str:
        """Where `folder` is inside. `LocalError` if it lies outside of what is mounted."""
        try:
            return f"{hardening.MODELS}/{folder.relative_to(self._models).as_posix()}"
        except ValueError:
            raise LocalError(Fault.INTERNAL, "a model outside of the models folder") from None

    async def send(self, frame: ToWorker) -> None:
        """As `Worker.send`."""
        await self._channel.send(frame)

    async def receive(self) -> FromWorker | None:
        """As `Worker.receive`."""
        frame = await self._channel.receive()
        if frame is None:
            await self.kill()
        return frame

    async def kill(self) -> None:
        """Kill the container and remove it; learn how it ended if it ended by itself."""
        async with self._ending:
            if self.exit is not None:
                return
            ended_alone = not self._channel.alive
            await self._channel.close()
            self.exit = await self._engine.call(lambda: self._end(look=ended_alone))

    def _end(self, *, look: bool) -> WorkerExit:
        found = WorkerExit(None)
        if look:
            with contextlib.suppress(requests.exceptions.RequestException):
                # The attachment ends a moment before the engine has noted how the container ended.
                self._engine.api.wait(self.container, timeout=2)
        with contextlib.suppress(docker.errors.APIError, requests.exceptions.ReadTimeout):
            state = self._engine.api.inspect_container(self.container)["State"]
            if not state["Running"]:
                found = WorkerExit(state["ExitCode"], bool(state.get("OOMKilled")))
        self._engine.remove(self.container)
        return found


class DockerRuntime:
    """Starts workers as hardened containers of one image, pinned by digest. Made by `connect`."""

    name = "docker"

    def __init__(
        self, engine: Engine, *, node: str, image_id: str, seccomp: str, runtime: str, cdi: bool, built_from: str
    ) -> None:
        self._engine, self._node, self._image_id, self._built_from = engine, node, image_id, built_from
        self._seccomp, self._runtime, self._cdi = seccomp, runtime, cdi
        self.worker_image = bytes.fromhex(image_id.removeprefix("sha256:"))
        self.isolation = Isolation.GVISOR if runtime == hardening.GVISOR else Isolation.CONTAINER

    @classmethod
    async def connect(cls, *, node: str, image: str, host: str = "", gvisor: bool = False) -> DockerRuntime:
        """Find engine and image and check both. `image` is `sha256:…` or `name@sha256:…`; a tag is refused.

        `host` is the engine's socket (default: DOCKER_HOST, else the usual one). `LocalError` says what is missing.
        """
        if not image:
            hint = "script/image makes one; write what it prints into `image` in config.toml"
            raise LocalError(Fault.UNKNOWN, "no worker image is named", hint=hint)
        if not PINNED.fullmatch(image):
            raise LocalError(
                Fault.NOT_ALLOWED,
                f"a worker image is named by its digest, and {image!r} is not",
                hint="give sha256:… (docker image inspect -f '{{.Id}}' NAME)",
            )

        def find() -> DockerRuntime:
            engine = Engine(host or os.environ.get("DOCKER_HOST") or DEFAULT_HOST)
            try:
                image_id, label, info = engine.submit(lambda: _inspect(engine, image)).result()
                _check_engine(info, gvisor=gvisor)
            except LocalError:
                engine.close()
                raise
            profile = Path(__file__).with_name("seccomp.json").read_text()
            return cls(
                engine, node=node, image_id=image_id, seccomp=profile, runtime=hardening.GVISOR if gvisor else "",
                cdi=bool(info.get("CDISpecDirs")), built_from=label,
            )  # fmt: skip

        return await asyncio.to_thread(find)

    @property
    def outdated(self) -> bool:
        """Whether the image was built from other sources than this gpufair; of one that isn't ours nobody can say."""
        return bool(self._built_from) and self._built_from != sources.digest()

    async def start(self, spec: WorkerSpec, worker: str) -> DockerWorker:
        """Create, attach, start, and check what the engine made."""
        starting = self._engine.submit(lambda: self._begin(spec, worker))
        try:
            container, attached = await asyncio.shield(asyncio.wrap_future(starting))
        except asyncio.CancelledError:
            starting.add_done_callback(self._discard)
            raise
        return DockerWorker(self._engine, spec, worker, container, attached)

    async def leftovers(self) -> list[Leftover]:
        """Containers that carry this node's label, running or not."""
        wanted = {"label": [f"{LABEL_NODE}={self._node}"]}
        found = await self._engine.call(lambda: self._engine.api.containers(all=True, filters=wanted))
        return [Leftover(entry["Labels"].get(LABEL_WORKER, ""), entry["Id"]) for entry in found]

    async def reap(self, leftover: Leftover) -> None:
        """Kill and remove a leftover."""
        await self._engine.call(lambda: self._engine.remove(leftover.handle))

    async def close(self) -> None:
        """Let go of the engine."""
        await asyncio.to_thread(self._engine.close)

    def _begin(self, spec: WorkerSpec, worker: str) -> tuple[str, socket.socket]:
        if spec.gpu is not None and self._cdi:
            # An engine may know CDI and have no device file for this GPU; the older way is tried then.
            with contextlib.suppress(docker.errors.APIError):
                return self._make(spec, worker, gpu_cdi=True)
        return self._make(spec, worker, gpu_cdi=False)

    def _make(self, spec: WorkerSpec, worker: str, *, gpu_cdi: bool) -> tuple[str, socket.socket]:
        api = self._engine.api
        body = hardening.container(
            spec, self._image_id, node=self._node, worker=worker, seccomp=self._seccomp, runtime=self._runtime,
            gpu_cdi=gpu_cdi,
        )  # fmt: skip
        container: str = api.create_container_from_config(body)["Id"]  # type: ignore[no-untyped-call]
        try:
            attached = _own(api.attach_socket(container, params=ATTACH))
            api.start(container)
            _check_made(body, api.inspect_container(container))
        except BaseException:
            self._engine.remove(container)
            raise
        return container, attached

    def _discard(self, started: Future[tuple[str, socket.socket]]) -> None:
        if started.cancelled() or started.exception() is not None:
            return
        container, attached = started.result()
        attached.close()
        self._engine.submit(lambda: self._engine.remove(container))


def _own(attachment: Any) -> socket.socket:
    """The connection itself, which can be awaited. The SDK's wrappers hold each other in a ring: let go of them now."""
    own: socket.socket = attachment._sock.dup()  # noqa: SLF001 -- the SDK documents only a file object around it
    response = getattr(attachment, "_response", None)
    if response is not None:
        response.close()
    attachment.close()
    return own


def _inspect(engine: Engine, image: str) -> tuple[str, str, dict[str, Any]]:
    found = engine.api.inspect_image(image)  # type: ignore[no-untyped-call]
    wrong = list(hardening.image_problems(found.get("Config") or {}))
    if wrong:
        raise LocalError(Fault.NOT_ALLOWED, f"the worker image {found['Id'][:19]} is refused: {'; '.join(wrong)}")
    labels = (found.get("Config") or {}).get("Labels") or {}
    return found["Id"], labels.get(sources.LABEL, ""), engine.api.info()


def _check_made(body: dict[str, Any], inspected: dict[str, Any]) -> None:
    wrong = list(hardening.differences(body, inspected))
    if wrong:
        raise LocalError(Fault.NOT_ALLOWED, f"the engine weakened the container: {'; '.join(wrong)}")


def _check_engine(info: dict[str, Any], *, gvisor: bool) -> None:
    if info.get("OSType", "linux") != "linux":
        raise LocalError(Fault.NOT_ALLOWED, "workers are Linux containers, and this engine runs others")
    if gvisor and hardening.GVISOR not in (info.get("Runtimes") or {}):
        raise LocalError(
            Fault.NOT_ALLOWED,
            "gVisor is asked for and the engine has no runtime named runsc",
            hint="install runsc and name it in the engine's daemon.json under runtimes",
        )
