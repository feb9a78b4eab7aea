"""The JSON objects of docs/cli.md. Rule: a field keeps its name and meaning for ever; amounts are micro-credits.

Ids, digests and keys are hex; times are Unix milliseconds; what is not there is null, not missing.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gpufair.client.audit.auditor import Audited
    from gpufair.client.market.choosing import Choice
    from gpufair.client.market.plan import Plan
    from gpufair.client.pictures.verify import Verified
    from gpufair.client.wallet.purchase import Purchase
    from gpufair.protocol.envelope import Signed
    from gpufair.protocol.messages import Offer, Reason, Spec
    from gpufair.protocol.pricing import Quote
    from gpufair.protocol.search.filters import Count
    from gpufair.protocol.search.index import Found

Object = dict[str, Any]


def answer(name: str, **fields: Any) -> Object:
    """A command's whole answer; its schema's name comes first."""
    return {"schema": f"gpufair/{name}/1", **fields}


def reason_object(reason: Reason) -> Object:
    """One reason with its numbers."""
    return {
        "code": reason.code.name.lower(), "wanted": reason.wanted, "limit": reason.limit, "unit": reason.unit,
        "detail": reason.detail,
    }  # fmt: skip


def quote_object(quote: Quote) -> Object:
    """A price, line by line."""
    lines = [
        {"line": one.line.value, "quantity": one.quantity, "unit": one.unit, "rate": one.rate, "amount": one.amount}
        for one in quote.lines
    ]
    return {"total": quote.total, "upfront": quote.upfront, "increment": quote.increment, "lines": lines}


def spec_object(spec: Spec) -> Object:
    """The public part of a job."""
    return {
        "task": spec.task.name.lower(), "model": spec.model.hex(), "width": spec.width, "height": spec.height,
        "steps": spec.steps, "skip": spec.skip, "done": spec.done, "count": spec.count, "guided": spec.guided,
        "scheduler": spec.scheduler.name.lower(), "precision": spec.precision.name.lower(),
        "adapters": [{"digest": one.digest.hex(), "weight_milli": one.weight_milli} for one in spec.adapters],
    }  # fmt: skip


def offer_object(offer: Signed[Offer]) -> Object:
    """An offer: who, what, for how much, how isolated, paid where."""
    doc = offer.doc
    return {
        "id": offer.id.hex(), "provider": offer.issuer, "sequence": doc.sequence,
        "expires_at_ms": doc.head.expires_at_ms, "isolation": doc.isolation.name.lower(),
        "gpus": [{"name": g.name, "memory_bytes": g.memory_bytes, "count": g.count} for g in doc.gpus],
        "cpu_cores": doc.cpu_cores, "memory_bytes": doc.memory_bytes, "queue_free": doc.queue_free,
        "region": doc.region, "window_max": doc.window_max, "profiles": [one.hex() for one in doc.profiles],
        "classes": _names(doc.classes), "floor_milli": doc.floor_milli, "notice_max_ms": doc.notice_max_ms,
        "notice_discount_milli": doc.notice_discount_milli, "queue_ms": doc.queue_ms,
        "limits": {"pixels": doc.limits.pixels, "steps": doc.limits.steps, "count": doc.limits.count},
        "tasks": _names(doc.tasks), "schedulers": _names(doc.schedulers), "precisions": _names(doc.precisions),
        "ledgers": [{"did": one.did, "endpoint": one.endpoint} for one in doc.ledgers],
        "models": [
            {
                "digest": m.digest.hex(), "name": m.name, "family": m.family, "licence": m.licence,
                "state": m.state.name.lower(), "tasks": _names(m.tasks),
                "schedulers": _names(m.schedulers or doc.schedulers),
                "price": {
                    "per_step_megapixel": m.sheet.per_step_megapixel,
                    "per_decoded_megapixel": m.sheet.per_decoded_megapixel,
                    "per_cold_load": m.sheet.per_cold_load, "per_adapter": m.sheet.per_adapter,
                    "minimum": m.sheet.minimum,
                },
            }
            for m in doc.models
        ],
        "adapters": [
            {
                "digest": one.digest.hex(), "name": one.name, "licence": one.licence,
                "models": [digest.hex() for digest in one.models],
            }
            for one in doc.adapters
        ],
    }  # fmt: skip


def _names(members: Iterable[IntEnum]) -> list[str]:
    return [one.name.lower() for one in members]


def count_objects(counts: Iterable[Count]) -> list[Object]:
    """How many offers pass each filter, and how many are left after it and those before it."""
    return [{"filter": one.filter.value, "alone": one.alone, "left": one.left} for one in counts]


def found_object(found: Found) -> Object:
    """What a search gave. Prices and times are those of the picture that offers are compared by."""
    return {
        "known": found.known, "matches": found.matches, "counts": count_objects(found.counts),
        "hits": [{"provider": hit.did, "price": hit.price, "time_us": hit.time_us} for hit in found.hits],
        "changes": [
            {"without": one.filter.value, "matches": one.matches, "price": one.price} for one in found.changes
        ],
    }  # fmt: skip


def choice_object(choice: Choice) -> Object:
    """An offer that can do a job, and its quote."""
    from gpufair.protocol.timing import estimate_us

    return {
        "provider": choice.offer.issuer, "offer": choice.offer.id.hex(), "spec": spec_object(choice.spec),
        "isolation": choice.offer.doc.isolation.name.lower(), "quote": quote_object(choice.candidate.quote),
        "estimate_ms": -(-estimate_us(choice.spec, choice.candidate.model) // 1000) or None,
    }  # fmt: skip


def plan_object(plan: Plan) -> Object:
    """What is about to be bought."""
    return {
        **choice_object(plan.choice), "model_name": plan.candidate.model.name, "ledger": plan.ledger.did,
        "available": plan.available, "seed": plan.body.seed, "guidance_milli": plan.body.guidance_milli,
    }  # fmt: skip


def purchase_object(purchase: Purchase, files: dict[int, str] | None = None) -> Object:
    """A job and what came of it. `files` are where its pictures were written, by index."""
    # Here, so that commands which never look into the wallet don't load its database library.
    from gpufair.client.cli.bills import bill_object
    from gpufair.client.wallet import budget
    from gpufair.client.wallet.purchases import provider_of

    job, lease, body = purchase.job, purchase.lease, purchase.body
    return {
        "job": job.id.hex(), "lease": lease.id.hex(), "state": purchase.state, "lease_state": lease.state,
        "note": job.note, "prompt": job.prompt, "negative": body.negative_prompt, "seed": body.seed,
        "guidance_milli": body.guidance_milli, "spec": spec_object(purchase.spec), "model_name": purchase.model_name,
        "provider": lease.provider, "provider_endpoints": list(provider_of(lease).endpoints), "ledger": lease.ledger,
        "created_ms": job.created_ms, "spent": purchase.spent,
        "held": sum(one.cap - one.captured for one in purchase.leases if budget.is_open(one)),
        "captured": sum(one.captured for one in purchase.leases),
        "released": sum(one.released for one in purchase.leases), "settled": purchase.is_settled,
        "bill": bill_object(purchase), "distrust": lease.distrust or None,
        "reasons": [reason_object(one) for one in purchase.reasons],
        "pictures": [
            {
                "index": one.index, "opened": one.is_open, "paid": one.amount if one.locked else 0,
                "sha256": one.claim.plain_sha256.hex(), "bytes": one.claim.plain_length,
                "trace_root": one.claim.trace_root.hex(), "profile": one.claim.profile.hex(),
                "file": (files or {}).get(one.index),
            }
            for one in purchase.pictures
        ],
        "checkpoints": [
            {"index": one.index, "step": one.step, "opened": one.is_open, "paid": one.amount if one.locked else 0}
            for one in purchase.checkpoints
        ],
        "parts": [part_object(part) for part in purchase.parts],
    }  # fmt: skip


def part_object(part: Purchase) -> Object:
    """What was ordered elsewhere because the job before left it undone."""
    job, lease = part.job, part.lease
    return {
        "job": job.id.hex(), "lease": lease.id.hex(), "state": job.state, "note": job.note, "provider": lease.provider,
        "done": part.spec.done, "count": job.count, "spent": part.spent, "settled": part.is_settled,
        "parts": [part_object(one) for one in part.parts],
    }  # fmt: skip


def verified_object(verified: Verified, file: str) -> Object:
    """A picture whose receipt holds."""
    claim = verified.receipt.doc
    return {
        "file": file, "valid": True, "provider": verified.provider, "receipt": verified.receipt.id.hex(),
        "issued_at_ms": claim.head.issued_at_ms, "lease": claim.lease.hex(), "job": claim.job.hex(),
        "picture": claim.picture, "spec": spec_object(claim.spec), "price": claim.increment,
        "sha256": claim.plain_sha256.hex(), "bytes": claim.plain_length, "trace_root": claim.trace_root.hex(),
        "leaf_count": claim.leaf_count, "profile": claim.profile.hex(),
    }  # fmt: skip


def audit_object(audited: Audited, file: str | None) -> Object:
    """What an audit came to. `file` is where its proof lies."""
    case, judgement = audited.case, audited.judgement
    report, claim = case.report, case.receipt.doc
    answer = case.answer.doc if case.answer is not None else None
    return {
        "verdict": audited.verdict.name.lower(), "banned": audited.banned, "provider": case.provider,
        "lease": claim.lease.hex(),
        "job": claim.job.hex(), "picture": claim.picture, "step": case.step, "steps": claim.spec.steps, "file": file,
        "receipt": case.receipt.id.hex(), "report": report.id.hex() if report is not None else None,
        "auditor": report.issuer if report is not None else None,
        "provider_kind": answer.profile.kind if answer is not None else None,
        "verifier_kind": judgement.verifier.kind if judgement.verifier is not None else None,
        "findings": [
            {"check": one.check.name.lower(), "holds": one.holds, "measured_nano": one.measured_nano,
             "limit_nano": one.limit_nano, "detail": one.detail}
            for one in judgement.findings
        ],
    }  # fmt: skip
