"""`up`, `status`, `pause`, `resume`, `reclaim`, `drain`, `stop`. Rule: `up` stays in front; the others talk to it."""

from __future__ import annotations

from typing import Annotated

import typer

from gpufair.protocol.limits import SECOND
from gpufair.protocol.units import show as amount
from gpufair.provider.cli.common import HomeOption, JsonOption, ask_node, say, show
from gpufair.provider.cli.neighbours import lines


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (up, status, pause, resume, reclaim, drain, stop):
        app.command()(command)


def up(
    home: HomeOption = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say more.")] = False,
) -> None:
    """Run the node until Ctrl-C or SIGTERM."""
    from gpufair.provider.cli.serving import serve

    serve(home, verbose=verbose)


def status(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Jobs, earnings, holds, peers, and the last thing that went wrong."""
    answer = ask_node(home, "status")
    if show(answer, as_json=as_json):
        return
    say(f"node       {answer['did']}")
    say(f"reach      {', '.join(answer['endpoints'])}   roles: {', '.join(answer['roles'])}")
    provider = answer.get("provider")
    if provider:
        state = next((name for name in ("draining", "reclaimed", "paused") if provider[name]), "selling")
        say(f"state      {state}, {provider['running']} running, {provider['waiting']} waiting")
        say(
            f"earned     {amount(provider['earned_today'])} today, {amount(provider['earned'])} in all; "
            f"{amount(provider['pending'])} pending",
        )
        say(f"leases     {provider['open_leases']} open, {amount(provider['held'])} held for them")
        say(f"jobs       {provider['jobs_paid']} paid, {provider['jobs_failed']} failed")
        held = f", {provider['reserved']} held for leases" if provider["reserved"] else ""
        say(f"workers    {provider['workers']} by {provider['runtime']} (isolation {provider['isolation']}){held}")
        for model in provider["models"]:
            say(f"model      {model['name']} {model['digest'][:16]} {model['state']}")
            rate, policy = model["per_step_megapixel"], provider["price_policy"]
            say(f"price      {rate} a step-megapixel, {model['why']} (policy {policy})")
        for adapter in provider["adapters"]:
            say(f"lora       {adapter['name']} {adapter['digest'][:16]} fits {len(adapter['fits'])} of these")
        if provider["last_error"]:
            say(f"last error {provider['last_error']}")
    if answer.get("ledger"):
        book = answer["ledger"]
        say(
            f"ledger     {book['accounts']} accounts, {amount(book['outstanding'])} outstanding, "
            f"{book['events']} events; {book['holds_open']} holds open over {amount(book['held'])}",
        )
    for line in lines(answer):
        say(line)


def pause(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Take no new leases or jobs for now; what runs goes on."""
    if not show(ask_node(home, "pause"), as_json=as_json):
        say("paused: nothing new is taken, what runs goes on. `gpufaird resume` opens again")


def resume(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Take new work again."""
    if not show(ask_node(home, "resume"), as_json=as_json):
        say("selling again")


def reclaim(
    notice: Annotated[
        int, typer.Option("--notice", min=0, help="Seconds of notice, where that is more than a lease has agreed.")
    ] = 0,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take the machine back: jobs end at a step after their leases' notice, workers go. `resume` sells again."""
    answer = ask_node(home, "reclaim", notice_ms=notice * SECOND)
    if not show(answer, as_json=as_json):
        say(f"reclaimed: nothing new is taken, and in {answer['within_ms'] / SECOND:g} s the last job ends at its next")
        say("step; then the workers go. `gpufaird resume` sells again")


def drain(
    within: Annotated[
        int | None, typer.Option("--within", min=0, help="Seconds after which what is not done ends at a step.")
    ] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take nothing new, finish what there is, settle, then stop."""
    words = {} if within is None else {"within_ms": within * SECOND}
    if not show(ask_node(home, "drain", **words), as_json=as_json):
        say("draining: the node stops by itself when its leases are settled")


def stop(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Stop now: jobs end at a step and hand over what was done, open leases are settled."""
    if not show(ask_node(home, "stop"), as_json=as_json):
        say("stopping")
