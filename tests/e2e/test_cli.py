"""`gpufair` as people use it: real daemons, real sockets, null workers; a real picture is in test_picture.py."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import Customer, check_documented, environment, refused
from real_nodes import BIN, Node, Nodes, free_port, running_nodes

from gpufair.client.failures import NoOfferError

PNG = b"\x89PNG\r\n\x1a\n"
PRICE = 11  # micro-credits: 64 x 64, 20 guided steps, at the prices of `gpufaird init` on a machine without a GPU


@pytest.fixture
def buyer(shared: tuple[Node, Node], tmp_path_factory: pytest.TempPathFactory) -> Customer:
    """Somebody with five credits, who knows the provider."""
    return Customer.of(*shared, folder=tmp_path_factory.mktemp("customer"))


@pytest.fixture(scope="module")
def passer_by(shared: tuple[Node, Node], tmp_path_factory: pytest.TempPathFactory) -> Customer:
    """Somebody who knows the provider, and has no money."""
    return Customer.of(*shared, folder=tmp_path_factory.mktemp("passer-by"), credits="0")


@pytest.fixture
def provider(shared: tuple[Node, Node]) -> Node:
    return shared[1]


def test_from_nothing_to_a_verified_picture(buyer: Customer, provider: Node) -> None:
    offers = buyer.ok("offers")
    assert [offer["provider"] for offer in offers["offers"]] == [provider.did]
    quote = buyer.ok("quote")
    assert quote["choices"][0]["quote"]["total"] == PRICE
    earned = provider.provider["earned"]

    bought = buyer.ok("run", "a fox on a green background", "--yes", "-o", "fox.png", "--seed", "7")
    assert (bought["state"], bought["spent"], bought["settled"]) == ("paid", PRICE, True)
    assert bought["pictures"][0]["file"] == "fox.png"
    png = (buyer.folder / "fox.png").read_bytes()
    assert png.startswith(PNG)
    assert b"gpufair-receipt" in png

    verified = buyer.ok("verify", "fox.png", "--provider", provider.did)
    assert (verified["provider"], verified["job"], verified["price"]) == (provider.did, bought["job"], PRICE)
    balance = buyer.ok("balance")
    assert balance["ledgers"][0]["available"] == 5_000_000 - PRICE
    assert (balance["ledgers"][0]["held"], balance["spent_24h"]) == (0, PRICE)
    assert [job["job"] for job in buyer.ok("history")["jobs"]] == [bought["job"]]
    assert buyer.ok("show", bought["job"][:12])["seed"] == 7
    assert provider.provider["earned"] == earned + PRICE

    audit = buyer.ok("ledger", "audit")
    assert audit["ok"] is True
    assert audit["ledgers"][0]["available"] == 5_000_000 - PRICE
    again = buyer.ok("fetch", bought["job"], "-o", "again.png")
    assert (buyer.folder / "again.png").read_bytes() == png
    assert again["spent"] == PRICE


def test_several_pictures_in_one_job_each_with_its_receipt(buyer: Customer) -> None:
    bought = buyer.ok("run", "cats", "-n", "5", "--yes")
    files = [picture["file"] for picture in bought["pictures"]]
    assert files == [f"cats-{number}.png" for number in range(1, 6)]
    assert bought["spent"] == 5 * PRICE
    checked = [buyer.ok("verify", file) for file in files]
    assert [one["picture"] for one in checked] == [0, 1, 2, 3, 4]


def test_words_for_people_go_to_stdout_progress_to_stderr(buyer: Customer) -> None:
    done = buyer("run", "a fox", "--yes")
    assert done.code == 0
    assert "total" in done.out
    assert "✓ a-fox.png" in done.out
    assert "gpufair verify a-fox.png" in done.out
    assert "drawing" in done.err
    assert "\x1b" not in done.out + done.err, "no escape codes where there is no terminal"


# --- refusals: each with its exit code, and nothing spent ------------------------------------------------------------


def test_without_credits_nothing_is_bid(passer_by: Customer) -> None:
    refused(passer_by("run", "a fox", "--yes", "--json"), 5, "you have 0 cr", "did:key:")
    assert passer_by.ok("history")["jobs"] == []


def test_the_highest_price_holds(buyer: Customer) -> None:
    refused(buyer("run", "a fox", "--yes", "--json", "--max-price", "0.00001"), 5, "0.000011 cr", "--max-price")
    assert buyer.ok("run", "a fox", "--yes", "--max-price", "0.000011")["spent"] == PRICE


def test_the_daily_cap_holds_over_jobs(buyer: Customer) -> None:
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
        (("--model", "no-such-model"), 3, ""),
    ],
)
def test_what_cannot_be_had_says_why(passer_by: Customer, options: tuple[str, ...], code: int, reason: str) -> None:
    answer = passer_by("run", "a fox", "--yes", "--json", *options)
    refused(answer, code)
    if reason:
        assert [one["code"] for one in answer.error["reasons"]] == [reason]
        assert answer.error["reasons"][0]["wanted"] > answer.error["reasons"][0]["limit"] or reason.startswith("sched")


def test_nobody_is_asked_on_a_terminal_that_is_not_there(buyer: Customer) -> None:
    refused(buyer("run", "a fox", "--json"), 2, "--yes")
    assert buyer("run", "a fox").code == 2
    assert buyer.ok("history")["jobs"] == []


def test_a_paused_provider_is_out_of_the_market(buyer: Customer, provider: Node) -> None:
    provider.ask("pause")
    try:
        answer = buyer("run", "a fox", "--yes", "--json")
        words = buyer("offers").out
    finally:
        provider.ask("resume")
    refused(answer, 3, "nobody")
    assert "sells nothing just now" in words
    assert "Next: gpufair run" not in words, "it would fail"
    assert buyer.ok("balance")["ledgers"][0]["available"] == 5_000_000


@pytest.fixture(scope="module")
def bookkeeper() -> Iterator[Node]:
    """A provider that keeps the book itself."""
    with running_nodes("own") as made:
        yield made.own_ledger_provider().up().warm()


def test_a_ledger_run_by_the_seller_is_refused_unless_trusted(bookkeeper: Node, tmp_path: Path) -> None:
    buyer = Customer.of(bookkeeper, bookkeeper, folder=tmp_path)
    refused(buyer("run", "a fox", "--yes", "--json"), 3, "--trust-provider-ledger")
    assert buyer.ok("run", "a fox", "--yes", "--trust-provider-ledger")["spent"] == PRICE
    assert bookkeeper.ask("audit")["ok"]


def test_python_too_refuses_a_ledger_run_by_the_seller(bookkeeper: Node, nodes: Nodes) -> None:
    buyer, small = nodes.buyer(bookkeeper, bookkeeper), {"size": (64, 64), "steps": 2}

    async def story() -> None:
        await buyer.fund()
        async with buyer.open() as client:
            with pytest.raises(NoOfferError, match="seller's own ledger"):
                await client.run("x", **small)
            await client.run("x", **small, trust_provider_ledger=True)

    asyncio.run(story())


def test_who_is_not_there_is_told(shared: tuple[Node, Node], tmp_path: Path) -> None:
    ledger, provider = shared
    buyer = Customer(tmp_path)
    refused(buyer("run", "a fox", "--yes", "--json"), 1, "gpufair init")
    buyer.ok("init")
    refused(buyer("run", "a fox", "--yes", "--json"), 1, "gpufair peers add")
    refused(buyer("peers", "add", f"127.0.0.1:{free_port()}", "--json"), 6, "cannot be reached")
    refused(buyer("peers", "add", f"{ledger.did}@127.0.0.1:{provider.port}", "--json"), 7, "expected")
    refused(buyer("peers", "add", "http://evil", "--json"), 2)
    refused(buyer("show", "abcdef", "--json"), 1, "no job")
    refused(buyer("show", "../..", "--json"), 2)


# --- what is kept -----------------------------------------------------------------------------------------------------


def test_a_changed_picture_does_not_verify(buyer: Customer, ledger: Node) -> None:
    buyer.ok("run", "a fox", "--yes", "-o", "fox.png")
    png = bytearray((buyer.folder / "fox.png").read_bytes())
    other = ledger.did
    refused(buyer("verify", "fox.png", "--provider", other, "--json"), 7, "somebody else")
    png[40] ^= 1
    (buyer.folder / "bad.png").write_bytes(png)
    refused(buyer("verify", "bad.png", "--json"), 7)
    (buyer.folder / "text.png").write_bytes(b"hello")
    refused(buyer("verify", "text.png", "--json"), 7, "not a PNG")
    refused(buyer("verify", "absent.png", "--json"), 1)
    several = buyer("verify", "fox.png", "bad.png", "absent.png", "--json")
    assert several.code == 7
    assert [one["valid"] for one in several.json["files"]] == [True, False, False]


def test_an_audit_judges_and_whoever_fails_sells_nothing_more(
    buyer: Customer, passer_by: Customer, provider: Node
) -> None:
    """Null workers do no work, and say so in their profile: what was sold as fp32 was not computed in it."""
    job = buyer.ok("run", "a fox", "--yes")["job"]
    failed = buyer("audit", job, "-o", "fox.audit", "--json")
    assert failed.code == 7, failed.err
    check_documented(failed.json)
    assert (failed.json["verdict"], failed.json["provider"]) == ("failed", provider.did)
    [finding] = failed.json["findings"]
    assert (finding["check"], finding["holds"]) == ("proofs", False)
    assert "computed in none" in finding["detail"]
    checked = buyer("audit", "--check", "fox.audit")
    assert checked.code == 7
    assert "was NOT done as ordered" in checked.out

    [banned] = buyer.ok("bans", "list")["bans"]
    assert banned["did"] == provider.did
    answer = buyer("run", "a fox", "--yes", "--json")
    refused(answer, 3, "1 banned")
    assert f"audit of job {job[:12]} failed" in answer.error["reasons"][0]["detail"]
    assert buyer.ok("bans", "lift", provider.did[-12:])["did"] == provider.did
    assert not buyer.ok("bans", "check")["reports"], "evidence is no news to whoever has lifted that ban"
    [report] = passer_by.ok("bans", "check")["reports"]  # `run` has told the directory of it
    assert (report["did"], report["verdict"]) == (provider.did, "failed")
    passer_by.ok("bans", "lift", provider.did[-12:])
    assert buyer.ok("quote")["choices"]
    refused(buyer("audit", "--json"), 2, "--check")
    refused(buyer("audit", job, "--picture", "1", "--json"), 1, "picture 1")
    (buyer.folder / "fox.audit").write_bytes(b"no proof")
    refused(buyer("audit", "--check", "fox.audit", "--json"), 7, "no audit's file")


def test_an_identity_survives_its_folder(buyer: Customer, provider: Node, tmp_path: Path) -> None:
    did = buyer.ok("id")["did"]
    secret = {"GPUFAIR_BACKUP_SECRET": "correct horse"}
    buyer.ok("backup", "me.backup", **secret)
    refused(buyer("backup", "me.backup", "--json", **secret), 1, "exists")
    other = Customer(tmp_path)
    refused(other("restore", str(buyer.folder / "me.backup"), "--json", GPUFAIR_BACKUP_SECRET="wrong horse"), 1)
    assert other.ok("restore", str(buyer.folder / "me.backup"), **secret)["did"] == did
    other.ok("peers", "add", provider.address)
    assert other.ok("balance")["ledgers"][0]["available"] == 5_000_000


def test_help_comes_at_once_and_knows_every_command() -> None:
    took = []
    for _ in range(3):
        began = spent_by_children()
        done = subprocess.run(
            [BIN / "gpufair", "--help"], capture_output=True, text=True, env=environment(), check=True
        )
        took.append(spent_by_children() - began)
    for command in ("run", "offers", "quote", "history", "show", "fetch", "cancel", "verify", "balance", "peers",
                    "ledger", "init", "id", "backup", "restore"):  # fmt: skip
        assert f"\n  {command} " in done.stdout
    loaded = "import sys; import gpufair.client.cli.app; print([m for m in ('grpc', 'sqlalchemy') if m in sys.modules])"
    said = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"
    assert min(took) < 1, "on an idle machine it takes 0.3 s"


def spent_by_children() -> float:
    """Seconds of processor time: a busy machine doesn't lengthen them."""
    spent = os.times()
    return spent.children_user + spent.children_system


def test_five_lines_of_python_make_a_picture(buyer: Customer) -> None:
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
