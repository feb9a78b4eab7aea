"""The configuration that `init` writes. Rule: every key stands there with its meaning, the file is its manual."""

from __future__ import annotations

import json
from dataclasses import dataclass

from gpufair.protocol.units import show
from gpufair.provider.config import PriceConfig

PICTURE = 512 * 512 * 50 * 2
"""Step-pixels of the picture that the price is explained with."""


@dataclass(frozen=True)
class Choices:
    """What `init` was told or found out. `rate` overrides the price of a step-megapixel."""

    roles: tuple[str, ...]
    listen: str
    announce: tuple[str, ...]
    peers: tuple[str, ...]
    ledgers: tuple[str, ...]
    runtime: str
    image: str
    gpus: tuple[str, ...]
    price: PriceConfig
    rate: int


def render(choices: Choices) -> str:
    """The text of config.toml."""
    price = choices.price
    rate = choices.rate or price.per_step_megapixel
    example = show(-(-PICTURE * rate // 1_000_000))
    return f"""\
# gpufaird: what this node does. Money is in micro-credits: 1 credit = 1,000,000 of them.
# After a change: `gpufaird doctor`, then restart.

[node]
listen = {_text(choices.listen)}
announce = {_list(choices.announce)}   # how others reach this node, host:port; empty: the address it listens on
roles = {_list(choices.roles)}
peers = {_list(choices.peers)}   # nodes to be known at, as did:key:…@host:port or host:port
region = ""   # where this is, for buyers who care: any short word, such as eu-north

[workers]
runtime = {_text(choices.runtime)}   # docker: jobs in containers; process: no isolation; auto: docker if it is there
image = {_text(choices.image)}   # the worker image by its digest, sha256:…
docker_host = ""   # empty: DOCKER_HOST, else the usual socket
gvisor = false   # run workers under gVisor (runsc must be known to the engine)
concurrent_jobs = 1   # workers on the CPU; where GPUs are sold, each has a worker of its own
memory_mib = 4096   # for each worker
cpus = 0.0   # cores for each worker; 0: an equal share of all but one
gpus = {_list(choices.gpus)}   # UUIDs of the GPUs to sell (nvidia-smi -L); empty: the CPU
dtype = "float32"   # what denoisers compute in; bfloat16 or float16: faster on a GPU, sells the precision half alone
compile = false   # compile denoisers for this machine: slow to begin with, then faster
reserved_workers = 0   # workers that buyers may have held for themselves, paid by the second (per_reserved_second)

[price]
# A step-megapixel is a million pixels denoised for one step (twice with guidance).
# At {rate}, a 512 x 512 picture of 50 guided steps earns {example}.
per_step_megapixel = {rate}
per_decoded_megapixel = {price.per_decoded_megapixel}   # of pictures made, and of those that a job begins from
per_cold_load = {price.per_cold_load}   # for loading a model that was not warm, paid up front
per_adapter = {price.per_adapter}
minimum = {price.minimum}   # the least that a job costs
per_reserved_second = {price.per_reserved_second}   # for a warm worker held for one buyer, beside its work; 0: not sold
floor_milli = {price.floor_milli}   # the least for work that better bids may interrupt, in thousandths; 1000: not sold
notice_seconds = {price.notice_seconds}   # the longest notice that you give before you take your machine back, up to 60
notice_discount_milli = {price.notice_discount_milli}   # off for no notice, in thousandths; half for half of it
policy = {_text(price.policy)}   # fixed: as above; utilisation, cost-plus: see below and docs/prices.md

[price.utilisation]
# All prices above move with the work there is, between two shares of them, in thousandths.
idle_milli = {price.utilisation.idle_milli}   # when no worker has had anything to do
busy_milli = {price.utilisation.busy_milli}   # when every worker has been at work all the time
minutes = {price.utilisation.minutes}   # how far back that looks
band_milli = {price.utilisation.band_milli}   # changes below this, in thousandths, are not published

[price.cost_plus]
# A step-megapixel costs the energy that it takes, and a margin, for each model that `gpufaird bench` has measured.
tariff = {price.cost_plus.tariff}   # micro-credits that you pay for a kWh
margin_milli = {price.cost_plus.margin_milli}   # what you earn on it, in thousandths
watts = {price.cost_plus.watts}   # what a worker at work draws beside what its GPU's own counter says

[limits]
pixels = 1048576   # of one picture
steps = 100
count = 16   # pictures of one job
queue = 8   # jobs that may wait
window = 100000   # unpaid work under one lease: the most that you risk with a stranger
unsecured = 1000000   # unpaid work for all strangers together
cap = 1000000000   # the most that one lease may cost
lease_minutes = 240
capture_at = 10000000   # collect from the ledger in between when this much waits
traces_mib = 4096   # disk for the proof of the last pictures: buyers leave whoever has none ten minutes after

[models]
# For models and adapters: names, digests (six digits or more), or licences, as "licence:creativeml-openrail-m";
# "licence:unknown" is what states none.
allow = []   # empty: all that is in the store
refuse = []   # never sold, whatever `allow` says

[ledger]
accepted = {_list(choices.ledgers)}   # ledgers that you trust with your earnings
auditors = []   # dids that may read the whole journal, if this node runs a ledger
"""


def _text(value: str) -> str:
    # A JSON string of plain text is a TOML basic string.
    return json.dumps(value, ensure_ascii=False)


def _list(values: tuple[str, ...]) -> str:
    return "[" + ", ".join(map(_text, values)) + "]"
