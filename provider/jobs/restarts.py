"""What a crash left at work. Rule: it waits again and goes on from its last delivery; no step is billed twice.

Of a picture that is computed exactly every step comes out the same when it is done again, so nobody sees that it was.
One that shares the denoiser with others may come out otherwise within its precision: its client was told leaves that
could not be kept to, so it fails, and costs nothing but what was delivered.
"""

from __future__ import annotations

from gpufair.protocol.edge.rows import RowStore
from gpufair.protocol.envelope import from_bytes
from gpufair.protocol.lifecycle import ATTEMPT, AttemptEvent, AttemptState
from gpufair.protocol.messages import JobHeader, Outcome, Precision, Reason, ReasonCode
from gpufair.provider.jobs.attempts import Attempts
from gpufair.provider.jobs.effects import Effect
from gpufair.provider.jobs.store import AttemptRow


def requeue(store: RowStore, attempts: Attempts) -> list[Effect]:
    """Bring every attempt that was running into a state in which something can follow."""
    effects: list[Effect] = []
    for attempt in attempts.in_state(AttemptState.RUNNING):
        if from_bytes(attempt.header, JobHeader).doc.spec.precision is Precision.EXACT:
            again = ATTEMPT.after(AttemptState.RUNNING, AttemptEvent.RESTART)
            with store.begin() as rows:
                rows.change(AttemptRow, {"id": attempt.id}, state=again)
        else:
            reason = Reason(ReasonCode.RESTARTED, detail="the provider was restarted while it ran")
            effects += attempts.end(attempt.id, Outcome.FAILED, reason)
    return effects
