"""How things look on a terminal. Rule: peers' words go in as plain text, so that they can't paint, move or pretend."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from gpufair.client.market.wish import GUIDED_ABOVE_MILLI
from gpufair.protocol import identity
from gpufair.protocol.errors import printable
from gpufair.protocol.messages import AdapterOffer, Check, ModelState, Offer, Precision, Spec, Task, Verdict
from gpufair.protocol.timing import estimate_us
from gpufair.protocol.units import show

if TYPE_CHECKING:
    from gpufair.client.audit.auditor import Audited
    from gpufair.client.counters import Counter
    from gpufair.client.market.plan import Plan
    from gpufair.client.pictures.verify import Verified
    from gpufair.client.wallet.purchase import Purchase
    from gpufair.protocol.envelope import Signed
    from gpufair.protocol.pricing import Quote

_COLOURS = {"paid": "green", "delivered": "yellow", "running": "yellow", "placed": "yellow", "draft": "dim"}


def _plain() -> Table:
    return Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))


def spec_words(spec: Spec, *, guidance_milli: int, seed: int | None) -> str:
    """A job in one line."""
    words = [*task_words(spec), f"{spec.width}x{spec.height}", steps_words(spec)]
    words.append(f"guidance {milli(guidance_milli)}" if guidance_milli > GUIDED_ABOVE_MILLI else "unguided")
    words.append(spec.scheduler.name.lower())
    words += [] if spec.precision is Precision.EXACT else [f"{spec.precision.name.lower()} precision"]
    words += [f"seed {seed}"] if seed is not None else []
    words += [f"{spec.count} pictures"] if spec.count > 1 else []
    return " · ".join(words)


def task_words(spec: Spec) -> list[str]:
    """The task, where it is not the usual one."""
    return [] if spec.task is Task.TEXT_TO_IMAGE else [spec.task.name.lower().replace("_", " ")]


def steps_words(spec: Spec) -> str:
    """Steps that are computed and paid, and those of the schedule that an input makes needless."""
    return f"{spec.steps} steps" + (f" of {spec.steps + spec.skip}, {spec.skip} skipped" if spec.skip else "")


def adapter_words(spec: Spec, offered: Iterable[AdapterOffer] = ()) -> str:
    """The LoRAs of a job with their weights, by the names that a seller gives them."""
    names = {one.digest: one.name for one in offered}
    shown = ((names.get(one.digest, ""), one) for one in spec.adapters)
    return ", ".join(f"{name or 'LoRA'} ({one.digest.hex()[:12]}) x {milli(one.weight_milli)}" for name, one in shown)


def milli(thousandths: int) -> str:
    """Thousandths as a decimal number: 7500 is 7.5."""
    whole, rest = divmod(abs(thousandths), 1000)
    return ("-" if thousandths < 0 else "") + f"{whole}.{rest:03d}".rstrip("0").rstrip(".")


def size(count: int) -> str:
    """Bytes for people."""
    return f"{count:,} B" if count < 10_000 else f"{count // 1000:,} kB"


def when(ms: int) -> str:
    """A time in the reader's own zone."""
    return dt.datetime.fromtimestamp(ms / 1000, tz=dt.UTC).astimezone().strftime("%Y-%m-%d %H:%M")


def quote_table(quote: Quote) -> Table:
    """A price, line by line, and its sum."""
    table = _plain()
    table.add_column(style="dim")
    table.add_column(justify="right", style="dim")
    table.add_column(justify="right")
    for line in quote.lines:
        rate = f"{line.quantity:,} {line.unit} at {line.rate:,}"
        if line.unit in ("step-pixels", "pixels"):
            rate += " per million"
        table.add_row(f"  {line.line.value}", rate, show(line.amount))
    table.add_row(Text("  total", style="bold"), "", Text(show(quote.total), style="bold"))
    return table


def plan_table(plan: Plan) -> Table:
    """What will be bought, from whom, paid where."""
    from gpufair.client.market.choosing import summary

    offer, body = plan.choice.offer, plan.body
    table = _plain()
    table.add_column(style="dim")
    table.add_column()
    job = spec_words(plan.spec, guidance_milli=body.guidance_milli, seed=body.seed)
    table.add_row("  prompt", printable(body.prompt, 500))
    if body.negative_prompt:
        table.add_row("  not", printable(body.negative_prompt, 500))
    if plan.wish.begin is not None:
        table.add_row("  from", plan.wish.begin.words(plan.spec.width, plan.spec.height))
    table.add_row("  job", job)
    if plan.spec.adapters:
        table.add_row("  with", printable(adapter_words(plan.spec, offer.doc.adapters), 500))
    table.add_row("  model", f"{plan.candidate.model.name} ({plan.candidate.model.digest.hex()[:12]})")
    isolation = f"isolation {offer.doc.isolation.name.lower()}"
    table.add_row("  provider", f"{identity.short(offer.issuer)} · {hardware(offer.doc)} · {isolation}")
    if words := plan.wish.stake.words():
        table.add_row("  bid", words)
    if estimate := about(estimate_us(plan.spec, plan.candidate.model)):
        table.add_row("  time", f"{estimate}, as the provider measured it")
    table.add_row("  ledger", f"{identity.short(plan.ledger.did)} · you have {show(plan.available)} there")
    if plan.dropped:
        table.add_row("  before it", f"{len(plan.dropped)} are not taken: {summary(plan.dropped)}")
    return table


def about(estimate_us: int) -> str:
    """A time that is estimated, for people; empty if it isn't."""
    seconds = estimate_us / 1_000_000
    if seconds <= 0:
        return ""
    if seconds < 90:
        return f"about {max(1, round(seconds))} s"
    return f"about {round(seconds / 60)} min" if seconds < 5400 else f"about {seconds / 3600:.1f} h"


def offer_lines(offer: Signed[Offer]) -> Iterator[Text]:
    """An offer: who and on what, then a line for each model."""
    doc = offer.doc
    facts = [hardware(doc), f"isolation {doc.isolation.name.lower()}", f"up to {megapixels(doc.limits.pixels)}"]
    facts += [f"{doc.queue_free} places free"] + ([doc.region] if doc.region else [])
    yield Text.assemble((identity.short(offer.issuer), "bold"), "  ", " · ".join(facts))
    on_sale = [model for model in doc.models if model.state is not ModelState.ABSENT]
    for model in on_sale:
        price = f"{show(model.sheet.per_step_megapixel)} per step-megapixel, at least {show(model.sheet.minimum)}"
        name = f"   {model.name} {model.digest.hex()[:8]}"
        yield Text.assemble(f"{name:<24}", (f"{model.state.name.lower():<8}", "dim"), price)
        yield Text(f"{'':<24}{', '.join(task.name.lower().replace('_', ' ') for task in model.tasks)}", style="dim")
    for adapter in doc.adapters:
        fits = ", ".join(model.name for model in on_sale if model.digest in adapter.models)
        yield Text(f"   LoRA {adapter.name} {adapter.digest.hex()[:8]} for {fits}")
    if not on_sale:
        yield Text("   sells nothing just now", style="dim")


def hardware(offer: Offer) -> str:
    """What an offer's pictures are made on."""
    gpus = ", ".join(f"{gpu.count} x {gpu.name}" for gpu in offer.gpus[:3])
    return gpus or f"{offer.cpu_cores} CPU cores"


def megapixels(pixels: int) -> str:
    """Pixels in millions."""
    number = f"{pixels / 1e6:.2g}"
    return f"{number} megapixel{'' if number == '1' else 's'}"


def history_line(one: Purchase, width: int) -> Text:
    """A job in one line of `width` columns."""
    prompt = printable(" ".join([*(f"[{word}]" for word in task_words(one.spec)), *one.job.prompt.split()]))
    room = max(12, width - 62)
    return Text.assemble(
        (one.job.id.hex()[:12], "bold"), "  ", (when(one.job.created_ms), "dim"), "  ", state_text(one.state),
        f"  {len(one.opened)}/{one.job.count:<3}", (f"{show(one.spent):>14}  ", "" if one.is_settled else "dim"),
        prompt if len(prompt) <= room else prompt[: room - 1] + "…",
    )  # fmt: skip


def state_text(state: str) -> Text:
    """A job's state in its colour."""
    return Text(f"{state:<9}", style=_COLOURS.get(state, "red"))


def purchase_lines(one: Purchase) -> Iterator[str]:
    """A job in full."""
    job = one.job
    yield f"  prompt    {' '.join(job.prompt.split())[:500]}"
    yield f"  job       {spec_words(one.spec, guidance_milli=one.body.guidance_milli, seed=one.body.seed)}"
    if one.spec.adapters:
        yield f"  with      {printable(adapter_words(one.spec, one.offer.adapters), 500)}"
    yield f"  model     {one.model_name} ({one.spec.model.hex()[:12]})"
    yield f"  made      {when(job.created_ms)}"
    yield "  cost      " + cost_words(one)
    yield from part_lines(one)
    for proof in one.proofs:
        yield f"  evidence  signed document {proof.hex()[:16]}…"
    for mark in one.checkpoints:
        missing = "" if mark.is_open else ", its key has not come"
        yield f"  bought    the state of picture {mark.index} after step {mark.step}, {show(mark.amount)}{missing}"
    for picture in one.pictures:
        claim = picture.claim
        state = "here" if picture.is_open else "paid, its key has not come" if picture.locked else "here, not paid"
        state = "not what its receipt says" if picture.is_false else state
        yield f"  picture {picture.index} {state}, {size(claim.plain_length)}, sha256 {claim.plain_sha256.hex()[:16]}…"


def part_lines(one: Purchase) -> Iterator[str]:
    """Where a job was ordered and how that ended; then where it went on, with what."""
    job, lease = one.job, one.lease
    if one.spec.done:
        yield f"  goes on   from step {one.spec.done} of {one.spec.steps}, which was bought before"
    yield f"  state     {job.state}" + (f": {job.note}" if job.note else "")
    yield f"  provider  {lease.provider}"
    yield f"  ledger    {lease.ledger}"
    yield f"  lease     {lease.id.hex()[:16]}…, {lease.state}, at most {show(lease.cap)}"
    if lease.distrust:
        yield f"  CHEATED   {lease.distrust}"
    for part in one.parts:
        yield from part_lines(part)


def cost_words(one: Purchase) -> str:
    """What a job cost, and whether that is the ledger's last word."""
    # Here, so that commands which never look into the wallet don't load its database library.
    from gpufair.client.wallet import budget

    if one.is_settled:
        released = sum(lease.released for lease in one.leases)
        back = f"; {show(released)} came back" if released else ""
        return f"{show(one.spent)}, settled{back}"
    held = [lease for lease in one.leases if budget.is_open(lease)]
    until = when(max((lease.hold_expires_ms for lease in held), default=0))
    return f"{show(one.spent)} promised so far; {show(sum(lease.cap for lease in held))} is held until {until}"


def verified_lines(verified: Verified) -> Iterator[str]:
    """Who made a picture, as what, for how much."""
    from gpufair.client.cli.bills import work_words

    claim = verified.receipt.doc
    guided = "guided" if claim.spec.guided else "unguided"
    yield f"  made by   {verified.provider}"
    yield f"  on        {when(claim.head.issued_at_ms)}"
    yield f"  model     {claim.spec.model.hex()}"
    size = f"{claim.spec.width}x{claim.spec.height}"
    job = " · ".join([*task_words(claim.spec), size, steps_words(claim.spec), guided])
    yield f"  job       {claim.job.hex()[:12]} · {job} · {claim.spec.scheduler.name.lower()} · picture {claim.picture}"
    if claim.spec.adapters:
        yield f"  with      {adapter_words(claim.spec)}"
    yield f"  price     {show(claim.increment)} for {work_words(claim.spec, claim.last_step - claim.first_step)}"
    yield f"  trace     {claim.trace_root.hex()[:32]}… over {claim.leaf_count} steps"


def balance_lines(counters: Iterable[Counter]) -> Iterator[str]:
    """What there is at each ledger."""
    for one in counters:
        where = f"{identity.short(one.ref.did)} at {one.ref.endpoint}"
        if one.balance is None:
            yield f"✗ {where}: {one.error}"
            continue
        held = f", {show(one.balance.held)} held for open leases" if one.balance.held else ""
        earning = f", {show(one.balance.earning)} on its way to you" if one.balance.earning else ""
        yield f"{show(one.balance.available):>16}  {where}{held}{earning}"


def audit_lines(audited: Audited) -> Iterator[str]:
    """What an audit came to: the verdict, who made it, each check with its number."""
    case, judgement = audited.case, audited.judgement
    step = f"step {case.step + 1} of {case.receipt.doc.spec.steps}"
    match audited.verdict:
        case Verdict.PASSED:
            yield f"✓ {step} was done as ordered"
        case Verdict.FAILED:
            yield f"✗ {step} was NOT done as ordered"
        case _:
            yield f"? nobody proves that {step} was done"
    yield f"  provider  {case.provider}"
    yield f"  picture   {case.receipt.doc.picture} of job {case.receipt.doc.job.hex()[:12]}"
    if case.answer is not None and judgement.verifier is not None:
        yield f"  made on   {case.answer.doc.profile.kind}, done again on {judgement.verifier.kind}"
    for one in judgement.findings:
        mark, name = "✓" if one.holds else "✗", one.check.name.lower()
        number = f"off by {one.measured_nano / 1e9:.2g}, at most {one.limit_nano / 1e9:.2g}"
        yield f"  {name:<9} {mark} {printable(one.detail, 500) or ('hold' if one.check is Check.PROOFS else number)}"
