"""Batches from the command line: killed and resumed, nothing is paid twice; sweeps; what can't be meant is said."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from market_nodes import MarketWorld, in_market
from whole_nodes import START

from gpufair.client.config import Home
from gpufair.client.pictures.verify import verify
from gpufair.client.wallet.store import PeerRow, open_wallet
from gpufair.protocol.edge import keys
from gpufair.protocol.messages import Issue

RATE = 6_000
SMALL = ("--size", "64x64", "--steps", "4")


@dataclass
class Shopper:
    """Somebody with a home of their own in a market."""

    folder: Path
    did: str

    @classmethod
    async def at(cls, w: MarketWorld, folder: Path) -> Shopper:
        shopper = cls(folder, keys.create(folder / "home" / "keys").did)
        store = open_wallet(Home(folder / "home").wallet)
        with store.begin() as rows:
            for one in w.providers:
                rows.insert(PeerRow(f"127.0.0.1:{one.port}", one.keys.did, 1))
        store.close()
        bank = await w.buyer.peers.meet(f"127.0.0.1:{w.ledger.port}")
        issue = Issue(w.ledger.desk.head(w.ledger.keys.did), shopper.did, START, "cash for a shopper")
        await bank.ledger.issue(w.ledger.desk.sign(issue).envelope)
        return shopper

    async def starts(self, *words: str) -> Process:
        variables = {**os.environ, "GPUFAIR_HOME": str(self.folder / "home"), "OMP_NUM_THREADS": "1"}
        return await asyncio.create_subprocess_exec(
            Path(sys.executable).parent / "gpufair", *words, env=variables, cwd=self.folder, stdout=PIPE, stderr=PIPE,
        )  # fmt: skip

    async def answer(self, *words: str) -> Any:
        """What a command answers with --json."""
        process = await self.starts(*words, "--json")
        out, err = await process.communicate()
        assert process.returncode == 0, err.decode()
        return json.loads(out)

    def pictures(self, folder: str) -> list[Path]:
        return sorted(path for path in (self.folder / folder).glob("*.png") if path.name != "sheet.png")


def test_killed_in_the_middle_and_resumed_nothing_is_paid_twice(tmp_path: Path) -> None:
    async def story(w: MarketWorld) -> None:
        shopper = await Shopper.at(w, tmp_path / "shopper")
        process = await shopper.starts("run", "a fox", "--count", "40", "--seed", "7", *SMALL, "-o", "foxes", "--yes")
        while len(shopper.pictures("foxes")) < 5:
            assert process.returncode is None, (await process.communicate())[1].decode()
            await asyncio.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        await process.communicate()
        [before] = (await shopper.answer("batches"))["batches"]
        assert 0 < before["here"] < 40
        told = await shopper.answer("resume")
        assert (told["here"], told["count"]) == (40, 40)
        assert [path.name for path in shopper.pictures("foxes")] == [f"{n:03d}-seed{n + 6}.png" for n in range(1, 41)]
        receipts = [verify(path.read_bytes()).receipt.doc for path in shopper.pictures("foxes")]
        assert len({(one.lease, one.job) for one in receipts}) == 40
        assert told["spent"] == sum(one["price"] for one in told["pictures"]), "each is paid once"
        balance = await shopper.answer("balance")
        assert balance["spent_24h"] >= told["spent"], "a bid that was cut off counts for half a minute"
        assert [(one["available"], one["held"]) for one in balance["ledgers"]] == [(START - told["spent"], 0)]
        again = await shopper.answer("resume")
        assert again["spent"] == told["spent"]

    in_market(tmp_path, story, RATE, RATE)


def test_a_sweep_draws_every_combination_in_order(tmp_path: Path) -> None:
    async def story(w: MarketWorld) -> None:
        shopper = await Shopper.at(w, tmp_path / "shopper")
        told = await shopper.answer(
            "sweep", "a fox", "a cat", "--steps", "4,6", "--guidance", "1,3.5", "--seed", "1..2", "--size", "64x64",
            "-o", "grid", "--budget", "0.1", "--no-hedge", "--yes",
        )  # fmt: skip
        assert (told["here"], told["count"], told["budget"]) == (16, 16, 100_000)
        assert told["options"]["hedge"] is False
        own = [one["options"] for one in told["pictures"]]
        assert own[0] == {"prompt": "a fox", "steps": 4, "guidance_milli": 1000, "seed": 1}
        assert own[-1] == {"prompt": "a cat", "steps": 6, "guidance_milli": 3500, "seed": 2}
        assert told["pictures"][3]["file"] == "004-steps4-guidance3.5-seed2.png"
        index = json.loads((tmp_path / "shopper" / "grid" / "index.json").read_text())
        assert [one["sha256"] for one in index["pictures"]] == [one["sha256"] for one in told["pictures"]]
        steps = [verify(path.read_bytes()).receipt.doc.spec.steps for path in shopper.pictures("grid")]
        assert steps == [4, 4, 4, 4, 6, 6, 6, 6] * 2

    in_market(tmp_path, story, RATE)


def test_what_can_not_be_meant_is_said_before_anything_is_signed(tmp_path: Path) -> None:
    async def story(w: MarketWorld) -> None:
        shopper = await Shopper.at(w, tmp_path / "shopper")
        (tmp_path / "shopper" / "full").mkdir()
        (tmp_path / "shopper" / "full" / "mine.png").write_bytes(b"mine")
        for words, code, said in (
            (("run", "a fox", "--count", "20", "--budget", "0.000001", "--yes"), 5, "at least"),
            (("run", "a fox", "--count", "20", "-o", "full", "--yes"), 1, "not empty"),
            (("run", "a fox", "--count", "20"), 2, "no terminal"),
            (("run", "a fox", "--count", "5000", "--yes"), 2, "5000"),
            (("sweep", "a fox", "--steps", "10,x", "--yes"), 2, "whole number"),
            (("sweep", "a fox", "--seed", "9..1", "--yes"), 2, "1..5"),
            (("sweep", "a fox", "--scheduler", "magic", "--yes"), 2, "magic"),
            (("resume",), 1, "no batch"),
        ):
            process = await shopper.starts(*words, "--json")
            out, err = await process.communicate()
            assert (process.returncode, out) == (code, b""), err.decode()
            assert said in err.decode()

    in_market(tmp_path, story, RATE)
