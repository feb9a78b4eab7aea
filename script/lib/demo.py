"""The demo: a provider sells, a client buys. ONE RULE: it does nothing but run the two commands that users have.

What doesn't wait for another runs beside it, as on the several machines that a market has; on one it saves seconds.
Called by script/demo with GPUFAIR_RUNTIME=docker|process and, for docker, DOCKER_HOST and GPUFAIR_WORKER_IMAGE. Two
nodes (a ledger of its own, a provider) and a client get fresh identities below demo-out/; all processes end with it.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
OUT = Path(os.environ.get("GPUFAIR_DEMO_OUT", ROOT / "demo-out")).absolute()
BIN = Path(sys.executable).parent
DEFAULT_PROMPT = "a panda on a pink background"
ENLARGED = 512
READY_S = 120


class DemoError(Exception):
    """A command failed; what it said has been printed."""


def step(title: str) -> None:
    """Say what comes next, and how long it took to get here."""
    begun = float(os.environ.get("GPUFAIR_SCRIPT_START", "0")) or time.time()
    print(
        f"\n\033[1m{title}\033[0m" if sys.stdout.isatty() else f"\n{title}",
        f"  [{time.time() - begun:.1f} s]",
        flush=True,
    )


def start(*words: str, env: dict[str, str]) -> subprocess.Popen[str]:
    """Start one of the two commands as a user would; what it says is kept."""
    colour = {"FORCE_COLOR": "1"} if sys.stdout.isatty() and "NO_COLOR" not in env else {}
    return subprocess.Popen(
        [str(BIN / words[0]), *words[1:]], env={**env, **colour},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def finish(process: subprocess.Popen[str], *words: str) -> None:
    """Show a command that was started, and what it says, when it has ended."""
    said, _ = process.communicate()
    print(f"$ {shlex.join(words)}\n{said}", end="", flush=True)
    if process.returncode:
        raise DemoError(f"{words[0]} {words[1]} ended with {process.returncode}")


def run(*words: str, env: dict[str, str]) -> None:
    """Run a command and let it speak for itself."""
    print(f"$ {shlex.join(words)}", flush=True)
    done = subprocess.run([str(BIN / words[0]), *words[1:]], env=env, check=False)
    if done.returncode:
        raise DemoError(f"{words[0]} {words[1]} ended with {done.returncode}")


def ask(*words: str, env: dict[str, str]) -> dict[str, Any]:
    """Run a command with --json and give its answer."""
    done = subprocess.run(
        [str(BIN / words[0]), *words[1:], "--json"], env=env, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise DemoError(f"{shlex.join(words)}: {done.stdout}{done.stderr}")
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def make(*words: str, env: dict[str, str]) -> str:
    """Run an `init`, showing it; the did that it made."""
    print(f"$ {shlex.join(words)}", flush=True)
    return str(ask(*words, env=env)["did"])


class Node:
    """A node on its way up, or running; stopped with SIGTERM, as its owner would."""

    def __init__(self, name: str, env: dict[str, str]) -> None:
        self.name, self.env = name, env
        self.log = OUT / f"{name}.log"

    def __enter__(self) -> Node:
        print("$ gpufaird up &", flush=True)
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [str(BIN / "gpufaird"), "up"], env=self.env, stdout=log, stderr=subprocess.STDOUT
            )
        return self

    def wait(self) -> None:
        """Until it serves."""
        deadline = time.monotonic() + READY_S
        while not (Path(self.env["GPUFAIRD_HOME"]) / "control.sock").exists():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise DemoError(f"the {self.name} node did not start:\n{self.log.read_text()}")
            time.sleep(0.02)

    def __exit__(self, *_error: object) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            print(f"the {self.name} node had to be killed: see {self.log}", file=sys.stderr)


def free_addresses(count: int) -> list[str]:
    """As many addresses of this machine that nobody listens on."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [f"127.0.0.1:{one.getsockname()[1]}" for one in sockets]


def environment(name: str) -> dict[str, str]:
    """A home of its own for a node or the client."""
    variable = "GPUFAIR_HOME" if name == "client" else "GPUFAIRD_HOME"
    return {**os.environ, variable: str(OUT / "state" / name)}


def runtime_options() -> list[str]:
    """How the provider runs its jobs, as script/demo found out."""
    if os.environ.get("GPUFAIR_RUNTIME") == "docker":
        return ["--runtime", "docker", "--image", os.environ["GPUFAIR_WORKER_IMAGE"]]
    return ["--runtime", "process"]


def enlarge(picture: Path) -> Path:
    """A copy that a person sees without a magnifying glass: whole pixels, nothing added."""
    from PIL import Image

    target = picture.with_name(f"{picture.stem}-enlarged.png")
    with Image.open(picture) as image:
        factor = max(1, ENLARGED // max(image.size))
        image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST).save(target)
    return target


def warm(env: dict[str, str]) -> None:
    """Wait until the provider has its model loaded, so that the demo shows what a buyer usually meets."""
    deadline = time.monotonic() + READY_S
    while True:
        provider = ask("gpufaird", "status", env=env)["provider"]
        if any(model["state"] == "warm" for model in provider["models"]):
            return
        if provider["last_error"] or time.monotonic() > deadline:
            raise DemoError(f"the worker did not get ready: {provider['last_error'] or 'it takes too long'}")
        time.sleep(0.2)


def demo(prompt: str) -> Path:
    """From two empty folders to a paid picture."""
    shutil.rmtree(OUT / "state", ignore_errors=True)
    OUT.mkdir(exist_ok=True)
    book, seller, buyer = environment("ledger"), environment("provider"), environment("client")
    at_ledger, at_provider = free_addresses(2)
    step("1. A ledger, run by neither side")
    ledger = make("gpufaird", "init", "--role", "ledger", "--role", "directory", "--listen", at_ledger, env=book)
    with Node("ledger", book) as keeper:
        step("2. A provider that trusts it")
        trusted = ["--ledger", f"{ledger}@{at_ledger}", *runtime_options()]
        provider = make("gpufaird", "init", "--listen", at_provider, *trusted, env=seller)
        with Node("provider", seller) as owner:
            step("3. A client, with credits that the ledger's operator issued")
            # Meanwhile the nodes come up, and the provider's worker loads its model.
            client = make("gpufair", "init", env=buyer)
            keeper.wait()
            run("gpufaird", "ledger", "issue", client, "1", "--reference", "demo", env=book)
            owner.wait()
            run("gpufair", "peers", "add", f"{provider}@{at_provider}", env=buyer)
            warm(seller)
            picture = buy(prompt, buyer)
            look(picture, provider, book, seller, buyer)
    return picture


def buy(prompt: str, buyer: dict[str, str]) -> Path:
    """A client with credits buys one picture."""
    picture = OUT / "picture.png"
    picture.unlink(missing_ok=True)
    step("4. What is on sale")
    run("gpufair", "offers", env=buyer)
    step("5. Quote, lease, picture, payment")
    run("gpufair", "run", prompt, "-o", str(picture), "--yes", "--force", env=buyer)
    return picture


Command = tuple[tuple[str, ...], dict[str, str]]
"""A command's words and its environment."""


def look(picture: Path, provider: str, book: dict[str, str], seller: dict[str, str], buyer: dict[str, str]) -> None:
    """Everybody looks at what came of it. Nothing here changes anything, so that all of it can go on at once."""
    views: dict[str, list[Command]] = {
        "6. The receipt in the picture, checked offline": [(("gpufair", "verify", str(picture)), buyer)],
        "7. The lease, and everything that was signed under it": [(("gpufair", "show"), buyer)],
        "8. The money, as the client, the provider and the ledger see it": [
            (("gpufair", "balance"), buyer),
            (("gpufaird", "status"), seller),
            (("gpufaird", "ledger", "balance", provider), book),
            (("gpufair", "ledger", "audit"), buyer),
            (("gpufaird", "ledger", "audit"), book),
        ],
    }
    started = {words: start(*words, env=env) for commands in views.values() for words, env in commands}
    for title, commands in views.items():
        step(title)
        for words, _env in commands:
            finish(started[words], *words)


def main() -> int:
    """Run the demo; the exit code says whether a paid picture came of it."""
    prompt = " ".join(sys.argv[1:]) or DEFAULT_PROMPT
    try:
        picture = demo(prompt)
    except DemoError as error:
        print(f"\nthe demo failed: {error}\nlogs are in {OUT}", file=sys.stderr)
        return 1
    step("Done: everything was stopped again")
    print(f"picture   {picture}\nenlarged  {enlarge(picture)}\nnext      open it, then see README.md for two machines")
    return 0


if __name__ == "__main__":
    sys.exit(main())
