"""Audits of real purchases, from a real worker's picture to a verdict that anybody comes to: honest, and not."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from whole_nodes import World, a_world

from gpufair.client.audit import auditor, judging, models
from gpufair.client.audit.auditor import Audited, Auditor
from gpufair.client.audit.evidence import open_case, read
from gpufair.client.audit.reported import judge_reported
from gpufair.client.failures import NoOfferError, VerificationError
from gpufair.client.market.continued import continued
from gpufair.client.market.wish import Wish
from gpufair.client.session import events as ev
from gpufair.client.session.session import Session
from gpufair.client.wallet import bans, purchases, remains
from gpufair.client.wallet.purchase import Purchase
from gpufair.client.wallet.store import open_wallet
from gpufair.client.wishing import wish
from gpufair.protocol import envelope, limits, wire
from gpufair.protocol.auditing import Errors
from gpufair.protocol.edge import tolerances
from gpufair.protocol.edge.rows import RowStore
from gpufair.protocol.envelope import from_bytes
from gpufair.protocol.errors import Fault, LocalError
from gpufair.protocol.heads import Desk
from gpufair.protocol.messages import (
    AuditAnswer,
    AuditReport,
    Check,
    JobHeader,
    Precision,
    ReasonCode,
    Scheduler,
    Verdict,
)
from gpufair.provider.workers import process

TABLE = tolerances.load()
HERE = Path(__file__).parent


@dataclass
class Bought:
    world: World
    purchase: Purchase

    @property
    def auditor(self) -> Auditor:
        buyer = self.world.buyer
        return Auditor(buyer.desk, buyer.store, buyer.peers, TABLE)

    async def audit(self, index: int = 0, **options: Any) -> Audited:
        return await self.auditor.audit(self.purchase, index, **options)

    @property
    def store(self) -> RowStore:
        return self.world.buyer.store


@asynccontextmanager
async def bought(folder: Path, *, null: bool = False, **options: Any) -> AsyncIterator[Bought]:
    """A job, paid and settled: of a real worker on the demo model, or of a null one where nothing is done again."""
    async with a_world(folder, null=null) as world:
        yield await buy(world, **options)


async def buy(world: World, **options: Any) -> Bought:
    """One more of a world's pictures."""
    wanted = {"width": 64, "height": 64, "steps": 4, "guidance_milli": 3_000, **options}
    plan = await world.buyer.plan(Wish("a fox on a green background", **wanted))
    return Bought(world, await world.buyer.buy(plan, world.heard.append))


def play(story: Any) -> None:
    asyncio.run(asyncio.wait_for(story, 240))


@dataclass
class Honest:
    """A world with a real worker, which takes seconds to start: for tests that leave it honest."""

    runner: asyncio.Runner
    world: World

    def play(self, story: Callable[[World], Awaitable[None]]) -> None:
        """Tell a story in it."""
        self.runner.run(asyncio.wait_for(story(self.world), 240))


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Honest]:
    with asyncio.Runner() as runner:
        world = a_world(tmp_path_factory.mktemp("honest"), null=False)
        yield Honest(runner, runner.run(world.__aenter__()))
        runner.run(world.__aexit__(None, None, None))


def test_an_honest_provider_passes_and_its_proof_convinces_anybody(honest: Honest) -> None:
    async def story(world: World) -> None:
        job = await buy(world, count=2, scheduler=Scheduler.DPMPP_2M)
        audited = await job.audit(1)
        assert audited.verdict is Verdict.PASSED
        assert [one.measured_nano for one in audited.judgement.findings] == [0, 0, 0, 0], "the same profile"
        assert bans.banned(job.store) == {}
        [*_, (verdict, report, file)] = _rows(job.store, "SELECT verdict, report, file FROM audits")
        assert (verdict, file) == ("passed", b"")
        assert from_bytes(report, AuditReport).doc.step == audited.case.step
        again = await auditor.check(audited.file, TABLE)
        assert again.verdict is Verdict.PASSED
        await _what_does_not_hold_is_refused(audited)

    honest.play(story)


def test_a_picture_out_of_a_picture_is_judged_from_what_was_ordered(honest: Honest) -> None:
    """The input is in the body, which the header names: the auditor begins from it as the provider did."""

    async def story(world: World) -> None:
        image = (HERE.parents[1] / "docs" / "pictures" / "image-unipc.png").read_bytes()
        begin = wish("a fox", image=image, strength_milli=600, steps=5).begin
        job = await buy(world, begin=begin, strength_milli=600, steps=5)
        audited = await job.audit()
        assert audited.verdict is Verdict.PASSED
        assert (audited.case.steps, len(audited.case.body.inputs)) == (3, 1)

    honest.play(story)


@pytest.mark.parametrize("scheduler", [pytest.param(Scheduler.DDIM, marks=pytest.mark.long), Scheduler.DPMPP_2M])
def test_a_picture_that_went_on_from_a_checkpoint_is_the_same_and_passes(honest: Honest, scheduler: Scheduler) -> None:
    """Its buyer is cut off in the middle, and has the rest done under another lease."""
    options = {"width": 64, "height": 64, "steps": 6, "guidance_milli": 3_000, "seed": 5, "scheduler": scheduler}

    async def story(world: World) -> None:
        buyer, whole = world.buyer, Wish("a fox", **options)  # type: ignore[arg-type]
        unbroken = await buyer.buy(await buyer.plan(whole))

        def vanish(event: ev.Event) -> None:
            if isinstance(event, ev.CheckpointOpened):
                raise ConnectionAbortedError

        with pytest.raises(ConnectionAbortedError):
            await buyer.buy(await buyer.plan(replace(whole, checkpoint_every=2)), vanish)
        [begun] = buyer.resumable()
        [rest] = remains.of(buyer.store, begun.lease.id, begun.job.id)
        assert rest.spec.done == 2
        plan = await buyer.plan(continued(rest, whole, max_price=1_000))
        lease, _ = await buyer.lease(plan, lasts_ms=60_000)
        session = Session(buyer.desk, buyer.store, lease)
        session.place(rest.spec, rest.body, deadline_ms=60_000, before=rest.before)
        await buyer.carrying.through(session, begun.job.id, world.heard.append, deadline_ms=60_000)
        done = purchases.by_id(buyer.store, begun.lease.id, begun.job.id)
        made, expected = (purchases.png(buyer.store, one.opened[0]) for one in (done, unbroken))
        assert made == expected, "to the bit"
        audited = await Bought(world, done).audit()
        assert audited.verdict is Verdict.PASSED
        assert [one.measured_nano for one in audited.judgement.findings] == [0, 0, 0, 0]
        assert 2 <= audited.case.step < 6
        await _another_beginning_convicts(audited)

    honest.play(story)


async def _another_beginning_convicts(audited: Audited) -> None:
    """Whoever begins from another state than the order names is found out without any model."""
    case = audited.case
    body = replace(case.body, inputs=(replace(case.body.inputs[0], data=bytes(len(case.body.inputs[0].data))),))
    judged = await judging.judge(replace(case, body=body), TABLE, None)
    assert judged.verdict is Verdict.FAILED
    assert "did not begin" in judged.findings[0].detail


async def _what_does_not_hold_is_refused(audited: Audited) -> None:
    """Nothing in a file can be exchanged."""
    file = read(audited.file)
    body = replace(audited.case.body, prompt="a red apple")
    for changed in (
        {"png": file.png[:-1]},
        {"body": wire.encode(body)},
        {"audit": file.receipt},
        {"answer": file.answer[:-2]},
        {"acceptance": file.header},
        {"report": file.report[:-1] + bytes([file.report[-1] ^ 1])},
    ):
        with pytest.raises(VerificationError):
            open_case(replace(file, **changed))
    with pytest.raises(VerificationError):
        read(b"nothing of the kind")
    # States are held by no signature but their leaves': without them there is no proof, and no blame.
    lost = replace(file, states=file.states[:-1], report=b"")
    assert (await auditor.check(wire.encode(lost), TABLE)).verdict is Verdict.UNANSWERED
    with pytest.raises(VerificationError, match="report says passed"):
        await auditor.check(wire.encode(replace(lost, report=file.report)), TABLE)


def test_a_provider_whose_worker_cheats_fails_and_sells_nothing_more(tmp_path: Path, monkeypatch: Any) -> None:
    honest = process.Child

    def theirs(command: list[str], scratch: Path, environment: dict[str, str]) -> Any:
        return honest([*command[:-1], "hostile_worker"], scratch, {**environment, "PYTHONPATH": str(HERE)})

    monkeypatch.setattr(process, "Child", theirs)

    other = open_wallet(None)

    async def story() -> None:
        async with bought(tmp_path) as job:
            audited = await job.audit()
            assert audited.verdict is Verdict.FAILED
            wrong = [one.check for one in audited.judgement.findings if not one.holds]
            assert wrong == [Check.STEP], "its start, its picture and all of its proofs are in order"
            provider = job.purchase.lease.provider
            assert "its step is off by" in bans.banned(job.store)[provider]
            with pytest.raises(NoOfferError) as refused:
                await job.world.buy()
            assert {reason.code for reason in refused.value.reasons} == {ReasonCode.BANNED}
            [(file,)] = _rows(job.store, "SELECT file FROM audits")
            reported = await judge_reported(other, provider, file, TABLE, 1)
            assert reported.convicts
            assert "another buyer" in bans.banned(other)[provider]
            told = _rows(job.store, "SELECT did FROM sequences WHERE kind = 'accused'")
            assert told == [(provider,)], "whoever looked around since has told the directories"
            bans.lift(job.store, provider)
            assert (await job.world.buyer.plan(Wish("a fox"))).choice.offer.issuer == provider

    play(story())


def test_who_will_not_prove_what_it_has_just_made_sells_nothing_more(tmp_path: Path, monkeypatch: Any) -> None:
    """A cheat that was drawn says that its trace is gone. Of an old picture it may be; who is away evades nothing."""

    async def story() -> None:
        async with bought(tmp_path, null=True) as job:
            provider, traces = job.purchase.lease.provider, job.world.provider.seller.jobs._traces  # type: ignore[union-attr]
            monkeypatch.setattr(traces, "open", lambda *_key: None)
            audited = await job.audit()
            assert (audited.verdict, audited.banned) == (Verdict.UNANSWERED, True)
            assert "not kept any more" in audited.judgement.findings[0].detail
            assert "was not answered" in bans.banned(job.store)[provider]
            again = await auditor.check(audited.file, TABLE)
            assert (again.verdict, again.banned) == (Verdict.UNANSWERED, False)
            bans.lift(job.store, provider)
            with monkeypatch.context() as later:
                later.setattr(limits, "AUDIT_SOON_MS", -1)
                assert not (await job.audit()).banned
            await job.world.provider.stop()
            audited = await job.audit()
            assert (audited.verdict, audited.banned) == (Verdict.UNANSWERED, False)
            assert bans.banned(job.store) == {}
            [(verdict,)] = _rows(job.store, "SELECT verdict FROM audits")
            assert verdict == "unanswered"

    play(story())


def test_what_was_merely_sent_convicts_nobody(honest: Honest, monkeypatch: Any) -> None:
    """Bytes that no signature holds could come from anybody: they are no answer, whatever they are."""

    async def story(world: World) -> None:
        job = await buy(world)
        office = world.provider.seller.jobs  # type: ignore[union-attr]
        answer, stranger = office.audit, world.ledger.desk
        for bend, word in _BENDS.items():

            async def bent(request: Any, bend: Any = bend) -> AsyncIterator[Any]:
                for part in bend([part async for part in answer(request)], stranger):
                    yield part

            monkeypatch.setattr(office, "audit", bent)
            audited = await job.audit()
            assert audited.verdict is Verdict.UNANSWERED
            assert word in audited.judgement.findings[0].detail
            assert audited.banned, "it convicts nobody, and is no proof of a fresh picture either"
        monkeypatch.setattr(auditor, "_ANSWER_S", 0)
        assert "within 0 s" in (await job.audit()).judgement.findings[0].detail
        bans.lift(job.store, world.provider.keys.did)

    honest.play(story)


def _flipped(parts: list[Any], _stranger: Desk) -> list[Any]:
    first, piece, *rest = parts
    return [first, replace(piece, data=bytes([piece.data[0] ^ 1]) + piece.data[1:]), *rest]


def _signed_by_another(parts: list[Any], stranger: Desk) -> list[Any]:
    doc = envelope.read(parts[0], AuditAnswer).doc
    mine = replace(doc, head=replace(doc.head, issuer=stranger.did))
    return [stranger.sign(mine).envelope, *parts[1:]]


_BENDS: dict[Any, str] = {
    _flipped: "not those behind the leaves",
    _signed_by_another: "not the provider's",
    lambda parts, _stranger: parts[1:]: "which the answer does not open",
    lambda parts, _stranger: [parts[0], *parts]: "two answers",
    lambda parts, _stranger: [parts[0], parts[1], *parts[1:]]: "out of their order or beyond",
    lambda parts, _stranger: parts[:-1]: "not those behind the leaves",
    lambda _parts, _stranger: []: "without a word",
}


def test_nothing_is_revealed_before_it_can_be_judged(tmp_path: Path, monkeypatch: Any) -> None:
    async def story() -> None:
        async with bought(tmp_path, null=True) as job:
            said: list[Any] = []
            monkeypatch.setattr(auditor, "ask", lambda *args: said.append(args))
            with pytest.raises(LocalError, match="picture 1 of this job is not here"):
                await job.audit(1)
            with monkeypatch.context() as without:
                without.setattr(models, "_demo", lambda: tmp_path / "nowhere")
                without.setattr(models, "_node_home", lambda: tmp_path / "nowhere")
                with pytest.raises(LocalError, match="is not on this machine"):
                    await job.audit()
                with pytest.raises(LocalError, match="is not on this machine"):
                    await job.audit(folder=tmp_path)
            running = replace(job.purchase, job=replace(job.purchase.job, state="running"))
            with pytest.raises(LocalError, match="may still come") as early:
                await job.auditor.audit(running)
            assert early.value.fault is Fault.CONFLICT
            drawn = from_bytes(job.purchase.job.header, JobHeader).doc
            own = replace(drawn, spec=replace(drawn.spec, scheduler=Scheduler.OWN))
            header = job.world.buyer.desk.sign(own).bytes
            with pytest.raises(LocalError, match="in its own way"):
                await job.auditor.audit(replace(job.purchase, job=replace(job.purchase.job, header=header)))
            monkeypatch.setattr("gpufair.client.audit.worker.find_spec", lambda _name: None)
            with pytest.raises(LocalError, match="torch"):
                await job.audit()
            assert not said

    play(story())


def test_what_a_provider_signed_convicts_it_without_a_replay(tmp_path: Path, monkeypatch: Any) -> None:
    """An answer that opens other states than were drawn, or names another profile, needs no model to be judged."""

    async def story() -> None:
        async with bought(tmp_path, null=True) as job:
            honest = Desk.sign

            def sign(desk: Desk, doc: Any) -> Any:
                if isinstance(doc, AuditAnswer):
                    doc = replace(doc, profile=replace(doc.profile, dtype="bfloat16"))
                return honest(desk, doc)

            monkeypatch.setattr(Desk, "sign", sign)
            monkeypatch.setattr(judging, "like", None)
            audited = await job.audit()
            assert audited.verdict is Verdict.FAILED
            [finding] = audited.judgement.findings
            assert finding.check is Check.PROOFS
            assert "runtime profile" in finding.detail
            assert "sold as exact" in finding.detail

    play(story())


def test_pairs_that_nobody_measured_are_not_judged(honest: Honest) -> None:
    """In company of others' pictures two machines of one profile may differ: by how much, only a row can say."""

    async def story(world: World) -> None:
        job, buyer = await buy(world, precision=Precision.SINGLE), world.buyer
        before = _rows(job.store, "SELECT * FROM audits")
        with pytest.raises(LocalError, match="nobody has measured how far cpu/float32 and cpu/float32"):
            await Auditor(buyer.desk, buyer.store, buyer.peers, {}).audit(job.purchase)
        assert _rows(job.store, "SELECT * FROM audits") == before
        audited = await job.audit()
        assert audited.verdict is Verdict.PASSED
        limit = TABLE["cpu/float32", "cpu/float32"]
        assert [one.limit_nano for one in audited.judgement.findings[1:]] == [limit.start, limit.step, limit.picture]

    honest.play(story)


def test_a_table_of_ones_own_is_read_with_care(tmp_path: Path) -> None:
    file = tmp_path / "rows.json"
    file.write_text(
        '{"rows": [{"provider": "cuda/float32", "verifier": "cpu/float32", "start_nano": 1, "step_nano": 2,'
        ' "picture_nano": 3}]}'
    )
    own = tolerances.load(file)
    assert own["cuda/float32", "cpu/float32"] == Errors(1, 2, 3)
    assert own["cpu/float32", "cpu/float32"] == TABLE["cpu/float32", "cpu/float32"]
    for bad in (
        "",
        "[]",
        '{"rows": [{}]}',
        file.read_text().replace(": 2", ": -2"),
        file.read_text().replace("2", "2.5"),
    ):
        file.write_text(bad)
        with pytest.raises(LocalError, match="no table of tolerances"):
            tolerances.load(file)
    with pytest.raises(LocalError, match="cannot be read"):
        tolerances.load(tmp_path / "nothing")


def test_the_page_shows_the_table() -> None:
    page = (HERE.parents[1] / "docs" / "audit.md").read_text()
    shown = re.findall(r"^\| `(\w+/\w+)` \| `(\w+/\w+)` \| (\S+) \| (\S+) \| (\S+) \|", page, flags=re.MULTILINE)
    assert {(maker, judge): tuple(map(float, row)) for maker, judge, *row in shown} == {
        pair: tuple(float(f"{one / 1e9:.2g}") for one in (limit.start, limit.step, limit.picture))
        for pair, limit in TABLE.items()
    }


def _rows(store: RowStore, query: str) -> list[Any]:
    with store.read() as rows:
        return list(rows._driver.cursor().execute(query).fetchall())
