"""`gpufair` as people use it: real daemons, real sockets, real processes; the null worker, but for one real picture."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from gpufair.client.cli.app import app

BIN = Path(sys.executable).parent
PNG = b"\x89PNG\r\n\x1a\n"
STEP = 20
PRICE = 11  # micro-credits: 64 x 64, 20 guided steps, at the prices of `gpufaird init` on a machine without a GPU


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def environment(**more: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("GPUFAIR")}
    return kept | {"OMP_NUM_THREADS": "1", "NO_COLOR": "1", "COLUMNS": "100"} | more


PAGE = (Path(__file__).parents[2] / "docs" / "cli.md").read_text()
EXAMPLES = {
    example["schema"]: example
    for example in map(json.loads, re.findall(r"^```json\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL))
}
SAME_AS = {
    "gpufair/fetch/1": "gpufair/show/1",
    "gpufair/cancel/1": "gpufair/show/1",
    "gpufair/restore/1": "gpufair/init/1",
}


def check_documented(answer: Any) -> None:
    """Every field of an answer is in docs/cli.md, and the other way round."""
    schema = answer["schema"]
    if schema == "gpufair/history/1":
        for job in answer["jobs"]:
            check_documented({"schema": "gpufair/show/1", **job})
        return
    example = EXAMPLES[SAME_AS.get(schema, schema)]
    assert shape(answer, example) == shape(example, example), schema


def shape(value: Any, example: Any) -> Any:
    if isinstance(value, dict) and isinstance(example, dict):
        return {key: shape(item, example.get(key)) for key, item in value.items()}
    if isinstance(value, list) and isinstance(example, list):
        shapes = [shape(item, example[0] if example else None) for item in value]
        whole = shape(example[0], example[0]) if example else None
        return [whole] if all(one == whole for one in shapes) else shapes
    return "value"


@dataclass
class Daemon:
    """One `gpufaird up` in a folder of its own."""

    folder: Path
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    def init(self, *options: str, null: bool = True) -> None:
        self.call("init", "--listen", f"127.0.0.1:{self.port}", "--runtime", "process", *options)
        config = self.folder / "config.toml"
        if null:
            config.write_text(config.read_text().replace("[workers]", "[workers]\nnull = true"))

    def call(self, *args: str, check: bool = True) -> str:
        done = subprocess.run(
            [BIN / "gpufaird", *args, "--home", self.folder], env=environment(), capture_output=True, text=True,
            timeout=60, check=False,
        )  # fmt: skip
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def up(self) -> None:
        self.folder.mkdir(exist_ok=True)
        log = (self.folder / "log").open("ab")
        self.process = subprocess.Popen(
            [BIN / "gpufaird", "up", "--home", self.folder], env=environment(), stdout=log, stderr=log
        )
        before = self.log().count("ready ")
        deadline = time.monotonic() + 60
        while self.log().count("ready ") <= before:
            assert self.process.poll() is None, self.log()
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.05)

    def log(self) -> str:
        return (self.folder / "log").read_text() if (self.folder / "log").exists() else ""

    @property
    def did(self) -> str:
        return str(json.loads(self.call("status", "--json"))["did"])

    @property
    def address(self) -> str:
        return f"{self.did}@127.0.0.1:{self.port}"

    def end(self, how: int = signal.SIGTERM) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(how)
            self.process.wait(30)


@dataclass
class Answer:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def error(self) -> Any:
        return json.loads(self.err)["error"]


@dataclass
class Buyer:
    """One buyer's folder, and the command line in it."""

    folder: Path

    def __call__(self, *args: str, **env: str) -> Answer:
        """The command in this process (starting a Python costs more than most commands); daemons are processes."""
        variables: dict[str, str | None] = {"GPUFAIR_HOME": str(self.folder / "home"), "NO_COLOR": "1", **env}
        with contextlib.chdir(self.folder):
            done = CliRunner(env=variables).invoke(app, list(args))
        return Answer(done.exit_code, done.stdout, done.stderr)

    def ok(self, *args: str, **options: Any) -> Any:
        answer = self(*args, "--json", **options)
        assert answer.code == 0, answer.err + answer.out
        assert answer.out.count("\n") == 1, "one object and nothing else"
        check_documented(answer.json)
        return answer.json

    def start(self, *args: str) -> subprocess.Popen[bytes]:
        variables = environment(GPUFAIR_HOME=str(self.folder / "home"))
        return subprocess.Popen(
            [BIN / "gpufair", *args], env=variables, cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip


@dataclass
class Market:
    ledger: Daemon
    provider: Daemon
    folder: Path
    buyers: int = 0

    @cached_property
    def passer_by(self) -> Buyer:
        return self.buyer(credits="0")

    def buyer(self, credits: str = "5") -> Buyer:
        self.buyers += 1
        folder = self.folder / f"buyer-{self.buyers}"
        folder.mkdir()
        buyer = Buyer(folder)
        did = buyer.ok("init")["did"]
        buyer.ok("peers", "add", f"127.0.0.1:{self.provider.port}")
        if credits != "0":
            self.ledger.call("ledger", "issue", did, credits, "--reference", f"invoice {self.buyers}")
        return buyer


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Market]:
    folder = tmp_path_factory.mktemp("market")
    ledger, provider = Daemon(folder / "ledger"), Daemon(folder / "provider")
    try:
        ledger.init("--role", "ledger", "--role", "directory")
        ledger.up()
        provider.init("--ledger", ledger.address, "--peer", ledger.address)
        provider.up()
        yield Market(ledger, provider, folder)
    finally:
        provider.end()
        ledger.end()


def test_from_nothing_to_a_verified_picture(market: Market) -> None:
    buyer = market.buyer()
    offers = buyer.ok("offers")
    assert [offer["provider"] for offer in offers["offers"]] == [market.provider.did]
    quote = buyer.ok("quote")
    assert quote["choices"][0]["quote"]["total"] == PRICE
    earned = json.loads(market.provider.call("status", "--json"))["provider"]["earned"]

    bought = buyer.ok("run", "a fox on a green background", "--yes", "-o", "fox.png", "--seed", "7")
    assert (bought["state"], bought["spent"], bought["settled"]) == ("paid", PRICE, True)
    assert bought["pictures"][0]["file"] == "fox.png"
    png = (buyer.folder / "fox.png").read_bytes()
    assert png.startswith(PNG)
    assert b"gpufair-receipt" in png

    verified = buyer.ok("verify", "fox.png", "--provider", market.provider.did)
    assert (verified["provider"], verified["job"], verified["price"]) == (market.provider.did, bought["job"], PRICE)
    balance = buyer.ok("balance")
    assert balance["ledgers"][0]["available"] == 5_000_000 - PRICE
    assert (balance["ledgers"][0]["held"], balance["spent_24h"]) == (0, PRICE)
    assert [job["job"] for job in buyer.ok("history")["jobs"]] == [bought["job"]]
    assert buyer.ok("show", bought["job"][:12])["seed"] == 7
    assert json.loads(market.provider.call("status", "--json"))["provider"]["earned"] == earned + PRICE

    audit = buyer.ok("ledger", "audit")
    assert audit["ok"] is True
    assert audit["ledgers"][0]["available"] == 5_000_000 - PRICE
    again = buyer.ok("fetch", bought["job"], "-o", "again.png")
    assert (buyer.folder / "again.png").read_bytes() == png
    assert again["spent"] == PRICE


def test_several_pictures_in_one_job_each_with_its_receipt(market: Market) -> None:
    buyer = market.buyer()
    bought = buyer.ok("run", "cats", "-n", "5", "--yes")
    files = [picture["file"] for picture in bought["pictures"]]
    assert files == [f"cats-{number}.png" for number in range(1, 6)]
    assert bought["spent"] == 5 * PRICE
    checked = [buyer.ok("verify", file) for file in files]
    assert [one["picture"] for one in checked] == [0, 1, 2, 3, 4]


def test_words_for_people_go_to_stdout_progress_to_stderr(market: Market) -> None:
    buyer = market.buyer()
    done = buyer("run", "a fox", "--yes")
    assert done.code == 0
    assert "total" in done.out
    assert "✓ a-fox.png" in done.out
    assert "gpufair verify a-fox.png" in done.out
    assert "drawing" in done.err
    assert "\x1b" not in done.out + done.err, "no escape codes where there is no terminal"


# --- refusals: each with its exit code, and nothing spent ------------------------------------------------------------


def refused(answer: Answer, code: int, *words: str) -> None:
    assert answer.code == code, answer.out + answer.err
    assert answer.out == ""
    error = answer.error
    check_documented(json.loads(answer.err))
    assert error["code"] == code
    for word in words:
        assert word in f"{error['what']} {error['hint']}", error


def test_without_credits_nothing_is_bid(market: Market) -> None:
    buyer = market.buyer(credits="0")
    refused(buyer("run", "a fox", "--yes", "--json"), 5, "you have 0 cr", "did:key:")
    assert buyer.ok("history")["jobs"] == []


def test_the_highest_price_holds(market: Market) -> None:
    buyer = market.buyer()
    refused(buyer("run", "a fox", "--yes", "--json", "--max-price", "0.00001"), 5, "0.000011 cr", "--max-price")
    assert buyer.ok("run", "a fox", "--yes", "--max-price", "0.000011")["spent"] == PRICE


def test_the_daily_cap_holds_over_jobs(market: Market) -> None:
    buyer = market.buyer()
    (buyer.folder / "home" / "config.toml").write_text('daily_cap = "0.000025"\n')
    buyer.ok("run", "one", "--yes")
    buyer.ok("run", "two", "--yes")
    refused(buyer("run", "three", "--yes", "--json"), 5, "daily cap")
    assert len(buyer.ok("history")["jobs"]) == 2


@pytest.mark.parametrize(
    ("options", "code", "reason"),
    [
        (("--size", "2048x2048"), 3, "size_too_large"),
        (("--steps", "400"), 3, "steps_too_many"),
        (("--scheduler", "lcm"), 3, "scheduler_not_offered"),
        (("-n", "64"), 3, "count_too_large"),
        (("--model", "no-such-model"), 3, ""),
    ],
)
def test_what_cannot_be_had_says_why(market: Market, options: tuple[str, ...], code: int, reason: str) -> None:
    answer = market.passer_by("run", "a fox", "--yes", "--json", *options)
    refused(answer, code)
    if reason:
        assert [one["code"] for one in answer.error["reasons"]] == [reason]
        assert answer.error["reasons"][0]["wanted"] > answer.error["reasons"][0]["limit"] or reason.startswith("sched")


def test_nobody_is_asked_on_a_terminal_that_is_not_there(market: Market) -> None:
    buyer = market.buyer()
    refused(buyer("run", "a fox", "--json"), 2, "--yes")
    assert buyer("run", "a fox").code == 2
    assert buyer.ok("history")["jobs"] == []


def test_a_paused_provider_is_out_of_the_market(market: Market) -> None:
    buyer = market.buyer()
    market.provider.call("pause")
    try:
        answer = buyer("run", "a fox", "--yes", "--json")
        words = buyer("offers").out
    finally:
        market.provider.call("resume")
    refused(answer, 3, "nobody")
    assert "sells nothing just now" in words
    assert "Next: gpufair run" not in words, "it would fail"
    assert buyer.ok("balance")["ledgers"][0]["available"] == 5_000_000


def test_a_ledger_run_by_the_seller_is_refused_unless_trusted(market: Market, tmp_path: Path) -> None:
    seller = Daemon(tmp_path / "seller")
    seller.init("--role", "provider", "--role", "directory", "--role", "ledger")
    seller.up()
    try:
        folder = tmp_path / "buyer"
        folder.mkdir()
        buyer = Buyer(folder)
        did = buyer.ok("init")["did"]
        buyer.ok("peers", "add", seller.address)
        seller.call("ledger", "issue", did, "1", "--reference", "cash")
        refused(buyer("run", "a fox", "--yes", "--json"), 3, "--trust-provider-ledger")
        assert buyer.ok("run", "a fox", "--yes", "--trust-provider-ledger")["spent"] == PRICE
    finally:
        seller.end()


def test_who_is_not_there_is_told(market: Market, tmp_path: Path) -> None:
    buyer = Buyer(tmp_path)
    refused(buyer("run", "a fox", "--yes", "--json"), 1, "gpufair init")
    buyer.ok("init")
    refused(buyer("run", "a fox", "--yes", "--json"), 1, "gpufair peers add")
    refused(buyer("peers", "add", f"127.0.0.1:{free_port()}", "--json"), 6, "cannot be reached")
    refused(buyer("peers", "add", f"{market.ledger.did}@127.0.0.1:{market.provider.port}", "--json"), 7, "expected")
    refused(buyer("peers", "add", "http://evil", "--json"), 2)
    refused(buyer("show", "abcdef", "--json"), 1, "no job")
    refused(buyer("show", "../..", "--json"), 2)


# --- what breaks ------------------------------------------------------------------------------------------------------


def test_a_killed_buyer_goes_on_where_it_was(market: Market) -> None:
    buyer = market.buyer()
    process = buyer.start("run", "many", "-n", "16", "--steps", "100", "--yes")
    job = wait_for_picture(buyer)
    process.kill()
    process.communicate()
    assert not list(buyer.folder.glob("*.png")), "it was killed in the middle"
    done = buyer("fetch", job, "-o", "many.png", "--json")
    shown = buyer.ok("show", job)
    opened = sum(picture["opened"] for picture in shown["pictures"])
    assert done.code in (0, 8), done.err
    assert shown["spent"] == sum(p["paid"] for p in shown["pictures"] if p["opened"]), "no key, no payment"
    assert len(list(buyer.folder.glob("many-*.png"))) == opened
    assert buyer.ok("ledger", "audit")["ok"] is True
    funds = buyer.ok("balance")["ledgers"][0]
    assert funds["available"] + funds["held"] + shown["captured"] == 5_000_000


def test_an_interrupted_buyer_is_told_how_to_go_on(market: Market) -> None:
    buyer = market.buyer()
    process = buyer.start("run", "many", "-n", "16", "--steps", "100", "--yes", "--json")
    job = wait_for_picture(buyer)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert out == b""
    error = json.loads(err)["error"]
    assert error["job"] == job
    assert f"gpufair fetch {job[:12]}" in error["hint"]
    assert buyer("cancel", job[:12], "--json").code in (0, 1)
    assert buyer.ok("ledger", "audit")["ok"] is True


def wait_for_picture(buyer: Buyer) -> str:
    """The job's id as soon as its first picture is locked: then the buyer is in the very middle."""
    wallet = sqlite3.connect(f"file:{buyer.folder / 'home' / 'wallet.db'}?mode=ro", uri=True)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        found = wallet.execute("SELECT hex(job) FROM deliveries WHERE locked").fetchone()
        if found is not None:
            return str(found[0]).lower()
        time.sleep(0.002)
    raise AssertionError("no picture came")


def test_a_provider_killed_in_the_middle_costs_only_what_was_delivered(market: Market) -> None:
    buyer = market.buyer()
    process = buyer.start("run", "many", "-n", "16", "--steps", "100", "--yes", "--json")
    wait_for_picture(buyer)
    market.provider.end(signal.SIGKILL)
    market.provider.up()
    out, err = process.communicate(timeout=60)
    job = buyer.ok("history")["jobs"][0]
    assert process.returncode in (0, 8), err + out
    if process.returncode == 8:
        assert "restarted" in json.loads(err)["error"]["what"]
    opened = sum(picture["opened"] for picture in job["pictures"])
    assert job["spent"] == opened * job["pictures"][0]["paid"] if opened else job["spent"] == 0
    assert job["settled"] is True
    assert buyer.ok("ledger", "audit")["ok"] is True
    assert buyer.ok("balance")["ledgers"][0]["available"] == 5_000_000 - job["spent"]
    assert buyer.ok("run", "afterwards", "--yes")["state"] == "paid"


def test_a_changed_picture_does_not_verify(market: Market) -> None:
    buyer = market.buyer()
    buyer.ok("run", "a fox", "--yes", "-o", "fox.png")
    png = bytearray((buyer.folder / "fox.png").read_bytes())
    other = market.ledger.did
    refused(buyer("verify", "fox.png", "--provider", other, "--json"), 7, "somebody else")
    png[40] ^= 1
    (buyer.folder / "bad.png").write_bytes(png)
    refused(buyer("verify", "bad.png", "--json"), 7)
    (buyer.folder / "text.png").write_bytes(b"hello")
    refused(buyer("verify", "text.png", "--json"), 7, "not a PNG")
    refused(buyer("verify", "absent.png", "--json"), 1)


def test_an_identity_survives_its_folder(market: Market, tmp_path: Path) -> None:
    buyer = market.buyer()
    did = buyer.ok("id")["did"]
    secret = {"GPUFAIR_BACKUP_SECRET": "correct horse"}
    buyer.ok("backup", "me.backup", **secret)
    refused(buyer("backup", "me.backup", "--json", **secret), 1, "exists")
    other = Buyer(tmp_path)
    refused(other("restore", str(buyer.folder / "me.backup"), "--json", GPUFAIR_BACKUP_SECRET="wrong horse"), 1)
    assert other.ok("restore", str(buyer.folder / "me.backup"), **secret)["did"] == did
    other.ok("peers", "add", market.provider.address)
    assert other.ok("balance")["ledgers"][0]["available"] == 5_000_000


def test_help_comes_at_once_and_knows_every_command() -> None:
    took = []
    for _ in range(3):
        began = time.monotonic()
        done = subprocess.run(
            [BIN / "gpufair", "--help"], capture_output=True, text=True, env=environment(), check=True
        )
        took.append(time.monotonic() - began)
    for command in ("run", "offers", "quote", "history", "show", "fetch", "cancel", "verify", "balance", "peers",
                    "ledger", "init", "id", "backup", "restore"):  # fmt: skip
        assert f"\n  {command} " in done.stdout
    loaded = "import sys; import gpufair.client.cli.app; print([m for m in ('grpc', 'sqlalchemy') if m in sys.modules])"
    said = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"
    assert min(took) < 1.5, "on an idle machine it takes under 0.5 s"


def test_five_lines_of_python_make_a_picture(market: Market) -> None:
    buyer = market.buyer()
    script = """
from gpufair.client import SyncClient
with SyncClient.open() as client:
    picture = client.run("a fox on a green background", max_price=20)
    picture.save("sdk.png")
"""
    variables = environment(GPUFAIR_HOME=str(buyer.folder / "home"))
    done = subprocess.run(
        [sys.executable, "-c", script], env=variables, cwd=buyer.folder, capture_output=True, text=True, check=False,
        timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert buyer.ok("verify", "sdk.png")["price"] == PRICE


@pytest.mark.timeout(240)
def test_one_real_picture(market: Market, tmp_path: Path) -> None:
    pytest.importorskip("diffusers", reason="the real worker needs the extra [inference]")
    seller = Daemon(tmp_path / "artist")
    seller.init("--ledger", market.ledger.address, "--peer", market.ledger.address, null=False)
    seller.up()
    try:
        buyer = market.buyer()
        buyer.ok("peers", "remove", f"127.0.0.1:{market.provider.port}")
        buyer.ok("peers", "add", seller.address)
        bought = buyer.ok("run", "a fox on a green background", "--yes", "-o", "fox.png", "--seed", "3")
        assert bought["provider"] == seller.did
        assert buyer.ok("verify", "fox.png")["bytes"] > 2_000
    finally:
        seller.end()
