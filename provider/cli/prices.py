"""`price`: what is asked now, and why. Rule: the numbers are the running node's, those of the offer that it shows."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from gpufair.protocol.limits import SECOND
from gpufair.protocol.units import show as amount
from gpufair.provider.cli.common import HomeOption, JsonOption, ask_node, say, show

_HEADS = {
    "per_step_megapixel": "step MP",
    "per_decoded_megapixel": "decoded MP",
    "per_cold_load": "cold load",
    "per_adapter": "adapter",
    "minimum": "minimum",
    "per_reserved_second": "held second",
}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(price)


def price(
    lines: Annotated[bool, typer.Option("--lines", help="Show how each picture's price comes about.")] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """What is asked now of each kind of bid, and why. The node must run."""
    answer = ask_node(home, "price")
    if show(answer, as_json=as_json):
        return
    say(f"policy   {answer['policy']}")
    say("the least that each kind of bid pays, in micro-credits; a picture is 512 x 512, 25 guided steps, in credits")
    if not answer["models"]:
        say("nothing is on sale now: `gpufaird status` says why")
    for model in answer["models"]:
        say()
        _tell(model, lines=lines)


def _tell(model: dict[str, Any], *, lines: bool) -> None:
    say(f"model    {model['name']} {model['digest'][:16]} {model['state']}")
    say(f"why      {model['why']}")
    _row("a bid", [*_HEADS.values(), "a picture"])
    for ask in model["asks"]:
        _row(_kind(ask), [*(_rate(ask, line) for line in _HEADS), amount(ask["picture"])])
    if lines:
        for ask in model["asks"]:
            say(f"a picture {_kind(ask)}: {'; '.join(ask['lines'])}")


def _kind(ask: dict[str, Any]) -> str:
    return f"{ask['class'].replace('_', ' ')}, {ask['notice_ms'] / SECOND:g} s notice"


def _rate(ask: dict[str, Any], line: str) -> str:
    """A line of a sheet; a second of a held worker is asked of those alone who may have one."""
    return "-" if line == "per_reserved_second" and ask["class"] != "reserved" else f"{ask['sheet'][line]:,}"


def _row(name: str, cells: list[str]) -> None:
    say(f"  {name:<28}" + "".join(f"{cell:>12}" for cell in cells[:-1]) + f"{cells[-1]:>14}")
