"""The demo: a provider sells, a client buys. ONE RULE: it does nothing but run the two commands that users have.

Called by script/demo with GPUFAIR_RUNTIME=docker|process and, for docker, DOCKER_HOST and GPUFAIR_WORKER_IMAGE. Two
nodes (a ledger of its own, a provider) and a client get fresh identities below demo-out/; all processes end with it.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
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


def run(*words: str, env: dict[str, str], quiet: bool = False) -> None:
    """Run one of the two commands as a user would, showing it."""
    print(f"$ {shlex.join(words)}", flush=True)
    output = subprocess.PIPE if quiet else None
    done = subprocess.run([str(BIN / words[0]), *words[1:]], env=env, stdout=output, text=True, check=False)
    if done.returncode:
        raise DemoError(f"{words[0]} {words[1]} ended with {done.returncode}: {(done.stdout or '').strip()}")


def ask(*words: str, env: dict[str, str]) -> dict[str, Any]:
    """Run a command with --json and give its answer."""
    done = subprocess.run(
        [str(BIN / words[0]), *words[1:], "--json"], env=env, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise DemoError(f"{shlex.join(words)}: {done.stdout}{done.stderr}")
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


@contextmanager
def node(name: str, env: dict[str, str]) -> Iterator[dict[str, str]]:
    """A running node; stopped with SIGTERM, as its owner would."""
    log = (OUT / f"{name}.log").open("w")
    process = subprocess.Popen([str(BIN / "gpufaird"), "up"], env=env, stdout=log, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + READY_S
        while not (Path(env["GPUFAIRD_HOME"]) / "control.sock").exists():
            if process.poll() is not None or time.monotonic() > deadline:
                raise DemoError(f"the {name} node did not start:\n{(OUT / f'{name}.log').read_text()}")
            time.sleep(0.05)
        yield env
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            print(f"the {name} node had to be killed: see {OUT / f'{name}.log'}", file=sys.stderr)
        log.close()


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
    step("1. A ledger, run by neither side")
    run("gpufaird", "init", "--role", "ledger", "--role", "directory", "--listen", "127.0.0.1:0", env=book, quiet=True)
    with node("ledger", book):
        keeper = ask("gpufaird", "status", env=book)
        address = f"{keeper['did']}@127.0.0.1:{keeper['port']}"
        step("2. A provider that trusts it")
        options = runtime_options()
        run("gpufaird", "init", "--listen", "127.0.0.1:0", "--ledger", address, *options, env=seller, quiet=True)
        with node("provider", seller):
            return buy(prompt, book, seller, buyer)


def buy(prompt: str, book: dict[str, str], seller: dict[str, str], buyer: dict[str, str]) -> Path:
    """A client with credits buys one picture; then everybody looks into the book."""
    picture = OUT / "picture.png"
    picture.unlink(missing_ok=True)
    provider = ask("gpufaird", "status", env=seller)
    step("3. A client, with credits that the ledger's operator issued")
    run("gpufair", "init", env=buyer, quiet=True)
    client = ask("gpufair", "id", env=buyer)["did"]
    run("gpufaird", "ledger", "issue", client, "1", "--reference", "demo", env=book)
    run("gpufair", "peers", "add", f"{provider['did']}@127.0.0.1:{provider['port']}", env=buyer, quiet=True)
    warm(seller)
    step("4. What is on sale")
    run("gpufair", "offers", env=buyer)
    step("5. Quote, lease, picture, payment")
    run("gpufair", "run", prompt, "-o", str(picture), "--yes", "--force", env=buyer)
    step("6. The receipt in the picture, checked offline")
    run("gpufair", "verify", str(picture), env=buyer)
    step("7. The lease, and everything that was signed under it")
    run("gpufair", "show", ask("gpufair", "history", env=buyer)["jobs"][0]["job"][:12], env=buyer)
    step("8. The money, as the client, the provider and the ledger see it")
    run("gpufair", "balance", env=buyer)
    run("gpufaird", "status", env=seller)
    run("gpufaird", "ledger", "balance", provider["did"], env=book)
    run("gpufair", "ledger", "audit", env=buyer)
    run("gpufaird", "ledger", "audit", env=book)
    return picture


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
