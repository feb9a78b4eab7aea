"""The market demo: five nodes, a hundred pictures, one budget. ONE RULE: it runs the two commands, and only reads.

A ledger, and four providers that accept it: a cheap one, a dear one, a slow one, and one that is killed (SIGKILL) when
a third of the pictures is here. The buyer knows one of them and finds the others through it. Called by
script/market-demo as demo.py is by script/demo; all lies below market-demo-out/, and all processes end with it.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ.setdefault("GPUFAIR_DEMO_OUT", str(Path(__file__).resolve().parents[2] / "market-demo-out"))

from demo import BIN, OUT, READY_S, DemoError, Node, ask, environment, free_addresses, make, run, runtime_options, step

from gpufair.protocol.identity import short

THINGS = (
    "a fox on a green background", "a panda on a pink background", "a strawberry on a green background",
    "a red apple on a white background", "a house on a yellow background", "a cat on a purple background",
    "a sunflower on a black background", "a robot on an orange background", "a penguin on a pink background",
    "a tree on a blue background",
)  # fmt: skip
"""One row of the contact sheet for each."""
COLUMNS = int(os.environ.get("GPUFAIR_MARKET_COLUMNS", "10"))
"""Seeds of each."""
ROWS = int(os.environ.get("GPUFAIR_MARKET_ROWS", str(len(THINGS))))
NULL = os.environ.get("GPUFAIR_MARKET_NULL") == "1"
"""Workers that speak all frames and draw nothing: for a test of this file."""
STEPS, CHECKPOINT = 8, 2
CREDITS, BUDGET = "1", "0.35"
ASKED = {"cheap": 30_000, "dear": 100_000, "slow": 32_000, "doomed": 34_000}
"""Micro-credits for a step-megapixel."""
SLOWNESS = 15
"""How nice the slow provider's processes are to all others (process runtime), ..."""
SLOW_CPUS = "0.2"
"""... and the share of a core that its container gets."""
_BEGUN = """
    SELECT 1 FROM deliveries AS state JOIN leases ON leases.id = state.lease
    WHERE leases.provider = ? AND state.step > 0 AND length(state.key) > 0 AND NOT EXISTS (
        SELECT 1 FROM deliveries AS whole
        WHERE whole.lease = state.lease AND whole.job = state.job AND whole.step = 0)
"""


@dataclass
class Shop:
    """One provider of the market."""

    name: str
    env: dict[str, str]
    did: str
    node: Node = field(init=False)

    def __post_init__(self) -> None:
        self.node = Node(self.name, self.env)


def configure(env: dict[str, str], **lines: str) -> None:
    """Replace lines of a node's config.toml, as its owner would in an editor."""
    file = Path(env["GPUFAIRD_HOME"]) / "config.toml"
    text = file.read_text()
    for key, value in lines.items():
        line = f"{key} = {value}".replace("\\", r"\\")
        text, found = re.subn(rf"^{key} = .*$", line, text, flags=re.MULTILINE)
        if not found:
            raise DemoError(f"{file} has no {key}")
    file.write_text(text)


def open_shops(ledger: str, stack: ExitStack) -> list[Shop]:
    """Four providers on their way up: the first is known to nobody but the buyer, the others greet it."""
    shops: list[Shop] = []
    first: list[str] = []
    for (name, rate), address in zip(ASKED.items(), free_addresses(len(ASKED)), strict=True):
        env = environment(name)
        words = ["gpufaird", "init", "--listen", address, "--ledger", ledger, "--price", str(rate), *first]
        did = make(*words, *runtime_options(), env=env)
        first = first or ["--peer", f"{did}@{address}"]
        if NULL:
            configure(env, concurrent_jobs="1\nnull = true")
        if name == "slow":
            configure(env, cpus=SLOW_CPUS)
        shop = Shop(name, env, did)
        stack.enter_context(shop.node)
        if name == "slow":
            os.setpriority(os.PRIO_PROCESS, shop.node.process.pid, SLOWNESS)  # its workers inherit it
        shops.append(shop)
    return shops


def find_all(shops: list[Shop], buyer: dict[str, str]) -> None:
    """Wait until the buyer sees every offer with a model that is loaded: nodes tell each other of their offers."""
    deadline = time.monotonic() + READY_S
    while True:
        offers = ask("gpufair", "offers", env=buyer)["offers"]
        warm = {one["provider"] for one in offers if any(model["state"] == "warm" for model in one["models"])}
        if {shop.did for shop in shops} <= warm:
            return
        if time.monotonic() > deadline:
            missing = [shop.name for shop in shops if shop.did not in warm]
            raise DemoError(f"nobody hears of {', '.join(missing)}: see the logs in {OUT}")
        time.sleep(1)


def has_begun(shop: Shop, buyer: dict[str, str]) -> bool:
    """Whether the buyer has bought states of a picture that a provider has not finished."""
    wallet = sqlite3.connect(f"file:{Path(buyer['GPUFAIR_HOME']) / 'wallet.db'}?mode=ro", uri=True)
    with contextlib.closing(wallet):
        return wallet.execute(_BEGUN, (shop.did,)).fetchone() is not None


def kill_half_way(doomed: Shop, buyer: dict[str, str], over: threading.Event) -> None:
    """SIGKILL a provider in the middle of a picture, once a third of all are here; when half are, anywhere."""
    while not over.wait(0.01):
        here = len(list((OUT / "pictures").glob("[0-9]*.png")))
        if here >= ROWS * COLUMNS // 2 or (here >= ROWS * COLUMNS // 3 and has_begun(doomed, buyer)):
            break
    doomed.node.process.send_signal(signal.SIGKILL)
    doomed.node.process.wait()
    print(f"--- kill -9 {doomed.node.process.pid}: the provider `doomed` is gone ---", flush=True)


def draw(shops: list[Shop], buyer: dict[str, str]) -> None:
    """The hundred pictures, and the death of one provider on the way."""
    doomed, over = next(shop for shop in shops if shop.name == "doomed"), threading.Event()
    killer = threading.Thread(target=kill_half_way, args=(doomed, buyer, over))
    words = [
        "gpufair", "sweep", *THINGS[:ROWS], "--seed", f"1..{COLUMNS}", "--steps", str(STEPS), "--checkpoint-every",
        str(CHECKPOINT), "--budget", BUDGET, "-o", str(OUT / "pictures"), "--yes",
    ]  # fmt: skip
    print(f"$ {shlex.join(words)}", flush=True)
    killer.start()
    with subprocess.Popen(
        [str(BIN / words[0]), *words[1:]], env={**buyer, "PYTHONUNBUFFERED": "1"}, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        for line in process.stdout:
            print(named(line.rstrip(), shops), flush=True)
    over.set()
    killer.join()
    if process.returncode:
        raise DemoError(f"gpufair sweep ended with {process.returncode}")


def named(line: str, shops: list[Shop]) -> str:
    """A line with the demo's names for providers instead of the ends of their dids."""
    for shop in shops:
        line = line.replace(short(shop.did), shop.name)
    return line


def table(shops: list[Shop], pictures: list[dict[str, Any]], earned: dict[str, int]) -> None:
    """Who did what, for how much."""
    print(f"{'provider':<10}{'asks':>10}{'pictures':>10}{'went on with':>14}{'earned':>12}   micro-credits")
    for shop in shops:
        mine = [one for one in pictures if one["provider"] == shop.did]
        resumed = sum(one["went_on_after"] > 0 for one in mine)
        asks = f"{ASKED[shop.name]:,}"
        print(f"{shop.name:<10}{asks:>10}{len(mine):>10}{resumed:>14}{earned[shop.did]:>12,}")
    for one in pictures:
        if one["went_on_after"]:
            whose = next(shop.name for shop in shops if shop.did == one["provider"])
            print(f"  {one['file']} went on at {whose} after step {one['went_on_after']} of {STEPS}")


def check_books(shops: list[Shop], earned: dict[str, int], book: dict[str, str], buyer: dict[str, str]) -> None:
    """What the wallet paid, what the ledger took from the buyer, and what the providers got are one number."""
    [batch] = ask("gpufair", "batches", env=buyer)["batches"]
    [mine] = ask("gpufair", "balance", env=buyer)["ledgers"]
    issued = round(float(CREDITS) * 1_000_000)
    sums = {
        "the wallet says it paid": batch["spent"],
        "the ledger took from the buyer": issued - mine["available"] - mine["held"],
        "the providers were paid": sum(earned.values()),
    }
    for words, amount in sums.items():
        print(f"{words:<34}{amount:>10,} micro-credits")
    print(f"{'the budget was':<34}{batch['budget']:>10,}")
    run("gpufair", "ledger", "audit", env=buyer)
    run("gpufaird", "ledger", "audit", env=book)
    if len(set(sums.values())) != 1 or batch["spent"] > batch["budget"] or batch["here"] != batch["count"]:
        raise DemoError(f"the books do not agree, or not every picture is here: {sums}, {batch}")


def revive(doomed: Shop, buyer: dict[str, str], stack: ExitStack) -> None:
    """Whoever was killed comes back, as a machine does, and the buyer has its lease settled: nothing stays reserved."""
    doomed.node = Node("doomed-again", doomed.env)
    stack.enter_context(doomed.node)
    doomed.node.wait()
    deadline = time.monotonic() + READY_S
    while ask("gpufair", "balance", env=buyer)["open_leases"]:
        if time.monotonic() > deadline:
            raise DemoError("the lease with the provider that came back is not settled")
        time.sleep(0.5)


def market() -> Path:
    """From empty folders to a contact sheet and books that agree."""
    shutil.rmtree(OUT / "state", ignore_errors=True)
    shutil.rmtree(OUT / "pictures", ignore_errors=True)
    OUT.mkdir(exist_ok=True)
    book, buyer = environment("ledger"), environment("client")
    [address] = free_addresses(1)
    with ExitStack() as stack:
        step("1. A ledger of its own, and four providers: cheap, dear, slow, and one that will not live long")
        did = make("gpufaird", "init", "--role", "ledger", "--role", "directory", "--listen", address, env=book)
        keeper = stack.enter_context(Node("ledger", book))
        keeper.wait()
        shops = open_shops(f"{did}@{address}", stack)
        client = make("gpufair", "init", env=buyer)
        run("gpufaird", "ledger", "issue", client, CREDITS, "--reference", "market demo", env=book)
        for shop in shops:
            shop.node.wait()
        step("2. The buyer knows one of them, and finds the others through it")
        run("gpufair", "peers", "add", address_of(shops[0]), env=buyer)
        find_all(shops, buyer)
        step(f"3. {ROWS * COLUMNS} pictures within a budget of {BUDGET} credits")
        draw(shops, buyer)
        step("4. Who did what, for how much, and what was resumed")
        revive(next(shop for shop in shops if shop.name == "doomed"), buyer, stack)
        index = json.loads((OUT / "pictures" / "index.json").read_text())
        earned = {shop.did: ask("gpufaird", "ledger", "balance", shop.did, env=book)["available"] for shop in shops}
        table(shops, [one for one in index["pictures"] if one["here"]], earned)
        step("5. The books, as the wallet, the ledger and the providers have them")
        check_books(shops, earned, book, buyer)
    return OUT / "pictures" / "sheet.png"


def address_of(shop: Shop) -> str:
    """Where a provider listens, with its did."""
    listen = re.search(
        r'^listen = "(.*)"$', (Path(shop.env["GPUFAIRD_HOME"]) / "config.toml").read_text(), re.MULTILINE
    )
    if listen is None:
        raise DemoError(f"{shop.name} does not say where it listens")
    return f"{shop.did}@{listen[1]}"


def main() -> int:
    """Run the demo; the exit code says whether every picture is here and the books agree."""
    try:
        sheet = market()
    except DemoError as error:
        print(f"\nthe demo failed: {error}\nlogs are in {OUT}", file=sys.stderr)
        return 1
    step("Done: everything was stopped again")
    print(
        f"contact sheet  {sheet}\npictures       {sheet.parent}\nnext           open the sheet, then see docs/batch.md"
    )
    return 0


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())
    sys.exit(130)
