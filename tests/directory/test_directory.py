"""Rule: a directory keeps the newest live document of each identity, and nothing that can't prove itself."""

import asyncio
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpufair.protocol import envelope, limits, wire
from gpufair.protocol.edge import calls, tls
from gpufair.protocol.edge.system import SystemRandom
from gpufair.protocol.errors import Fault, PeerError
from gpufair.protocol.heads import Desk
from gpufair.protocol.identity import KeySigner
from gpufair.protocol.messages import LedgerRef, ModelOffer, ModelState, NodeRecord, Pay, PriceSheet, Role
from gpufair.provider.directory.directory import Directory
from gpufair.provider.directory.documents import Kind, place_of
from gpufair.provider.directory.office import DirectoryDesk
from gpufair.provider.directory.store import DirectoryStore


def refused(directory, document):
    with pytest.raises(PeerError) as caught:
        directory.publish(document)
    return caught.value.fault


def test_published_and_found_verbatim(directory, publisher):
    record, offer = publisher(1).record(), publisher(2).offer()
    assert directory.publish(record.envelope) == (1, True)
    assert directory.publish(offer.envelope) == (1, True)
    assert directory.find_records() == ([record.envelope], "")
    assert directory.find_offers() == ([offer.envelope], "")
    assert envelope.authenticate(envelope.read(directory.find_records()[0][0], type(record.doc)))


def test_the_newest_wins_and_none_older_is_ever_taken(directory, publisher):
    me = publisher()
    five, six, seven = (me.record(n) for n in (5, 6, 7))
    assert directory.publish(six.envelope) == (6, True)
    assert directory.publish(five.envelope) == (6, False)
    assert directory.publish(seven.envelope) == (7, True)
    assert directory.publish(six.envelope) == (7, False)
    assert directory.find_records()[0] == [seven.envelope]


def test_the_same_again_is_no_second_thing(directory, publisher):
    record = publisher().record()
    assert [directory.publish(record.envelope) for _ in range(3)] == [(1, True)] * 3


def test_the_first_of_two_with_one_sequence_is_kept(directory, publisher):
    me = publisher()
    first, second = me.record(3), me.record(3, software="other words")
    assert directory.publish(first.envelope) == (3, True)
    assert directory.publish(second.envelope) == (3, False)
    assert directory.find_records()[0] == [first.envelope]
    assert directory.publish(me.record(4).envelope) == (4, True)


def test_records_and_offers_count_apart(directory, publisher):
    me = publisher()
    directory.publish(me.record(9).envelope)
    assert directory.publish(me.offer(1).envelope) == (1, True)


def test_a_sequence_outlives_its_document(directory, publisher, clock):
    """An old offer that still lives must not come back after a newer, shorter one has expired."""
    me = publisher()
    old = me.record(1)
    short = me.record(2, head_expires_at_ms=clock.now + 1000)
    directory.publish(short.envelope)
    clock.now += 2000 + 2 * limits.SKEW_MS
    assert directory.find_records() == ([], "")
    directory.prune()
    assert directory.publish(old.envelope) == (2, False)
    assert directory.publish(me.record(3).envelope) == (3, True)


def test_what_expired_is_not_shown_and_goes(directory, publisher, clock):
    directory.publish(publisher(1).record().envelope)
    clock.now += limits.BROADCAST_TTL_MS - 1
    assert len(directory.find_records()[0]) == 1
    clock.now += 1
    assert directory.find_records()[0] == []
    clock.now += limits.SKEW_MS + limits.MINUTE
    held = directory.size
    directory.publish(publisher(2).record().envelope)
    assert directory.size < held * 1.5


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"head_audience": ("did:key:z6Mkon3Necd6NkkyfoGoHxid2znGc59LU3K7mubaRcFbLfLX",)}, Fault.WRONG_AUDIENCE),
        ({"head_audience": ("*", "did:key:z6Mkon3Necd6NkkyfoGoHxid2znGc59LU3K7mubaRcFbLfLX")}, Fault.WRONG_AUDIENCE),
        ({"head_parent": bytes(32)}, Fault.MALFORMED),
        ({"head_expires_at_ms": 1_800_000_000_000 + limits.BROADCAST_TTL_MS + 1}, Fault.MALFORMED),
        ({"head_expires_at_ms": 1_800_000_000_000 - limits.SKEW_MS - 1}, Fault.EXPIRED),
        (
            {"head_issued_at_ms": 1_800_000_000_000 + limits.SKEW_MS + 1, "head_expires_at_ms": 1_800_000_300_000},
            Fault.FROM_THE_FUTURE,
        ),
        ({"tls_certificate": b"not a certificate"}, Fault.MALFORMED),
        ({"endpoints": ("127.0.0.1:50551", "unix:/var/run/docker.sock")}, Fault.MALFORMED),
        ({"endpoints": ("http://example.com:80",)}, Fault.MALFORMED),
        ({"endpoints": ("0.0.0.0:50551",)}, Fault.MALFORMED),
    ],
)
def test_records_that_are_refused(directory, publisher, fields, fault):
    assert refused(directory, publisher().record(**fields).envelope) is fault
    assert directory.rows == 0


def test_an_offer_with_an_address_that_is_none(directory, publisher):
    me = publisher()
    bad = me.offer(ledgers=(LedgerRef(me.did, "file:///etc/passwd:1"),))
    assert refused(directory, bad.envelope) is Fault.MALFORMED


def test_other_documents_and_other_signatures(directory, publisher):
    me, other = publisher(1), publisher(2)
    pay = me.desk.sign(Pay(me.desk.head("*"), other.did, 1, ""))
    assert refused(directory, pay.envelope) is Fault.WRONG_TYPE
    disguised = replace(pay.envelope, payload_type=me.record().envelope.payload_type)
    assert refused(directory, disguised) in (Fault.MALFORMED, Fault.BAD_SIGNATURE)
    signed = me.record().envelope
    forged = replace(signed, signatures=(replace(signed.signatures[0], keyid=other.did),))
    assert refused(directory, forged) is Fault.BAD_SIGNATURE
    unsigned = replace(signed, signatures=(replace(signed.signatures[0], sig=bytes(64)),))
    assert refused(directory, unsigned) is Fault.BAD_SIGNATURE
    assert directory.rows == 0


def test_a_forged_sequence_does_not_lock_the_owner_out(directory, publisher):
    """Only a signed sequence is remembered."""
    me, thief = publisher(1), publisher(2)
    theirs = me.record(2**40)
    forged = replace(theirs.envelope, signatures=(replace(theirs.envelope.signatures[0], sig=bytes(64)),))
    assert refused(directory, forged) is Fault.BAD_SIGNATURE
    assert directory.publish(me.record(1).envelope) == (1, True)
    assert thief.did != me.did


def test_pages(directory, publisher, small_house):
    small_house(FIND_MAX=4)
    people = sorted((publisher(n) for n in range(1, 11)), key=lambda one: one.did)
    for one in people:
        directory.publish(one.record().envelope)
    found, after, pages = [], "", 0
    while True:
        page, after = directory.find_records((), after)
        found += page
        pages += 1
        if not after:
            break
    assert pages == 3
    assert [one.signatures[0].keyid for one in found] == [one.did for one in people]
    wanted = (people[7].did, people[2].did, "did:key:z6Mkunknown")
    page, after = directory.find_records(wanted)
    assert ([one.signatures[0].keyid for one in page], after) == ([people[2].did, people[7].did], "")


def test_a_page_fits_into_a_message(directory, publisher):
    sheet = PriceSheet(bytes(32), 1, 0, 0, 0, 0)
    models = tuple(ModelOffer(bytes(32), "n" * 128, "f" * 128, "l" * 128, ModelState.WARM, sheet) for _ in range(256))
    for n in range(1, 13):
        directory.publish(publisher(n).offer(models=models).envelope)
    count, after = 0, ""
    while True:
        page, after = directory.find_offers((), after)
        assert len(wire.encode(calls.Documents(tuple(page), after))) <= limits.MESSAGE_MAX
        count += len(page)
        if not after:
            break
    assert count == 12


def test_a_full_house_makes_room_by_forgetting_the_long_dead(store, publisher, clock, small_house):
    small_house(DIRECTORY_RECORDS_MAX=3)
    directory = Directory(store, clock)
    for n in (1, 2, 3):
        directory.publish(publisher(n).record().envelope)
    assert refused(directory, publisher(4).record().envelope) is Fault.LIMIT
    assert directory.publish(publisher(3).record(2).envelope) == (2, True)  # who is in may renew
    clock.now += limits.BROADCAST_TTL_MS + limits.SKEW_MS + 1
    assert refused(directory, publisher(4).record().envelope) is Fault.LIMIT  # dead, not long: could be played again
    clock.now += limits.BROADCAST_TTL_MS + limits.SKEW_MS
    assert directory.publish(publisher(4).record().envelope) == (1, True)
    assert directory.rows == 1


def test_bytes_are_bounded(store, clock, publisher, small_house):
    size = len(publisher(1).record().bytes)
    small_house(DIRECTORY_BYTES_MAX=int(size * 2.5))
    directory = Directory(store, clock)
    for n in (1, 2):
        directory.publish(publisher(n).record().envelope)
    assert refused(directory, publisher(3).record().envelope) is Fault.LIMIT
    assert directory.size <= size * 2.5


def test_the_file_remembers(tmp_path, publisher, clock):
    me = publisher()
    path = tmp_path / "directory.db"
    first = Directory(DirectoryStore(path), clock)
    first.publish(me.record(5).envelope)
    first.publish(me.offer(5).envelope)
    first.close()
    again = Directory(DirectoryStore(path), clock)
    assert again.rows == 2
    assert again.size == len(me.record(5).bytes) + len(me.offer(5).bytes)
    assert again.publish(me.record(4).envelope) == (5, False)
    assert len(again.find_records()[0]) == 1
    again.close()


def test_the_database_itself_lets_no_sequence_fall(store, publisher, directory):
    me = publisher()
    directory.publish(me.record(5).envelope)
    held = directory.held(place_of(Kind.RECORD, me.did.encode()))
    with pytest.raises(Exception, match="never falls"):
        store.write([(replace(held, sequence=4), b"x")], ())
    assert list(store.all()) == [held]


def test_nobody_acts_on_what_the_store_did_not_take(store, publisher, directory):
    me, done = publisher(), []
    directory.listeners.append(lambda held, doc: lambda: done.append((held.sequence, doc.sequence)))
    directory.publish(me.record(5).envelope)
    held = directory.held(place_of(Kind.RECORD, me.did.encode()))
    store.write([(replace(held, sequence=9), b"x")], ())  # another process had the file
    with pytest.raises(Exception, match="never falls"):
        directory.publish(me.record(6).envelope)
    assert done == [(5, 5)]
    assert directory.held(held.place).sequence == 9


def test_the_desk_serves_the_event_loop(directory, publisher):
    me = publisher()
    own = me.record().envelope

    async def work():
        desk = DirectoryDesk(directory, lambda: own)
        assert await desk.record() == own
        answers = await asyncio.gather(*(desk.publish(me.record(n).envelope) for n in range(1, 30)))
        assert answers == [(n, True) for n in range(1, 30)]
        found, _ = await desk.find_records((), "")
        assert envelope.read(found[0], type(me.record().doc)).doc.sequence == 29
        assert await desk.find_offers((), "") == ([], "")
        desk._thread.shutdown()

    asyncio.run(work())


@settings(max_examples=60, deadline=None)
@given(
    moves=st.lists(
        st.tuples(
            st.integers(1, 3), st.integers(1, 4), st.sampled_from(["a", "b"]), st.integers(0, limits.BROADCAST_TTL_MS)
        ),
        max_size=14,
    )
)
def test_against_a_dictionary(moves):
    """Whatever is published when, the directory agrees with a dozen lines of Python."""
    clock = _Clock()
    made: dict[tuple[int, int, str], Any] = {}
    store = DirectoryStore(None)
    directory = Directory(store, clock)
    kept: dict[str, tuple[int, bytes, int]] = {}
    for seed, sequence, words, wait_ms in moves:
        signed = made.setdefault((seed, sequence, words), _record(seed, sequence, words, clock))
        clock.now += wait_ms
        did, expiry = signed.issuer, signed.doc.head.expires_at_ms
        have = kept.get(did)
        if expiry < clock.now - limits.SKEW_MS:
            assert refused(directory, signed.envelope) is Fault.EXPIRED
        elif have is not None and have[0] >= sequence:
            assert directory.publish(signed.envelope) == (have[0], have[1] == signed.id)
        else:
            assert directory.publish(signed.envelope) == (sequence, True)
            kept[did] = (sequence, signed.id, expiry)
        live = sorted((did, one[1]) for did, one in kept.items() if one[2] > clock.now)
        shown = [(one.signatures[0].keyid, envelope.document_id(one)) for one in directory.find_records()[0]]
        assert shown == live
    store.close()


class _Clock:
    now = 1_800_000_000_000

    def now_ms(self):
        return self.now


def _record(seed, sequence, words, clock):
    desk = Desk(KeySigner.from_seed(bytes([seed]) * 32), clock, SystemRandom())
    return desk.sign(
        NodeRecord(desk.broadcast_head(), sequence, (Role.PROVIDER,), (), _certificate(), bytes(32), words)
    )


@cache
def _certificate():
    return tls.create().certificate
