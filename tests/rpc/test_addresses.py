"""Rule: an address has a bucket of its own, beside those of its connections: more connections are not more calls."""

import grpc.aio

from gpufair.protocol import limits
from gpufair.protocol.edge import calls
from gpufair.protocol.edge.channels import open_channel
from gpufair.provider.rpc.bucket import address_of


async def ask(house, times):
    """Questions on a connection of their own: how many were answered, and what the others were told."""
    channel, answered, told = open_channel(house.endpoint, house.card.tls.certificate), 0, set()
    record = channel.unary_unary(calls.path(calls.DIRECTORY, "Record"))
    for _ in range(times):
        try:
            await record(b"", timeout=5)
            answered += 1
        except grpc.aio.AioRpcError as error:
            told.add(error.details())
    await channel.close()
    return answered, told


def test_many_connections_from_one_address_share_its_bucket(run, a_house, monkeypatch):
    monkeypatch.setattr(limits, "ADDRESS_BURST", 30)

    async def work():
        async with a_house(now_s=lambda: 0.0) as house:  # a clock that stands still: nothing is refilled
            assert [await ask(house, 10) for _ in range(3)] == [(10, set())] * 3
            answered, told = await ask(house, 10)
            assert answered == 0
            assert len(told) == 1
            assert "from this address" in told.pop()

    run(work())


def test_what_one_connection_has_too_much_takes_nothing_from_its_address(run, a_house, monkeypatch):
    monkeypatch.setattr(limits, "ADDRESS_BURST", limits.BUCKET_BURST + 10)

    async def work():
        async with a_house(now_s=lambda: 0.0) as house:
            answered, told = await ask(house, limits.BUCKET_BURST + 100)
            assert answered == limits.BUCKET_BURST
            assert "on this connection" in told.pop()
            assert await ask(house, 10) == (10, set())

    run(work())


def test_where_connections_come_from():
    for peer, address in {
        "ipv4:203.0.113.7:41000": "ipv4:203.0.113.7",
        "ipv6:%5B2001:db8:1:2:aaaa::1%5D:41000": "ipv6:2001:db8:1:2::",
        "ipv6:[2001:db8:1:2:bbbb::2]:1": "ipv6:2001:db8:1:2::",
        "ipv6:%5B2001:db8:1:3::1%5D:41000": "ipv6:2001:db8:1:3::",
        "ipv6:%5B::ffff:203.0.113.7%5D:41000": "ipv4:203.0.113.7",
        "ipv6:%5Bfe80::1%25eth0%5D:41000": "ipv6:fe80::",
        "unix:": "unix:",
    }.items():
        assert address_of(peer) == address
