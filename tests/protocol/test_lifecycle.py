"""Every state meets every event: a row of the table leads where it says, everything else raises and changes nothing."""

import pytest

from gpufair.protocol.errors import Fault, IllegalEventError
from gpufair.protocol.lifecycle import ATTEMPT, JOB, LEASE, MACHINES, mermaid

WAYS = {
    "lease": """
        proposed accept agreed, proposed decline declined, proposed expire expired, agreed fund funded,
        agreed abandon abandoned, agreed expire expired, funded open open, funded close closing, open close closing,
        closing settle settled""",
    "job": """
        draft place placed, draft cancel cancelled, placed start running, placed stop stopped, placed fail failed,
        placed cancel cancelled,
        placed expire expired, running stop stopped, running deliver delivered, running fail failed,
        running cancel cancelled, running expire expired, delivered pay paid, delivered expire expired""",
    "attempt": """
        accepted queue queued, accepted reject rejected, accepted fail failed, accepted cancel cancelled,
        accepted reclaim reclaimed, accepted drain drained, accepted expire expired, queued start running,
        queued fail failed, queued cancel cancelled, queued reclaim reclaimed, queued preempt preempted,
        queued drain drained, queued expire expired, running restart queued, running deliver delivered,
        running fail failed, running cancel cancelled, running reclaim reclaimed, running preempt preempted,
        running drain drained, running expire expired, delivered pay paid, delivered expire expired""",
}
ENDS = {
    "lease": {"settled", "declined", "expired", "abandoned"},
    "job": {"paid", "stopped", "failed", "cancelled", "expired"},
    "attempt": {"paid", "rejected", "failed", "cancelled", "reclaimed", "preempted", "drained", "expired"},
}


def ways(machine):
    rows = (way.split() for way in WAYS[machine.name].replace("\n", " ").split(","))
    return {(state, event): after for state, event, after in rows}


def pairs():
    for machine in MACHINES:
        events = type(next(iter(next(iter(machine.table.values())))))
        for state in type(machine.start):
            for event in events:
                yield pytest.param(machine, state, event, id=f"{machine.name}-{state.value}-{event.value}")


@pytest.mark.parametrize(("machine", "state", "event"), list(pairs()))
def test_every_state_meets_every_event(machine, state, event):
    after = ways(machine).get((state.value, event.value))
    assert machine.allows(state, event) is (after is not None)
    if after is not None:
        assert machine.after(state, event) == after
        return
    with pytest.raises(IllegalEventError) as refusal:
        machine.after(state, event)
    assert refusal.value.fault is Fault.CONFLICT
    assert state.value in str(refusal.value)
    assert event.value in str(refusal.value)


@pytest.mark.parametrize("machine", MACHINES, ids=lambda m: m.name)
def test_every_state_can_be_reached_and_the_ends_are_the_ends(machine):
    reached, edge = {machine.start.value}, [machine.start.value]
    while edge:
        state = edge.pop()
        for (before, _), after in ways(machine).items():
            if before == state and after not in reached:
                reached.add(after)
                edge.append(after)
    assert reached == {state.value for state in type(machine.start)}
    assert {state.value for state in type(machine.start) if machine.is_terminal(state)} == ENDS[machine.name]


@pytest.mark.parametrize("machine", [LEASE, JOB, ATTEMPT], ids=lambda m: m.name)
def test_the_diagram_has_a_line_for_each_row(machine):
    lines = mermaid(machine).splitlines()
    assert lines[:2] == ["stateDiagram-v2", f"    [*] --> {machine.start.value}"]
    drawn = {line.strip() for line in lines[2:]}
    rows = {f"{state} --> {after}: {event}" for (state, event), after in ways(machine).items()}
    assert drawn == rows | {f"{end} --> [*]" for end in ENDS[machine.name]}
