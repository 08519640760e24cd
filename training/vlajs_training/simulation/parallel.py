"""Environments spread over worker processes."""

from __future__ import annotations

import contextlib
import functools
import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from multiprocessing.shared_memory import SharedMemory
from typing import Any

import numpy as np

from vlajs_training.simulation.vector import StepResult, VectorEnv

_CLOSE_GRACE_S = 5.0


class WorkerError(RuntimeError):
    """A worker process raised, died or fell silent."""


def worker_seed(seed: int, worker_index: int) -> int:
    """The seed of one worker in a run: differs between workers and runs, 0 to 2**31 - 1."""
    return int(np.random.SeedSequence([seed, worker_index]).generate_state(1)[0]) & 0x7FFFFFFF


class SharedArrays:
    """Actions and results of all environments in one piece of shared memory."""

    def __init__(self, num_envs: int, observation_size: int, action_size: int, name: str | None = None) -> None:
        """Create the memory, or attach to it by name."""
        floats = num_envs * (2 * observation_size + action_size + 1)
        flags = 3 * num_envs
        self._memory = SharedMemory(name=name, create=name is None, size=4 * floats + flags)
        self.name = self._memory.name
        self._offset = 0
        self.observation = self._take((num_envs, observation_size), np.float32)
        self.final_observation = self._take((num_envs, observation_size), np.float32)
        self.actions = self._take((num_envs, action_size), np.float32)
        self.reward = self._take((num_envs,), np.float32)
        self.terminated = self._take((num_envs,), np.bool_)
        self.truncated = self._take((num_envs,), np.bool_)
        self.success = self._take((num_envs,), np.bool_)

    def _take(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        array = np.ndarray(shape, dtype, buffer=self._memory.buf, offset=self._offset)
        self._offset += array.nbytes
        return array

    def unlink(self) -> None:
        """Remove the name: the memory goes when the last process detaches, however that process ends."""
        self._memory.unlink()

    def close(self) -> None:
        """Detach. The arrays must not be used afterwards."""
        del self.observation, self.final_observation, self.actions
        del self.reward, self.terminated, self.truncated, self.success
        self._memory.close()


class ParallelVectorEnv:
    """A `VectorEnv` whose environments live in worker processes, in the order of the workers.

    Args:
        factory: called in each worker with the worker's index, returns that worker's `VectorEnv`. Must be picklable
            (a function of a module, or a `functools.partial` of one).
        num_workers: number of processes; each uses one torch thread.
        preload: name of a module that the factory imports (a simulator: seconds of imports), to do that once and
            not in each worker. The first environments of a process decide: its server is started with them.
        timeout_s: longest wait for any answer. A worker silent for longer counts as lost.
    Raises:
        ValueError: no workers, or workers whose sizes differ.
        WorkerError: a worker raised, died or fell silent; the message carries the worker's traceback. All workers are
            ended then, here and in every method.
    """

    def __init__(
        self,
        factory: Callable[[int], VectorEnv],
        num_workers: int,
        *,
        preload: str | None = None,
        timeout_s: float = 300.0,
    ) -> None:
        if num_workers < 1:
            raise ValueError(f"num_workers={num_workers}: at least one worker process is needed.")
        self._timeout_s = timeout_s
        self._turn = threading.RLock()  # a teacher may look from its own thread
        self._pipes: list[Any] = []
        self._processes: list[Any] = []
        self._arrays: SharedArrays | None = None
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([_module_of(factory), *([preload] if preload else [])])
        try:
            for index in range(num_workers):
                here, there = context.Pipe()
                process = context.Process(target=_work, args=(there, factory, index), daemon=True)
                process.start()
                there.close()  # so that the worker's death shows as the end of the pipe
                self._pipes.append(here)
                self._processes.append(process)
            self._share(self._collect())
        except BaseException:  # Ctrl-C too: nobody else could close workers whose owner was never made
            self.close()
            raise

    def _share(self, sizes: list[tuple[int, int, int]]) -> None:
        if len({size[1:] for size in sizes}) != 1:
            raise ValueError(
                f"Workers' (num_envs, observation_size, action_size) are {sizes}: the last two must agree. "
                "The factory builds different environments for different indices."
            )
        _, self.observation_size, self.action_size = sizes[0]
        self.num_envs = sum(size[0] for size in sizes)
        self._arrays = SharedArrays(self.num_envs, self.observation_size, self.action_size)
        start = 0
        try:
            self._starts = np.cumsum([0, *(size[0] for size in sizes[:-1])])
            for index, size in enumerate(sizes):
                self._send(index, ("attach", (self._arrays.name, self.num_envs, start, start + size[0])))
                start += size[0]
            self._collect()
        finally:
            self._arrays.unlink()

    def reset(self, seed: int) -> np.ndarray:
        """Start new episodes everywhere; each worker gets a seed of its own. Returns (N, D) float32."""
        with self._turn:
            arrays = self._open_arrays()
            for index in range(len(self._pipes)):
                self._send(index, ("reset", worker_seed(seed, index)))
            self._collect()
            return arrays.observation.copy()

    def step(self, actions: np.ndarray) -> StepResult:
        """Apply normalised actions (N, A); workers step at the same time.

        Raises:
            ValueError: wrong shape.
            WorkerError: see the class.
        """
        with self._turn:
            arrays = self._open_arrays()
            if actions.shape != arrays.actions.shape:
                raise ValueError(f"actions have shape {actions.shape}, expected {arrays.actions.shape}.")
            arrays.actions[:] = actions
            for index in range(len(self._pipes)):
                self._send(index, ("step", None))
            self._collect()
            return StepResult(
                observation=arrays.observation.copy(),
                reward=arrays.reward.copy(),
                terminated=arrays.terminated.copy(),
                truncated=arrays.truncated.copy(),
                final_observation=arrays.final_observation.copy(),
                success=arrays.success.copy(),
            )

    def visible_state(self, env_idx: np.ndarray) -> np.ndarray:
        """What a camera sees of the environments ``env_idx`` (M,), (M, V), where the workers' environments have that.

        Raises:
            ValueError: an index out of range.
            WorkerError: see the class.
        """
        with self._turn:
            self._open_arrays()
            if len(env_idx) and not 0 <= env_idx.min() <= env_idx.max() < self.num_envs:
                raise ValueError(f"env_idx={env_idx.tolist()}: expected indices in 0 .. {self.num_envs - 1}.")
            owner = np.searchsorted(self._starts, env_idx, side="right") - 1
            for index, start in enumerate(self._starts):
                self._send(index, ("visible_state", env_idx[owner == index] - start))
            answers = self._collect()
        rows = np.empty((len(env_idx), answers[0].shape[1]), np.float32)
        for index, answer in enumerate(answers):
            rows[owner == index] = answer
        return rows

    def close(self) -> None:
        """End all workers. Safe to call again."""
        for pipe in self._pipes:
            with contextlib.suppress(OSError):  # the worker is gone already
                pipe.send(("close", None))
        for process in self._processes:
            process.join(_CLOSE_GRACE_S)
            if process.is_alive():
                process.kill()
                process.join()
            process.close()
        for pipe in self._pipes:
            pipe.close()
        self._pipes, self._processes = [], []
        if self._arrays is not None:
            self._arrays.close()
            self._arrays = None

    def _open_arrays(self) -> SharedArrays:
        if self._arrays is None:
            raise RuntimeError("The environments are closed (by close(), or after a worker failed): make new ones.")
        return self._arrays

    def _send(self, index: int, message: tuple[str, Any]) -> None:
        # A dead worker is noticed and explained in _collect, where its last words may be waiting.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._pipes[index].send(message)

    def _collect(self) -> list[Any]:
        """One answer from each worker, or WorkerError."""
        answers: list[Any] = [None] * len(self._pipes)
        waiting = {pipe: index for index, pipe in enumerate(self._pipes)}
        while waiting:
            ready = multiprocessing.connection.wait(list(waiting), timeout=self._timeout_s)
            if not ready:
                self._fail(f"Workers {sorted(waiting.values())} gave no answer within {self._timeout_s} s.")
            for pipe in ready:
                index = waiting.pop(pipe)
                try:
                    kind, content = pipe.recv()  # type: ignore[union-attr]  (only pipes were waited for)
                except (EOFError, ConnectionResetError):
                    self._processes[index].join(_CLOSE_GRACE_S)
                    code = self._processes[index].exitcode
                    self._fail(
                        f"Worker {index} died with exit code {code} and no exception: a crash in native code, or "
                        "killed, for instance for want of memory (exit code -9). Try fewer environments."
                    )
                if kind == "error":
                    self._fail(f"Worker {index} raised:\n{content}")
                answers[index] = content
        return answers

    def _fail(self, message: str) -> None:
        self.close()
        raise WorkerError(message)


def _work(pipe: Any, factory: Callable[[int], VectorEnv], index: int) -> None:
    """Body of a worker: answers each message; ends on "close", on an error, and when the parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole group: the parent decides
    try:
        _serve(pipe, factory, index)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return  # the parent is gone
    except Exception:  # noqa: BLE001  (whatever it was, the parent raises it)
        with contextlib.suppress(OSError):
            pipe.send(("error", traceback.format_exc()))


def _module_of(factory: Callable[[int], VectorEnv]) -> str:
    while isinstance(factory, functools.partial):
        factory = factory.func
    return factory.__module__


def _use_one_thread() -> None:
    os.environ["OMP_NUM_THREADS"] = "1"  # for a torch that the factory imports
    if (torch := sys.modules.get("torch")) is not None:
        torch.set_num_threads(1)


def _serve(pipe: Any, factory: Callable[[int], VectorEnv], index: int) -> None:
    _use_one_thread()
    env = factory(index)
    try:
        pipe.send(("ok", (env.num_envs, env.observation_size, env.action_size)))
        command, content = pipe.recv()
        if command == "close":
            return
        name, total, start, stop = content
        arrays = SharedArrays(total, env.observation_size, env.action_size, name=name)
        mine = slice(start, stop)
        pipe.send(("ok", None))
        while True:
            command, content = pipe.recv()
            if command == "close":
                return
            if command == "reset":
                arrays.observation[mine] = env.reset(content)
            elif command == "visible_state":
                pipe.send(("ok", env.visible_state(content)))  # type: ignore[attr-defined]  (the parent asks who has it)
                continue
            else:
                _store(arrays, mine, env.step(arrays.actions[mine]))
            pipe.send(("ok", None))
    finally:
        env.close()


def _store(arrays: SharedArrays, mine: slice, result: StepResult) -> None:
    arrays.observation[mine] = result.observation
    arrays.reward[mine] = result.reward
    arrays.terminated[mine] = result.terminated
    arrays.truncated[mine] = result.truncated
    arrays.final_observation[mine] = result.final_observation
    arrays.success[mine] = result.success
