"""Every benchmark. ONE RULE: a benchmark is one file here and one line below."""

from __future__ import annotations

from benchmarks.running import Entry

BENCHMARKS = (
    Entry("market", "benchmarks.market", "a picture through the market, against the same pipeline in a plain loop"),
    Entry("dispatch", "benchmarks.dispatch", "a job sent until the worker's first frame, against a bare gRPC echo"),
    Entry("peers", "benchmarks.peers", "null jobs a second over four providers, beside Celery with Redis, and Ray"),
    Entry("costs", "benchmarks.costs", "where a null job's processor time goes: buyer, providers, ledger"),
    Entry("floods", "benchmarks.floods", "a job's dispatch during floods of bids, records, silence, size and pings"),
    Entry("failover", "benchmarks.failover", "a provider is killed in the middle of a job: until it goes on elsewhere"),
    Entry("container", "benchmarks.container", "a hardened worker's start against plain docker run; cold against warm"),
    Entry(
        "ledger", "benchmarks.captures", "durable captures a second, against plain sqlite3 and the signatures' limit"
    ),
    Entry("gossip", "benchmarks.gossip", "a new offer among 200 directories: rounds and bytes, on a virtual clock"),
    Entry("search", "benchmarks.search", "a search among 100,000 offers, against SQLite and a scan; offers taken in"),
    Entry("core", "benchmarks.core", "our own diffusion loop, alone and in batches, against diffusers' pipeline"),
    Entry("audit", "benchmarks.audit", "a step done again and judged, against its share of the job that it audits"),
    Entry("residency", "benchmarks.residency", "models in memory: a warm switch against a load, and whether it grows"),
    Entry("demo", "benchmarks.demo", "script/demo from a bare clone and again warm", by_name_only=True),
)
