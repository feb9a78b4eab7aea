"""Why a purchase came to nothing. Rule: each kind of ending is a type of its own, so that no program parses a text.

All are `FairError`: `what` says what happened, `hint` what to do next. `reasons` are the market's own, with numbers.
`job` names the job in the wallet where there is one: `gpufair show` and `gpufair fetch` take it.
"""

from __future__ import annotations

from collections.abc import Sequence

from gpufair.protocol.errors import FairError, Fault
from gpufair.protocol.messages import Reason

Dropped = tuple[str, tuple[Reason, ...]]
"""A provider's did and every reason against its offer."""


class PurchaseError(FairError):
    """Base of every ending that is not a picture. `dropped`: the offers that could not be used, with their reasons."""

    def __init__(
        self,
        fault: Fault,
        what: str,
        *,
        hint: str = "",
        reasons: Sequence[Reason] = (),
        job: bytes = b"",
        dropped: Sequence[Dropped] = (),
    ) -> None:
        super().__init__(fault, what, hint=hint)
        self.reasons = tuple(reasons)
        self.job = job
        self.dropped = tuple(dropped)


class NoOfferError(PurchaseError):
    """Nobody that we know sells this. `dropped` has the reasons of every offer that was looked at, by provider."""

    def __init__(self, what: str, *, hint: str = "", dropped: Sequence[Dropped] = ()) -> None:
        reasons = [reason for _, why in dropped for reason in why]
        super().__init__(Fault.UNKNOWN, what, hint=hint, reasons=reasons, dropped=dropped)


class DeclinedError(PurchaseError):
    """The provider said no, with reasons; or the person who was asked did. Nothing was spent."""

    def __init__(self, what: str, *, hint: str = "", reasons: Sequence[Reason] = (), job: bytes = b"") -> None:
        super().__init__(Fault.NOT_ALLOWED, what, hint=hint, reasons=reasons, job=job)


class FundsError(PurchaseError):
    """It can't or may not be paid: the balance, the daily cap or the highest price is too low. Nothing was spent."""

    def __init__(
        self,
        what: str,
        *,
        wanted: int,
        limit: int,
        hint: str = "",
        reasons: Sequence[Reason] = (),
        dropped: Sequence[Dropped] = (),
    ) -> None:
        super().__init__(Fault.INSUFFICIENT_FUNDS, what, hint=hint, reasons=reasons, dropped=dropped)
        self.wanted = wanted
        self.limit = limit


class CheatedError(PurchaseError):
    """The provider or the ledger broke the deal, or the protocol; what it signed, and proves it, is in the wallet."""

    def __init__(self, what: str, *, hint: str = "", job: bytes = b"") -> None:
        super().__init__(Fault.CONFLICT, what, hint=hint, job=job)


class JobFailedError(PurchaseError):
    """The job ended before everything was delivered, in a way that the provider has signed or that time has settled."""

    def __init__(self, what: str, *, hint: str = "", reasons: Sequence[Reason] = (), job: bytes = b"") -> None:
        super().__init__(Fault.UNAVAILABLE, what, hint=hint, reasons=reasons, job=job)


class StoppedError(PurchaseError):
    """The buyer stopped before everything was delivered. What was delivered is paid and here, the rest comes back."""

    def __init__(self, what: str, *, hint: str = "", job: bytes = b"") -> None:
        super().__init__(Fault.CONFLICT, what, hint=hint, job=job)


class LeaseOverError(PurchaseError):
    """A lease takes no more jobs: it was idle for too long, its time is over, or its provider closed it."""

    def __init__(self, what: str, *, hint: str = "", job: bytes = b"") -> None:
        super().__init__(Fault.EXPIRED, what, hint=hint, job=job)


class UnreachableError(PurchaseError):
    """Nobody answers, and no more time was allowed. What was bought is safe: fetch it later."""

    def __init__(self, what: str, *, hint: str = "", job: bytes = b"", dropped: Sequence[Dropped] = ()) -> None:
        super().__init__(Fault.UNAVAILABLE, what, hint=hint, job=job, dropped=dropped)


class VerificationError(PurchaseError):
    """A picture is not what its receipt says, or has none."""

    def __init__(self, what: str, *, hint: str = "") -> None:
        super().__init__(Fault.BAD_SIGNATURE, what, hint=hint)
