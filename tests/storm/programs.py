"""Random programs, and what each of them must yield.

A program is a tree of JSON lists, `[kind, …]`, so that it travels as the argument of the workflow that carries it out
(`bodies.py`) and can be cut down by `shrinking.py`. Whatever order the faults bring about, its value is one: what is
raced differs by far more than a fault can delay it, and what ends in any order is sorted.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.storm.streamed import SHARE, Plan, Streams, stream_of

Node = list[Any]
"""`[kind, argument, …]`; the arguments are numbers, texts, nodes and lists of nodes."""

AFRESH = 500
"""Where the numbers of what a run goes on with begin: none is that of an older node."""

FAR = 400 * 86_400.0
"""Seconds that no fault reaches: a deadline that is never over."""

EARLY_LEAVES = (
    "add",
    "add",
    "add",
    "far",
    "far",
    "slow",
    "flaky",
    "once",
    "fatal",
    "exhaust",
    "nap",
    "nap",
    "label",
    "zero",
)
LEAVES = (*EARLY_LEAVES, "far_slow", "far_slow", "far_slow", "far_slow", "tag", "far_once", "far_once")
PLAIN = ("add", "far", "slow", "flaky", "nap", "zero")
"""Leaves without an effect of their own: what may be left behind, and never come to its end."""
EARLY_BRANCHES = (
    *("seq", "seq", "helper", "gather", "gather", "group", "group_fails", "completed", "completed_steps", "wait"),
    *("first", "naps_race", "deadline", "in_time", "generator", "forgotten", "semaphore", "queue", "patched", "child"),
    *("overdue", "cancelled", "shielded"),
)
BRANCHES = (*EARLY_BRANCHES, "cancelled_child", "cancelled_child")

HOW = ("await", "await", "iterate", "gather", "raced", "timed", "napped", "blocked", "beside", "never")
"""What a body does with a hook; the programs without timers do the first four, or never look."""
FAR_HOW = ("await", "iterate", "gather", "never")

HOOKED = 1000
"""Where the numbers of hooks and payloads begin."""

FAR_LEAVES = ("far", "far", "far_slow", "far_once", "add")
FAR_BRANCHES = ("seq", "gather", "gather", "group", "wait", "semaphore", "helper", "child")
"""Of programs that only steps elsewhere and children take on: no timer comes later and finds what was lost."""


class Generator:
    """Draws one program; the same seed gives the same program."""

    def __init__(
        self,
        seed: int,
        *,
        early: bool = False,
        brief: bool = False,
        far: bool = False,
        hooked: bool = False,
        streamed: bool = False,
    ) -> None:
        self._random = random.Random(seed)
        self._brief = brief
        self._far = far
        self._leaves = FAR_LEAVES if far else EARLY_LEAVES if early else LEAVES
        self._branches = FAR_BRANCHES if far else EARLY_BRANCHES if early else BRANCHES
        self._numbers = 0
        self._children = 0
        self._afresh_numbers = 0
        # Draws of their own: what came later has left the older programs as they were.
        self._afresh = None if early else random.Random(f"{seed} afresh")
        self._hooks = Hooks(random.Random(f"{seed} hooks"), far=far, hooked=hooked)
        self._hooked = hooked or (not early and self._hooks.random.random() < 0.45)
        self._streams = Streams(random.Random(f"{seed} streams"), brief=brief, far=far)
        self._streamed = streamed or (not early and self._streams.random.random() < SHARE)

    def program(self) -> Node:
        """A sequence of some branches: a dozen durable commands or more, several at once."""
        nodes = [self._branch(depth=self._random.choice((2, 2, 3))) for _ in range(self._random.randint(3, 6))]
        if self._random.random() < 0.15 and not self._brief and not self._far:
            nodes.append(["cancel_all", self._random.randint(2, 5)])
        again = self._again(0.1)
        nodes = self._hooks.among(nodes, again) if self._hooked else [*nodes, *again]
        return ["seq", self._streams.among(nodes) if self._streamed else nodes]

    def _again(self, probability: float) -> list[Node]:
        """What a run may end with: another one that goes on for it, which may end so as well."""
        if self._afresh is None or self._afresh.random() >= probability:
            return []
        draw = self._afresh
        nodes: list[Node] = []
        for _ in range(draw.randint(0, 3)):
            self._afresh_numbers += 1
            n = AFRESH + self._afresh_numbers
            nodes.append(draw.choice((["add", n], ["far", n], ["nap", 2.0 + n / 1000], ["label", f"key-{n}", "again"])))
        return [["again", ["seq", [*nodes, *self._again(0.3)]]]]

    def _number(self) -> int:
        self._numbers += 1
        return self._numbers

    def _nap(self) -> float:
        return self._random.choice((0.5, 2.0, 7.0, 45.0, 600.0, 90_000.0))

    def _leaf(self, kinds: tuple[str, ...] = ()) -> Node:
        kind = self._random.choice(kinds or self._leaves)
        n = self._number()
        match kind:
            case "slow" | "far_slow":
                return [kind, n, self._random.choice((0.2, 1.0, 3.0) if self._brief else (0.2, 3.0, 40.0))]
            case "flaky":
                return [kind, n, self._random.randint(1, 3)]
            case "nap":
                return [kind, self._nap() + n / 1000]
            case "label":
                return [kind, f"key-{n}", f"value-{n}"]
            case "zero":
                return [kind]
            case _:
                return [kind, n]

    def _node(self, depth: int) -> Node:
        return self._branch(depth) if depth > 0 and self._random.random() < 0.45 else self._leaf()

    def _nodes(self, depth: int, least: int = 2, most: int = 5) -> list[Node]:
        return [self._node(depth - 1) for _ in range(self._random.randint(least, most))]

    def _branch(self, depth: int) -> Node:  # noqa: C901 -- a case for each kind
        kind = self._random.choice(self._branches)
        draw, n = self._random, self._number()
        match kind:
            case "seq" | "gather" | "group" | "wait":
                return [kind, self._nodes(depth)]
            case "helper" | "in_time" | "patched" | "shielded":
                return [kind, n, self._node(depth - 1)]
            case "group_fails" | "cancelled":
                return [kind, n, [self._endless() for _ in range(draw.randint(1, 3))]]
            case "completed":
                return [kind, [self._nap() + self._number() / 100 for _ in range(draw.randint(2, 5))]]
            case "completed_steps":
                return [kind, [self._number() for _ in range(draw.randint(2, 6))]]
            case "first":
                return [kind, n, draw.random() < 0.5]
            case "naps_race":
                soon = self._nap()
                return [kind, soon, soon + draw.choice((1.0, 60.0, 5_000.0)), draw.random() < 0.5]
            case "cancelled_child":
                return [kind, n, self._to_be_cancelled()]
            case "deadline":
                # A turn with a cancellable step looks at its head each second: none is to last for a day.
                return [kind, draw.choice((0.5, 2.0, 7.0, 45.0)), self._endless()]
            case "overdue":
                return [kind, n, draw.choice((1.5, 3.0 if self._brief else 20.0))]
            case "generator":
                nodes = self._nodes(depth, 2, 4)
                return [kind, nodes, draw.randint(1, len(nodes)), draw.random() < 0.5, n]
            case "forgotten":
                return [kind, self._leaf(PLAIN)]
            case "semaphore":
                return [kind, draw.randint(1, 3), self._nodes(depth, 3, 6)]
            case "queue":
                return [kind, draw.randint(1, 3), [self._number() for _ in range(draw.randint(2, 6))]]
            case _:
                self._children += 1
                if self._children > 2:  # each has a turn of its own: enough to meet every fault
                    return ["seq", self._nodes(depth)]
                return ["child", n, ["seq", [*self._nodes(1), *self._again(0.15)]]]

    def _to_be_cancelled(self) -> Node:
        """A run to be cancelled; it may go on as another one just then."""
        endless = self._endless()
        afresh = self._afresh is not None and self._afresh.random() < 0.4
        return ["seq", [["again", ["seq", [endless]]]]] if afresh else endless

    def _endless(self) -> Node:
        """What only a cancellation ends."""
        choices = [["blocked", self._number()], ["blocked_far", self._number()], ["nap", FAR]]
        chosen = self._random.choice(choices[1:] if self._brief else choices)
        return ["hook_waits", self._hooks.number()] if self._hooked and self._hooks.random.random() < 0.3 else chosen


class Hooks:
    """Draws what a program does with hooks; by draws of its own, so that the rest of it is as it would be without.

    A node is `["hook", number, how, payloads, node]`: its token is that of the number, the node is performed before the
    payloads are awaited. A payload is `[sender, delay, number, times, surplus]`: each sender sends its own one after the
    other, the first when a hook has the token. Sent twice, with its key, is what `times` 2 and 3 stand for; with 3 the
    second time comes behind all the others. A surplus one is taken by nobody.
    """

    def __init__(self, rng: random.Random, *, far: bool, hooked: bool) -> None:
        self.random = rng
        self._far = far
        self._continues = 0.6 if hooked else 0.3
        """The share of programs that get a run which goes on for them, if they have none."""
        self._offers = 0.8 if hooked else 0.4
        """The share of hooks whose tokens a step is told, of those with something between making and awaiting them."""
        self._numbers = HOOKED

    def number(self) -> int:
        self._numbers += 1
        return self._numbers

    def among(self, nodes: list[Node], again: list[Node]) -> list[Node]:
        """The nodes of a program, with hooks among them; `again` is what the run goes on with, if it does."""
        draw = self.random
        for _ in range(draw.choice((1, 1, 2))):
            at = draw.randrange(len(nodes))
            made = self._node()
            if draw.random() < 0.4 and nodes[at][0] != "cancel_all":
                nodes = [*nodes[:at], ["gather", [made, nodes[at]]], *nodes[at + 1 :]]
            else:
                nodes = [*nodes[:at], made, *nodes[at:]]
        if not again and draw.random() < self._continues:
            again = [["again", ["seq", []]]]
        if again and draw.random() < 0.8:
            return self._across([*nodes, *again], self.number())
        return [*nodes, *again]

    def _across(self, nodes: list[Node], n: int) -> list[Node]:
        """The same token in each run of a chain: what one does not take, the next one does."""
        then = nodes[-1][1][1] if nodes and nodes[-1][0] == "again" else None
        nodes = nodes if then is None else nodes[:-1]
        if self.random.random() < 0.85:
            at = self.random.randint(0, len(nodes))
            inner = self._inner() if self.random.random() < 0.5 else None
            payloads = [self._payload(0) for _ in range(self.random.randint(1, 3))]
            nodes = [*nodes[:at], ["hook", n, "on", payloads, inner], *nodes[at:]]
        return nodes if then is None else [*nodes, ["again", ["seq", self._across(then, n)]]]

    def _node(self) -> Node:
        draw, n = self.random, self.number()
        kind = draw.choice((*["hook"] * 11, "conflict", "theirs", "contest", "anew", "released", "in_turn"))
        if kind != "hook":
            return [kind, n, self.number()]
        how = draw.choice(FAR_HOW if self._far else HOW)
        senders = draw.choice((1, 1, 2, 3))
        payloads = [self._payload(sender) for sender in range(senders) for _ in range(draw.randint(1, 3))]
        draw.shuffle(payloads)
        if senders == 1 and draw.random() < 0.3:
            payloads.append([*self._payload(0)[:4], 1])
        return ["hook", n, how, payloads, self._inner() if draw.random() < 0.7 else None]

    def _payload(self, sender: int) -> list[Any]:
        delay = self.random.choice((0.0, 0.0, 0.001, 0.4, 3.0, 40.0))
        return [sender, delay, self.number(), self.random.choice((1, 1, 2, 2, 3)), 0]

    def _inner(self) -> Node:
        n = self.number()
        if self.random.random() < self._offers:
            return ["offer", n]
        return self.random.choice((["add", n], ["far", n]) if self._far else (["add", n], ["far", n], ["nap", 0.5]))


def generate(
    seed: int,
    *,
    early: bool = False,
    brief: bool = False,
    far: bool = False,
    hooked: bool = False,
    streamed: bool = False,
) -> Node:
    """`early`: of the kinds that there were when the first seeds went wrong, which still must give the same programs.
    `brief`: what its inline steps take fits into a short delivery; none of them waits for what begins behind it.
    `far`: only steps elsewhere and children take it on. `hooked`: it has hooks; about half of the others have some.
    `streamed`: it has streams; about a third of the others have some."""
    return Generator(seed, early=early, brief=brief, far=far, hooked=hooked, streamed=streamed).program()


# -- what it must yield -----------------------------------------------------------------------------------------------


@dataclass
class Expected:
    """What the model says of a program: its value, its labels, and the commands that its log must or may hold."""

    value: Any = None
    status: str = "completed"
    labels: dict[str, str] = field(default_factory=dict[str, str])
    must: Counter[str] = field(default_factory=Counter[str])
    """How often each name is created, by the last part of its id."""
    may: Counter[str] = field(default_factory=Counter[str])
    """What may be missing as well: left behind, or cancelled before it was written."""
    children: list[Expected] = field(default_factory=list["Expected"])
    streams: dict[str, Plan] = field(default_factory=dict[str, Plan])
    """Those that it names."""
    then: Expected | None = None
    """Of the run that goes on for it; the value, the status and the labels are those of the last."""


_NAMES = {"nap": "sleep", "hook_waits": "hook"}
"""What the command of a node is called, where it is not called as the node is."""


def expect(program: Node) -> Expected:
    """Raises ValueError for a program that goes on as another one elsewhere than at its end."""
    expected = Expected()
    kind, *rest = program
    if kind == "seq" and rest[0] and rest[0][-1][0] == "again":
        *nodes, (_, then) = rest[0]
        _value(["seq", nodes], expected, expected.must)
        expected.then = expect(then)
        expected.value = expected.then.value
    else:
        expected.value = _value(program, expected, expected.must)
    return expected


def _value(node: Node, expected: Expected, into: Counter[str]) -> Any:  # noqa: C901 -- a case for each kind
    kind, *rest = node

    def values(nodes: list[Node]) -> list[Any]:
        return [_value(one, expected, into) for one in nodes]

    match kind, rest:
        case "tag", [n]:
            into["tag"] += 1
            expected.labels[f"tag-{n}"] = str(n)
            return n
        case "offer", [n]:
            into["offer"] += 1
            return n
        case (("add" | "far" | "slow" | "far_slow" | "flaky" | "once" | "far_once"), [n, *_]):
            into[kind] += 1
            return n + 1 if kind == "add" else n
        case (("fatal" | "exhaust"), [n]):
            into[kind] += 1
            return f"{kind} {n}"
        case "nap", [seconds]:
            into["sleep"] += 1
            return seconds
        case "zero", []:
            return 0
        case "label", [key, value]:
            into["set_attributes"] += 1
            expected.labels[key] = value
            return key
        case (("seq" | "gather" | "group" | "wait"), [nodes]):
            return values(nodes)
        case "semaphore", [_, nodes]:
            return values(nodes)
        case (("helper" | "patched" | "shielded" | "in_time"), [_, inner]):
            expected.may["timeout"] += kind == "in_time"
            return _value(inner, expected, into)
        case "child", [_, program]:
            into["start"] += 1
            into["run.return_value"] += 1
            expected.children.append(child := expect(program))
            return child.value
        case "hook", [n, how, payloads, inner]:
            before = None if inner is None else _value(inner, expected, into)
            return [before, _received(n, how, payloads, expected, into)]
        case (("conflict" | "theirs" | "contest" | "anew" | "released" | "in_turn"), [n, payload]):
            return _contended(kind, n, payload, expected, into)
        case (("writes" | "forwarded" | "piped" | "unread" | "left"), _):
            return _poured(kind, rest, expected, into)
        case _:
            return _raced(kind, rest, expected, into)


def _received(n: int, how: str, payloads: list[Any], expected: Expected, into: Counter[str]) -> Any:
    """What a body has of its hook: the payloads of each sender, in the order in which they were sent."""
    into["hook"] += 1
    match how:
        case "never":
            return f"never {n}"
        case "iterate":
            into["disposed"] += 1
        case "raced":
            into["add"] += 1
        case "timed":
            expected.may["timeout"] += 2
        case "napped":
            expected.may["sleep"] += 1
        case "blocked":
            expected.may["blocked_far"] += 1
        case _:
            pass
    taken = [payload for payload in payloads if not payload[4]]
    return [[number for sender, _, number, _, _ in taken if sender == one] for one in sorted({p[0] for p in taken})]


def _poured(kind: str, rest: list[Any], expected: Expected, into: Counter[str]) -> Any:
    match kind, rest:
        case "writes", [n, counts, where, resume, _]:
            into["write_far" if where == "far" else "write"] += len(counts)
            expected.streams[stream_of(n)] = Plan(tuple(counts), resume)
        case "forwarded", [n, count]:
            into.update(("start", "run.return_value"))
            expected.streams[stream_of(n)] = Plan((count,), resume=False)
            expected.children.append(Expected(n, must=Counter({"write_to": 1})))
        case "piped", [n, _, hops, readers, _, _, where]:
            into["produce"] += 1
            into["transform"] += hops
            into["consume_far" if where == "far" else "consume"] += readers
        case "unread", [n, _, _]:
            into["produce"] += 1
        case _, [n, count]:
            expected.may["write_far"] += 1
            expected.streams[stream_of(n)] = Plan((count,), resume=False, all_written=False)
        case _:
            raise ValueError(f"no such node here: {kind} {rest}")
    return n


def _contended(kind: str, n: int, payload: int, expected: Expected, into: Counter[str]) -> Any:
    match kind:
        case "conflict":
            into["hook"] += 2
            expected.may["hook.get_conflict"] += 1  # not asked where the conflict is known already
        case "theirs":
            into.update(("hook", "start", "run.return_value"))
            expected.children.append(_contender(f"lost {n}"))
        case "released":
            into.update(("hook", "disposed", "add", "start", "run.return_value"))
            expected.children.append(_sends_itself(payload))
        case "in_turn":
            into.update(("start", "start", "run.return_value", "run.return_value"))
            expected.children += [_sends_itself(payload), _sends_itself(payload)]
        case "contest":
            into.update(("start", "start", "run.return_value", "run.return_value", "hook.resume"))
            expected.children += [_contender(f"lost {n}"), _contender(payload)]
        case _:
            into.update(("hook", "hook", "disposed", "hook.resume"))
    return payload


def _contender(value: Any) -> Expected:
    """A child that wants the token, and is told whose it is, or gets the payload."""
    return Expected(value, must=Counter({"hook": 1}), may=Counter({"hook.get_conflict": 1}))


def _raced(kind: str, rest: list[Any], expected: Expected, into: Counter[str]) -> Any:  # noqa: C901 -- a case for each kind
    def left(nodes: list[Node]) -> None:
        for one in nodes:
            expected.may[_NAMES.get(one[0], one[0])] += 1

    match kind, rest:
        case "group_fails", [n, nodes]:
            into["fatal"] += 1
            left(nodes)
            return f"group {n} failed"
        case "cancelled", [n, nodes]:
            left(nodes)
            return f"cancelled {n}"
        case "cancel_all", [n]:
            left([["blocked", 0], ["nap", 0]] * n)
            return f"all {n}"
        case "completed", [naps]:
            into["sleep"] += len(naps)
            return sorted(naps)
        case "completed_steps", [numbers]:
            into["add"] += len(numbers)
            return sorted(n + 1 for n in numbers)
        case "first", [n, _]:
            into["add"] += 1
            expected.may["sleep"] += 1
            return n + 1
        case "naps_race", [soon, _, _]:
            into["sleep"] += 1
            expected.may["sleep"] += 1
            return soon
        case "deadline", [_, inner]:
            into["timeout"] += 1
            left([inner])
            return "too late"
        case "overdue", [n, _]:
            into["overdue"] += 1
            return f"overdue {n}"
        case "generator", [nodes, taken, finally_steps, n]:
            return _taken(nodes, taken, finally_steps, n, expected, into)
        case "forgotten", [inner]:
            left([inner])
            return "forgotten"
        case "cancelled_child", [n, _]:
            for name in ("start", "run.cancel", "run.return_value"):
                into[name] += 1
            expected.children.append(child := Expected(status="cancelled"))
            child.may.update(
                ("blocked", "blocked_far", "sleep", "hook")
            )  # any of them: it is not known which child is which
            return f"child {n} cancelled"
        case "queue", [_, numbers]:
            into["add"] += len(numbers)
            return sorted(n + 1 for n in numbers)
        case _:
            raise ValueError(f"no such node here: {kind} {rest}")


def _taken(
    nodes: list[Node], taken: int, finally_steps: bool, n: int, expected: Expected, into: Counter[str]
) -> list[Any]:
    if finally_steps:
        into["add"] += 1
    return [_value(one, expected, into) for one in nodes[:taken]]


def _sends_itself(payload: Any) -> Expected:
    return Expected(payload, must=Counter({"hook": 1, "hook.resume": 1}))


# -- who sends what ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Parcel:
    """One payload, once or again."""

    delay: float
    """Seconds after the one before, or after a hook has the token."""
    number: int
    keyed: bool
    """A caller who does not know whether it was delivered sends it again."""
    awaited: bool
    """Somebody waits for it: the hook must be there."""


def token_of(n: int) -> str:
    return f"token-{n}"


def senders(program: Node) -> dict[tuple[int, int], list[Parcel]]:
    """What each sender of each hook's number sends, in order."""
    found: dict[tuple[int, int], list[Parcel]] = {}
    late: dict[tuple[int, int], list[Parcel]] = {}
    for path in paths(["seq", [program]]):
        match at_path(["seq", [program]], path):
            case ["hook", n, how, payloads, _]:
                for sender, delay, number, times, surplus in payloads:
                    awaited = not surplus and how != "never"
                    parcel = Parcel(delay, number, keyed=times > 1, awaited=awaited)
                    found.setdefault((n, sender), []).append(parcel)
                    if times == 2:
                        found[n, sender].append(Parcel(0.0, number, keyed=True, awaited=False))
                    elif times == 3:
                        late.setdefault((n, sender), []).append(Parcel(1.0, number, keyed=True, awaited=False))
            case [("conflict" | "theirs"), n, number]:
                found[n, 0] = [Parcel(0.0, number, keyed=True, awaited=True)]
            case _:
                pass
    return {whom: [*parcels, *late.get(whom, ())] for whom, parcels in found.items()}


# -- looking into it --------------------------------------------------------------------------------------------------

Path = tuple[int, ...]
"""Indexes that lead from a node to one inside it."""


def paths(node: Node) -> Iterator[Path]:
    """To every node inside, from the outermost in."""
    for at, part in enumerate(node):
        if _is_node(part):
            yield (at,)
            yield from ((at, *rest) for rest in paths(part))
        elif isinstance(part, list):
            yield from ((at, *rest) for rest in _within(part))


def _within(nodes: list[Any]) -> Iterator[Path]:
    for at, one in enumerate(nodes):
        if _is_node(one):
            yield (at,)
            yield from ((at, *rest) for rest in paths(one))


def at_path(node: Node, path: Path) -> Node:
    for at in path:
        node = node[at]
    return node


def replaced(node: Node, path: Path, new: list[Node]) -> Node:
    """The tree with the node at a path replaced; by no node or several where it stands in a list of nodes."""
    at, *rest = path
    if rest:
        return [*node[:at], replaced(node[at], tuple(rest), new), *node[at + 1 :]]
    return [*node[:at], *new, *node[at + 1 :]]


def in_a_list(node: Node, path: Path) -> bool:
    """Whether the node at a path stands in a list of nodes."""
    return not _is_node(at_path(node, path[:-1]))


def _is_node(part: object) -> bool:
    return isinstance(part, list) and bool(part) and isinstance(part[0], str)
