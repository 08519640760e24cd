"""Contact impulses of N separate PhysX scenes, asked for in ManiSkill's batched way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch


class ImpulseQuery:
    """Impulses of a fixed list of bodies or pairs of bodies; row i belongs to entry i. Unit N s."""

    def __init__(self, envs: list[int], entries: Sequence[Any]) -> None:
        self.envs = envs
        self.entries = list(entries)
        with torch.inference_mode(False):
            self._tensor = torch.zeros(len(self.entries), 3)
        self.impulses = self._tensor.numpy()
        self.cuda_impulses = self  # ManiSkill reads `query.cuda_impulses.torch()`

    def torch(self) -> torch.Tensor:
        """Impulses (entries, 3) as of the last query; ManiSkill clones them."""
        return self._tensor


class ContactReader:
    """Reads each scene's contacts at most once per simulated state, and only those of bodies somebody asked about."""

    def __init__(self, systems: Sequence[Any], env_of_body: dict[Any, int]) -> None:
        self._systems = systems
        self._env_of_body = env_of_body
        self._watched_pairs: set[tuple[Any, Any]] = set()
        self._watched_bodies: set[Any] = set()
        self._cache: list[dict[tuple[Any, Any], np.ndarray] | None] = [None] * len(systems)
        self._forgotten: set[int] = set()

    def invalidate(self) -> None:
        """The simulation moved on: read the contacts anew when next asked."""
        self._forgotten.clear()
        self._read_again()

    def _read_again(self) -> None:
        """Other bodies are watched now."""
        self._cache = [None if env not in self._forgotten else {} for env in range(len(self._systems))]

    def forget(self, env: int) -> None:
        """The environment was put into another state: nothing touches until it is simulated again.

        PhysX still lists the contacts of the step before; an episode would begin with the last one's grasp.
        """
        self._forgotten.add(env)
        self._cache[env] = {}

    def pair_query(self, pairs: Sequence[tuple[Any, Any]]) -> ImpulseQuery:
        """Query for the impulse on the first body of each pair by the second."""
        self._watched_pairs.update((first, second) for first, second in pairs)
        self._watched_pairs.update((second, first) for first, second in pairs)
        self._read_again()
        return ImpulseQuery([self._env_of_body[pair[0]] for pair in pairs], pairs)

    def body_query(self, bodies: Sequence[Any]) -> ImpulseQuery:
        """Query for the net contact impulse on each body."""
        self._watched_bodies.update(bodies)
        self._read_again()
        return ImpulseQuery([self._env_of_body[body] for body in bodies], bodies)

    def update_pairs(self, query: ImpulseQuery) -> None:
        """Write the present impulses into a pair query."""
        query.impulses[:] = 0.0
        for row, (env, (first, second)) in enumerate(zip(query.envs, query.entries, strict=True)):
            contacts = self._contacts(env)
            if not contacts:
                continue
            if (impulse := contacts.get((first, second))) is not None:
                query.impulses[row] += impulse
            if (impulse := contacts.get((second, first))) is not None:
                query.impulses[row] -= impulse

    def update_bodies(self, query: ImpulseQuery) -> None:
        """Write the present net impulses into a body query."""
        query.impulses[:] = 0.0
        for row, (env, body) in enumerate(zip(query.envs, query.entries, strict=True)):
            for (first, second), impulse in self._contacts(env).items():
                if first is body:
                    query.impulses[row] += impulse
                elif second is body:
                    query.impulses[row] -= impulse

    def _contacts(self, env: int) -> dict[tuple[Any, Any], np.ndarray]:
        """Impulse on the first body of each touching pair, summed over the contact points."""
        cached = self._cache[env]
        if cached is not None:
            return cached
        found: dict[tuple[Any, Any], np.ndarray] = {}
        pairs, bodies = self._watched_pairs, self._watched_bodies
        for contact in self._systems[env].get_contacts():
            first, second = contact.bodies
            if (first, second) not in pairs and first not in bodies and second not in bodies:
                continue  # reading the points is the expensive part
            for point in contact.points:
                impulse = point.impulse
                total = found.get((first, second))
                found[first, second] = impulse if total is None else total + impulse
        self._cache[env] = found
        return found
