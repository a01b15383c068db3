"""Reads from Redis Cluster: every key at the node that has its slot, over one connection per node.

A node that is away costs the keys of its slots, and no others. Slots that move are followed at once (MOVED, ASK), and the
map of slots is read again then, while a node is away, and from time to time; so nodes that come back elsewhere are found.
"""

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any

import hiredis
from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot

from feature_runtime.online_store.addresses import Address, Nodes
from feature_runtime.online_store.wire import TIMEOUT_SECONDS, Done, Replies, StoreAway, command
from feature_runtime.retrying import first_line
from feature_runtime.serving.redis_reader import Link, OnlineStore, Reads

LOOK_SECONDS = 10.0
LOOK_SOON_SECONDS = 0.5
"""Between two looks at the map of slots: while all is well, and while a node or a slot is away."""
LEAST_SECONDS = 0.2
ASKED_NODES = 3
"""Nodes whose maps are compared."""
MOST_MOVES = 5
ASKING = command(b"ASKING")

Map = tuple[tuple[int, int, Address], ...]
"""First and last slot of each range, and its master."""


class _Node:
    """One master, and how it is reached."""

    def __init__(self, nodes: Nodes, address: Address) -> None:
        self.address = address
        self.link = Link(lambda: nodes.connect(address))
        self.heavy_link = Link(lambda: nodes.connect(address))
        self.looks_unused = 0

    @property
    def is_idle(self) -> bool:
        return all(link.wire is None or link.wire.is_idle for link in (self.link, self.heavy_link))


class _Gathered:
    """The replies of one request, as they come from several nodes."""

    def __init__(self, commands: list[bytes], nodes: int, done: Callable[["_Gathered"], None]) -> None:
        self.commands = commands
        self.replies: Replies = [None] * len(commands)
        self.bytes = 0
        self.away: StoreAway | None = None
        self.moved: list[tuple[int, _Node]] = []
        self._left = nodes
        self._done = done

    def of(self, node: _Node, positions: list[int]) -> Done:
        """Takes the replies of one node."""

        def take(replies: Replies | StoreAway, received: int) -> None:
            if isinstance(replies, StoreAway):
                self.away = StoreAway(f"{node.address[0]}:{node.address[1]}: {replies}")
            else:
                self.bytes += received
                for position, reply in zip(positions, replies, strict=True):
                    self.replies[position] = reply
                    if type(reply) is not list and _is_moved(reply):
                        self.moved.append((position, node))
            self._left -= 1
            if not self._left:
                self._done(self)

        return take


class ClusterStore(OnlineStore):
    """A Redis Cluster."""

    def __init__(self, nodes: Nodes) -> None:
        # The link of a single Redis is not used.
        super().__init__(lambda: nodes.connect(nodes.seeds[0]))
        self._seeds = nodes
        self._nodes: dict[Address, _Node] = {}
        self._slots: list[_Node | None] = [None] * REDIS_CLUSTER_HASH_SLOTS
        self._masters: set[_Node | None] = {None}
        self._look_soon = asyncio.Event()

    @property
    def up(self) -> bool:
        """Whether some node answers, as far as is known."""
        return any(node is not None and node.link.up for node in self._masters)

    def links(self) -> list[Link]:
        """All connections."""
        return [link for node in self._nodes.values() for link in (node.link, node.heavy_link)]

    def start(self) -> None:
        """Find the nodes, connect, and stay connected."""
        self._run(self._keep_looking())
        self._run(self._watch())

    async def command(self, *words: bytes) -> Any:
        """The reply to one command: of the node that has its key, or of whichever answers first if it has none; raises StoreAway."""
        if len(words) == 1:
            return await self._of_any(*words)
        node = self._slots[key_slot(words[1])]
        if node is None:
            raise StoreAway("no node of the cluster is known to have this key")
        (reply,) = await node.link.replies(command(*words), 1)
        reply = await self._followed(command(*words), reply, node)
        if isinstance(reply, hiredis.ReplyError):
            raise StoreAway(f"Redis refuses {words[0].decode()}: {reply}")
        return reply

    async def _of_any(self, *words: bytes) -> Any:
        asked = [asyncio.create_task(node.link.ask(*words)) for node in self._nodes.values() if node.link.up]
        reason = StoreAway("the online store is away: no node of the cluster answers")
        try:
            for first in asyncio.as_completed(asked):
                try:
                    return await first
                except StoreAway as away:
                    reason = away
        finally:
            for task in asked:
                task.cancel()
        raise reason

    def _send(self, reads: Reads, done: Done, *, heavy: bool = False) -> None:
        slots = self._slots
        commands: list[bytes] = []
        by_node: dict[_Node, list[int]] = {}
        for read, keys in reads:
            head, tail = read.head, read.tail
            for key in keys:
                node = slots[key_slot(key)]
                if node is None:
                    done(StoreAway("the online store is away: no node of the cluster is known to have these keys"), 0)
                    return
                by_node.setdefault(node, []).append(len(commands))
                commands.append(b"%b%d\r\n%b%b" % (head, len(key), key, tail))
        if not commands:
            done([], 0)
            return
        gathered = _Gathered(commands, len(by_node), lambda gathered: self._gathered(gathered, done))
        for node, positions in by_node.items():
            link = node.heavy_link if heavy and node.heavy_link.up else node.link
            link.send(b"".join([commands[position] for position in positions]), len(positions), gathered.of(node, positions))

    def _gathered(self, gathered: _Gathered, done: Done) -> None:
        if gathered.away is not None:
            self._look_soon.set()
            done(gathered.away, 0)
        elif gathered.moved:
            self._run(self._follow(gathered, done))
        else:
            done(gathered.replies, gathered.bytes)

    async def _ready_for_heavy(self) -> None:
        # A node whose second connection does not come is asked over the first.
        for node in list(self._nodes.values()):
            node.heavy_link.start()

    def _distrust(self, reason: str) -> None:
        """The slots, and not the connection: CLUSTERDOWN passes, and LOADING does."""
        if not reason.startswith("NOPERM"):
            self._look_soon.set()

    # Slots that move

    async def _follow(self, gathered: _Gathered, done: Done) -> None:
        try:
            for position, node in gathered.moved:
                gathered.replies[position] = await self._followed(gathered.commands[position], gathered.replies[position], node)
        except StoreAway as away:
            done(away, 0)
        except asyncio.CancelledError:
            done(StoreAway("stopped"), 0)
            raise
        except Exception as error:  # noqa: BLE001  a node may reply anything, and the one who asked must hear of it
            done(StoreAway(f"Redis leads nowhere: {first_line(error)}"), 0)
        else:
            done(gathered.replies, gathered.bytes)

    async def _followed(self, asking: bytes, reply: Any, node: _Node) -> Any:
        """The reply of the node that a MOVED or an ASK leads to."""
        for _ in range(MOST_MOVES):
            if not _is_moved(reply):
                return reply
            kind, slot, where = str(reply).split(" ")[:3]
            host, _, port = where.rpartition(":")
            # No host: the same one, another port.
            node = self._node((host or node.address[0], int(port)))
            if kind == "MOVED":
                self._slots[int(slot)] = node
                self._look_soon.set()
            await node.link.came()
            prefix = ASKING if kind == "ASK" else b""
            reply = (await node.link.replies(prefix + asking, 2 if prefix else 1))[-1]
        raise StoreAway(f"the online store is away: its slots move in circles ({reply})")

    def _node(self, address: Address) -> _Node:
        node = self._nodes.get(address)
        if node is None:
            node = self._nodes[address] = _Node(self._seeds, address)
            node.link.start()
        return node

    # The map of slots

    async def _keep_looking(self) -> None:
        while True:
            await self._look()
            well = all(node is not None and node.link.up for node in self._masters)
            self._look_soon.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS if well else LOOK_SOON_SECONDS):
                    await self._look_soon.wait()
                # Many requests may want it at once.
                await asyncio.sleep(LEAST_SECONDS)

    async def _look(self) -> None:
        """Take the map that most nodes agree on; of those, the one with the most slots. The seeds are asked if nobody else knows."""
        up = [node for node in self._nodes.values() if node.link.up]
        some = random.sample(up, min(ASKED_NODES, len(up)))
        maps = await _answers(_map(node.link.ask(b"CLUSTER", b"SLOTS"), node.address) for node in some)
        if not any(maps):
            maps = await _answers(self._map_of_seed(seed) for seed in self._seeds.seeds)
        if any(maps):
            votes = Counter(maps)
            await self._use(max(filter(None, maps), key=lambda found: (votes[found], sum(last - first for first, last, _ in found))))

    async def _map_of_seed(self, seed: Address) -> Map:
        wire = await self._seeds.connect(seed)
        try:
            return await _map(wire.ask(b"CLUSTER", b"SLOTS"), seed)
        finally:
            wire.fail("asked")

    async def _use(self, found: Map) -> None:
        slots: list[_Node | None] = [None] * REDIS_CLUSTER_HASH_SLOTS
        for first, last, address in found:
            slots[first : last + 1] = [self._node(address)] * (last + 1 - first)
        masters = set(slots)
        # What is new is not asked before it can answer.
        coming = [asyncio.create_task(node.link.came()) for node in masters - self._masters if node is not None]
        if coming:
            await asyncio.wait(coming, timeout=TIMEOUT_SECONDS)
            for task in coming:
                task.cancel()
            await asyncio.gather(*coming, return_exceptions=True)
        self._slots, self._masters = slots, masters
        for node in set(self._nodes.values()) - masters:
            # Not at once: a node that a MOVED led to is new, and this map may be old.
            node.looks_unused += 1
            if node.looks_unused > 1 and node.is_idle:
                del self._nodes[node.address]
                await asyncio.gather(node.link.stop(), node.heavy_link.stop())
        for used in filter(None, masters):
            used.looks_unused = 0


async def _answers(asked: Iterable[Coroutine[Any, Any, Map]]) -> list[Map]:
    tasks = [asyncio.create_task(one) for one in asked]
    if tasks:
        await asyncio.wait(tasks, timeout=2 * TIMEOUT_SECONDS)
    for task in tasks:
        task.cancel()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    return [answer for answer in answers if not isinstance(answer, BaseException)]


async def _map(asked: Awaitable[Any], node: Address) -> Map:
    found = []
    for first, last, (host, port, *_), *_replicas in await asked:
        if host != b"?":
            # No host: that of the node that says so.
            found.append((first, last, (host.decode() if host else node[0], port)))
    return tuple(sorted(found))


def _is_moved(reply: Any) -> bool:
    return isinstance(reply, hiredis.ReplyError) and str(reply).startswith(("MOVED ", "ASK "))
