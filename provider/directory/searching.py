"""Searching a directory. Rule: found is what lives here now, and only a directory that is searched has an index.

It is made when somebody first asks. A directory that has just been started reads what it holds a part at a time, so the
first answers may know of fewer offers than there are; they say of how many.
"""

from __future__ import annotations

from functools import partial

from gpufair.protocol.messages import Document, Envelope, Offer, SearchAnswer, SearchRequest
from gpufair.protocol.search import asking
from gpufair.protocol.search.facts import Facts, facts
from gpufair.protocol.search.index import Index
from gpufair.provider.directory import documents
from gpufair.provider.directory.directory import Act, Directory
from gpufair.provider.directory.documents import Held, Kind, place_of

_READ_AT_ONCE = 1_000


class Searching:
    """Finds offers in one directory, on the directory's thread."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._index: Index | None = None
        self._tree = directory.tree
        self._unread: list[bytes] = []
        directory.listeners.append(self._taken)
        directory.partings.append(self._gone)

    def search(self, asked: SearchRequest) -> SearchAnswer:
        """The best offers. Raises PeerError for a question that means nothing."""
        wanted, strategy = asking.meant(asked)
        self._directory.prune()
        index = self._read()
        found = index.find(wanted, strategy, limit=asked.limit)
        offers = self._directory.bodies([_place(hit.did) for hit in found.hits])
        return SearchAnswer(found.known, found.matches, asking.counted(found.counts), tuple(offers))

    def _read(self) -> Index:
        """The index, with some more of what was here before it."""
        if self._index is None or self._tree is not self._directory.tree:  # or the directory was read anew
            self._index, self._tree = Index(), self._directory.tree
            self._unread = [held.place for held in self._directory.live() if held.kind is Kind.OFFER]
        some, self._unread = self._unread[:_READ_AT_ONCE], self._unread[_READ_AT_ONCE:]
        for place in some:
            for document in self._directory.bodies([place]):
                self._add(self._index, document)
        return self._index

    @staticmethod
    def _add(index: Index, document: Envelope) -> None:
        read = documents.read(document)
        if isinstance(read.signed.doc, Offer) and read.did not in index:
            index.add(facts(read.did, read.signed.doc))

    def _taken(self, held: Held, doc: Document) -> Act | None:
        if self._index is None or not isinstance(doc, Offer):
            return None
        found = facts(held.did, doc)
        return None if self._index.has(found) else partial(self._put, self._index, held.place, found)

    def _put(self, index: Index, place: bytes, found: Facts) -> None:
        if self._directory.tree.get(place):
            index.add(found)

    def _gone(self, held: Held) -> None:
        if self._index is not None and held.kind is Kind.OFFER:
            self._index.remove(held.did)


def _place(did: str) -> bytes:
    return place_of(Kind.OFFER, did.encode())
