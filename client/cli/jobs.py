"""`history`, `show`, `fetch`, `cancel`. Rule: the wallet first; others are asked only for what it lacks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gpufair.client.cli.stage import Answer, HomeDir, Json, Stage, perform

if TYPE_CHECKING:
    from gpufair.client.buyer import Buyer

_WHICH = "A job's id, or its first digits, as `history` shows them"
Job = Annotated[str, typer.Argument(help=f"{_WHICH}.")]
JobOrNewest = Annotated[str, typer.Argument(metavar="[JOB]", help=f"{_WHICH}; none: the newest.", show_default=False)]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(rich_help_panel="Pictures")(history)
    app.command(rich_help_panel="Pictures")(show)
    app.command(rich_help_panel="Pictures")(fetch)
    app.command(rich_help_panel="Pictures")(cancel)


def history(
    limit: Annotated[int, typer.Option("--limit", min=1, max=10_000, help="How many, newest first.")] = 20,
    home: HomeDir = None,
    as_json: Json = False,
) -> None:
    """List your jobs, newest first. Offline."""
    perform(home, as_json, lambda stage: stage.with_buyer(lambda buyer: _history(stage, buyer, limit)))


def show(job: JobOrNewest = "", home: HomeDir = None, as_json: Json = False) -> None:
    """Show all that the wallet knows of a job. Offline."""
    perform(home, as_json, lambda stage: stage.with_buyer(lambda buyer: _show(stage, buyer, job)))


def fetch(
    job: Job,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="The PNG; else named after the prompt.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file.")] = False,
    wait: Annotated[int, typer.Option("--wait", min=1, max=3600, help="Seconds to go on with a job.")] = 600,
    go_on: Annotated[bool, typer.Option("--go-on", help="Have others finish what its provider leaves undone.")] = False,
    home: HomeDir = None,
    as_json: Json = False,
) -> None:
    """Take up a job again: write its pictures, bring in what is missing, settle."""

    def work(stage: Stage) -> Answer:
        return stage.with_buyer(lambda buyer: _fetch(stage, buyer, job, output, force=force, wait=wait, go_on=go_on))

    perform(home, as_json, work)


def cancel(job: Job, home: HomeDir = None, as_json: Json = False) -> None:
    """Stop a job. Pictures that were delivered stay payable; the rest of the hold comes back."""
    perform(home, as_json, lambda stage: stage.with_buyer(lambda buyer: _cancel(stage, buyer, job)))


async def _history(stage: Stage, buyer: Buyer, limit: int) -> Answer:
    from gpufair.client.cli.answers import answer, purchase_object
    from gpufair.client.cli.views import history_line
    from gpufair.client.wallet import purchases

    found = purchases.history(buyer.store, limit)
    for one in found:
        stage.out.print(history_line(one, stage.out.width))
    if not found:
        stage.say("No jobs yet. Next: gpufair run 'a fox on a green background'")
    return answer("history", jobs=[purchase_object(one) for one in found])


async def _show(stage: Stage, buyer: Buyer, job: str) -> Answer:
    from gpufair.client.cli.answers import answer, purchase_object
    from gpufair.client.cli.bills import bill_lines
    from gpufair.client.cli.views import purchase_lines
    from gpufair.client.endings import next_command
    from gpufair.client.wallet import purchases
    from gpufair.protocol.errors import Fault, LocalError

    newest = purchases.history(buyer.store, 1)
    if not job and not newest:
        raise LocalError(Fault.UNKNOWN, "the wallet has no job yet", hint="see: gpufair run --help")
    found = purchases.find(buyer.store, job) if job else newest[0]
    stage.say(f"job {found.job.id.hex()}", style="bold")
    for line in (*purchase_lines(found), *bill_lines(found)):
        stage.say(line)
    if command := next_command(found):
        stage.say(f"\nNext: {command}", style="dim")
    return answer("show", **purchase_object(found))


async def _fetch(
    stage: Stage, buyer: Buyer, job: str, output: Path | None, *, force: bool, wait: int, go_on: bool
) -> Answer:
    from gpufair.client.cli.answers import answer, purchase_object
    from gpufair.client.cli.progress import Watch
    from gpufair.client.cli.views import cost_words
    from gpufair.client.endings import ended
    from gpufair.client.failures import PurchaseError
    from gpufair.client.pictures import folder as pictures
    from gpufair.client.wallet import purchases

    found = purchases.find(buyer.store, job)
    stage.job = found.job.id
    paths = pictures.targets(output or pictures.name_for(found.job.prompt, Path(), found.job.count), found.job.count)
    pictures.check_writable(paths, force=True)  # files that are there are looked at once all is settled
    failure: PurchaseError | None = None
    try:
        with Watch(stage, count=found.job.count, steps=found.spec.steps) as watch:
            await (buyer.resume(found, watch) if go_on else buyer.fetch(found, watch, patience_s=wait))
    except PurchaseError as error:
        failure = error
    found = purchases.find(buyer.store, found.job.id.hex())
    written = pictures.write(buyer.store, found, paths, force=force)
    for path in written.values():
        stage.say(f"✓ {path}", style="green")
    if failure is not None and len(written) < found.job.count:
        raise failure
    stage.say(f"  cost      {cost_words(ended(found))}")
    return answer("fetch", **purchase_object(found, written))


async def _cancel(stage: Stage, buyer: Buyer, job: str) -> Answer:
    from gpufair.client.cli.answers import answer, purchase_object
    from gpufair.client.cli.views import cost_words
    from gpufair.client.wallet import purchases

    found = await buyer.cancel(purchases.find(buyer.store, job))
    stage.say(f"The job is {found.state}.")
    stage.say(f"  cost      {cost_words(found)}")
    return answer("cancel", **purchase_object(found))
