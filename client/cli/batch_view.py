"""A batch's progress. Rule: on stderr, as lively as the place allows: a table on a terminal, lines elsewhere."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from gpufair.client.batch import events as ev
from gpufair.client.batch import results
from gpufair.client.batch.driver import Driver
from gpufair.client.batch.lanes import Lane, LaneState
from gpufair.client.batch.records import Bought
from gpufair.client.buyer import Buyer
from gpufair.client.cli.stage import Stage
from gpufair.protocol.errors import printable
from gpufair.protocol.identity import short
from gpufair.protocol.units import show

_TIMES_SAID = 20
"""Lines about pictures that a batch prints where there is no terminal."""


class BatchWatch:
    """Listens to a batch, writes each picture as it comes, and shows how far all is."""

    def __init__(self, stage: Stage, buyer: Buyer) -> None:
        self._stage = stage
        self._buyer = buyer
        self._driver: Driver | None = None
        self._folder = ""
        self._live = stage.err.is_terminal and not stage.as_json
        self._screen = Live(get_renderable=self._table, console=stage.err, transient=True, refresh_per_second=4)

    def watch(self, driver: Driver) -> Self:
        """Watch a batch: `with watch.watch(driver)`."""
        self._driver, self._folder = driver, driver.batch.row.folder
        return self

    def __enter__(self) -> Self:
        if self._live:
            self._screen.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if self._live:
            self._screen.stop()

    def __call__(self, event: ev.BatchEvent) -> None:
        """Take one event."""
        match event:
            case ev.PictureHere(place, provider, price, lease, job):
                self._write(place, Bought(lease, job))
                self._picture(place, provider, price)
            case ev.LaneOpened(provider, cap):
                self._tell(f"{short(provider)}: lease of {show(cap)}")
            case ev.LaneRefused(provider, why):
                self._tell(f"{short(provider)}: no lease: {why}")
            case ev.LaneLost(provider, why, pictures):
                self._tell(f"{short(provider)} is given up: {why}; {pictures} of its pictures go on elsewhere")
            case ev.LaneSettled(provider, pictures, captured):
                self._tell(f"{short(provider)}: lease settled, {pictures} pictures, {show(captured)}")
            case ev.SecondTry(place, provider):
                self._tell(f"picture {place + 1} is late: {short(provider)} draws it too")
            case ev.TryFailed(place, provider, why):
                self._tell(f"picture {place + 1} at {short(provider)}: {why}")
            case ev.WentOn(place, provider, done, steps):
                self._tell(f"picture {place + 1} goes on at {short(provider)} after step {done} of {steps}")

    def stopping(self) -> None:
        """Somebody pressed Ctrl-C."""
        self._tell("stopping: once more leaves at once")

    def _write(self, place: int, bought: Bought) -> None:
        if self._driver is not None and self._folder:
            name = self._driver.batch.items[place].name
            results.write(self._driver.folder, name, results.png_of(self._buyer.store, bought))

    def _picture(self, place: int, provider: str, price: int) -> None:
        if self._driver is None:
            return
        done, count = len(self._driver.board.done), len(self._driver.batch.items)
        if self._live or done % max(1, count // _TIMES_SAID) == 0:
            self._tell(f"{done} of {count}: picture {place + 1} from {short(provider)} for {show(price)}")

    def _tell(self, words: str) -> None:
        self._stage.err.print(printable(words, 500))

    def _table(self) -> RenderableType:
        if self._driver is None:
            return Text("")
        board, batch = self._driver.board, self._driver.batch
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        for title in ("provider", "state", "done", "under way", "a picture takes", "spent", "reserved"):
            table.add_column(title, justify="left" if title in ("provider", "state") else "right", style="dim")
        for lane in board.lanes:
            if lane.state is not LaneState.OVER:
                table.add_row(*self._row(lane))
        spent = sum(lane.spent if lane.state is not LaneState.OVER else lane.signed for lane in board.lanes)
        words = f"{len(board.done)} of {len(batch.items)} pictures · {show(spent)} of {show(batch.row.budget)}"
        bar = ProgressBar(total=len(batch.items), completed=len(board.done), width=48)
        return Group(table, Text(words, style="bold"), bar)

    def _row(self, lane: Lane) -> tuple[str, ...]:
        board = self._driver.board if self._driver is not None else None
        takes = ""
        if board is not None and board.is_measured(lane.seller) and lane.tries:
            takes = f"{board.seconds(lane)(lane.tries[0].place):.1f} s"
        return (
            short(lane.seller.did), lane.state.value, str(lane.done), str(len(lane.tries)), takes, show(lane.spent),
            show(max(0, lane.cap - lane.spent)),
        )  # fmt: skip
