"""Several inferences of one session at once, so that sending, computing and receiving overlap."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

from nnapi_toolkit.arrays import Array

#: One inference: the model's inputs in, its outputs out.
Inference = Callable[[Sequence[Array]], list[Array]]


class Gate:
    """Many may be inside together, or one alone, who waits until the others have left and keeps further ones out."""

    def __init__(self) -> None:
        """Nobody is inside."""
        self._changed = threading.Condition()
        self._together = 0
        self._alone: int | None = None  # the thread that is, or waits to be
        self._depth = 0

    @contextmanager
    def together(self) -> Iterator[None]:
        """Inside with others of this kind."""
        with self._changed:
            self._changed.wait_for(lambda: self._alone is None)
            self._together += 1
        try:
            yield
        finally:
            with self._changed:
                self._together -= 1
                self._changed.notify_all()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Inside alone; the same thread may enter again."""
        me = threading.get_ident()
        with self._changed:
            if self._alone != me:
                self._changed.wait_for(lambda: self._alone is None)
                self._alone = me
                self._changed.wait_for(lambda: self._together == 0)
            self._depth += 1
        try:
            yield
        finally:
            with self._changed:
                self._depth -= 1
                if self._depth == 0:
                    self._alone = None
                    self._changed.notify_all()


class Pipeline:
    """Carries out submitted inferences in threads of its own, at most `depth` at a time.

    All waits end by the deadlines of the inferences themselves.
    """

    def __init__(
        self, depth: int, together: Inference | None, alone: Inference, gate: Gate, lost: tuple[type[Exception], ...]
    ) -> None:
        """Starts nothing yet.

        Args:
            depth: Inferences under way at most; further ones wait in `submit`.
            together: Runs one inference while others run; None where the plan does not allow that.
            alone: Runs one inference when no other does, with all means of recovery.
            gate: Keeps the two apart.
            lost: What `together` raises when the device side failed, or cannot serve this one so; it is then done alone.
        """
        self._together = together
        self._alone = alone
        self._gate = gate
        self._lost = lost
        self._places = threading.BoundedSemaphore(depth)
        self._threads = ThreadPoolExecutor(depth if together is not None else 1, "nnapi-inference")

    def submit(self, inputs: Sequence[Array]) -> Future[list[Array]]:
        """Begins an inference once there is a place for it."""
        self._places.acquire()
        try:
            future = self._threads.submit(self._infer, inputs)
        except BaseException:
            self._places.release()
            raise
        future.add_done_callback(lambda _: self._places.release())
        return future

    def _infer(self, inputs: Sequence[Array]) -> list[Array]:
        if self._together is not None:
            with self._gate.together():
                try:
                    return self._together(inputs)
                except self._lost:
                    pass  # the failure may be another inference's
        with self._gate.alone():
            return self._alone(inputs)

    def close(self) -> None:
        """Ends the threads when the inferences under way have ended; those not begun are cancelled."""
        self._threads.shutdown(cancel_futures=True)
