"""The search of the payment model: every state is visited, nearest first, so the story of a failure is the shortest."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

from payment_invariants import two_honest_parties_can_finish
from payment_rules import Label, Rules, Setting, State, World


class Found(NamedTuple):
    """What a search saw: the first invariant that failed (None: all hold in every state), and the way there."""

    fallen: str | None
    story: list[Label]
    last: State
    states: int
    steps: int
    most_paid: int
    seen: frozenset[tuple[str, str]]  # every (who, does what) that happened


class Search:
    """All states reachable in one setting. A closed hold ends a story: no money moves after it."""

    def __init__(self, setting: Setting, rules: Rules) -> None:
        start = State(held=rules.hold)
        self.setting, self.world = setting, World(rules, setting)
        self.came_from: dict[State, tuple[State, Label] | None] = {start: None}
        self.leads_to: dict[State, list[State]] = {}
        self.queue = deque([start])
        self.steps = 0

    def run(self) -> Found:
        world, setting = self.world, self.setting
        while self.queue:
            before = self.queue.popleft()
            for agent in setting.agents if before.open else ():
                for label, after in agent(world, before):
                    self.steps += 1
                    fallen = first_false(setting.each_step, world, before, after)
                    if setting.must_finish:
                        self.leads_to.setdefault(after, []).append(before)
                    if after not in self.came_from:
                        self.came_from[after] = (before, label)
                        self.queue.append(after)
                        fallen = fallen or first_false(setting.always, world, after)
                    if fallen:
                        return self.found(fallen, after, *self.story_of(before), label)
        return self.stuck() if setting.must_finish else self.found(None, before)

    def stuck(self) -> Found:
        """Looks for a state from which the goal can't be reached any more, though the provider has not closed."""
        todo = [s for s in self.came_from if two_honest_parties_can_finish(self.world, s)]
        can_finish = set(todo)
        while todo:
            for before in self.leads_to.get(todo.pop(), ()):
                if before not in can_finish:
                    can_finish.add(before)
                    todo.append(before)
        for s in self.came_from:
            if not s.closing and s not in can_finish:
                return self.found(two_honest_parties_can_finish.__name__, s, *self.story_of(s))
        return self.found(None, s)

    def story_of(self, state: State) -> list[Label]:
        story = []
        while at := self.came_from[state]:
            state, label = at
            story.append(label)
        return story[::-1]

    def found(self, fallen: str | None, last: State, *story: Label) -> Found:
        most_paid = max(s.paid for s in self.came_from)
        seen = frozenset(at[1][:2] for at in self.came_from.values() if at)
        return Found(fallen, list(story), last, len(self.came_from), self.steps, most_paid, seen)


def first_false(invariants: tuple[Callable[..., bool], ...], *of: Any) -> str | None:
    for invariant in invariants:
        if not invariant(*of):
            return invariant.__name__
    return None


def explore(setting: Setting, rules: Rules) -> Found:
    return Search(setting, rules).run()
