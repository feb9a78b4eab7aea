"""Rule: a learned node is dialled by the very addresses that were judged; no name leads to this side's networks."""

import asyncio

import pytest

from gpufair.protocol.addresses import Endpoint, Reach
from gpufair.protocol.edge.reaching import allowed, look_up, reach_of
from gpufair.protocol.edge.refusals import PeerUnreachable
from gpufair.protocol.errors import Fault, PeerError


def finder(*addresses):
    async def find(_name):
        if not addresses:
            raise OSError("no such name")
        return addresses

    return find


def may(texts, heard, *addresses):
    return [str(one) for one in asyncio.run(allowed(texts, heard, finder(*addresses)))]


def test_addresses_are_taken_as_they_are():
    assert may(["8.8.8.8:7700", "[2600::1]:1"], Reach.GLOBAL) == ["8.8.8.8:7700", "[2600::1]:1"]
    assert may(["10.1.2.3:7700"], Reach.PRIVATE) == ["10.1.2.3:7700"]
    assert may(["127.0.0.1:7700"], Reach.LOOPBACK) == ["127.0.0.1:7700"]


def test_a_name_is_dialled_by_the_addresses_that_were_judged():
    found = may(["node.example:7700"], Reach.GLOBAL, "8.8.8.8", "2600::1")
    assert found == ["8.8.8.8:7700", "[2600::1]:7700"]


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.8.9.1", "10.0.0.1", "172.16.9.9", "192.168.1.1", "100.64.0.1", "169.254.169.254"),
        *("0.0.0.0", "::1", "::", "fe80::1", "fc00::1", "fd12::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1"),
        *("64:ff9b::7f00:1", "2002:7f00:1::", "224.0.0.1", "255.255.255.255", "198.18.0.1", "ff02::1"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("heard", [Reach.GLOBAL, Reach.PRIVATE, Reach.LOOPBACK])
def test_a_name_that_leads_to_this_sides_networks_is_not_dialled(address, heard):
    with pytest.raises(PeerError) as caught:
        may(["node.example:7700"], heard, address)
    assert caught.value.fault is Fault.NOT_ALLOWED
    assert "node.example" in caught.value.what


def test_one_good_address_is_enough_and_none_says_why():
    assert may(["127.0.0.1:1", "8.8.8.8:2"], Reach.GLOBAL) == ["8.8.8.8:2"]
    with pytest.raises(PeerUnreachable, match="gives no address"):
        may([], Reach.GLOBAL)
    with pytest.raises(PeerUnreachable, match="can't be looked up"):
        may(["node.example:1"], Reach.GLOBAL)


@pytest.mark.parametrize(
    ("host", "leads_to", "found"),
    [
        ("8.8.8.8", (), Reach.GLOBAL),
        ("10.0.0.1", (), Reach.PRIVATE),
        ("127.0.0.1", (), Reach.LOOPBACK),
        ("fe80::1", (), Reach.GLOBAL),  # nothing that is near is believed from an address that no node has
        ("localhost", ("127.0.0.1", "::1"), Reach.LOOPBACK),
        ("rig.lan", ("192.168.1.5",), Reach.PRIVATE),
        ("rig.lan", ("127.0.0.1",), Reach.PRIVATE),
        ("node.example", ("10.0.0.1", "8.8.8.8"), Reach.GLOBAL),
        ("gone.example", (), Reach.GLOBAL),
    ],
)
def test_how_far_away_a_named_node_is(host, leads_to, found):
    assert asyncio.run(reach_of(Endpoint(host, 7700), finder(*leads_to))) is found


def test_the_machines_own_resolver():
    assert "127.0.0.1" in asyncio.run(look_up("localhost"))
    with pytest.raises(OSError, match=r".*"):
        asyncio.run(look_up("no-such-name.invalid"))
