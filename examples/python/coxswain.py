"""Python functions as nodes of a graph, on processes that stay warm.

A module for programs that a graph names like this; it depends on nothing but Python 3.9:

    nodes:
      greet: { kind: exec, command: [python3, tools.py], warm: true }

and that look like this:

    from coxswain import node, run

    @node
    def greet(input, ctx):
        ctx.progress("thinking")
        return {"greeting": f"Hello, {input['name']}!"}

    run()

A function is found by the node's `call`, or by the node's name. It is handed the task's input (the item of a fan-out,
else the state as a dictionary) and, if it takes a second argument, the task's `Context`; one without arguments is
handed nothing. What it returns is the node's result. An exception fails the try, which the node's `retry` may repeat;
`Fatal` says that no further try will help.

A generator streams: every value that it yields becomes an event, and what it returns is the result; if it returns
nothing, the list of what it yielded is. An `async def` has an event loop of its own for each task, and streams too if it
yields.

When the task is to end (a stop order, a time limit, a worker that goes), `Stopped` is raised in the function, wherever
it is: `finally` and `with` clean up, for as long as the node's `grace` allows; then the process is killed. A function
that blocks outside of Python is interrupted when it comes back, or killed. The process ends after a stop.

Standard output belongs to the worker: what functions print, and what their child processes print, goes to standard
error, and its end is shown if the task fails.
"""

from __future__ import annotations

import difflib
import inspect
import json
import os
import signal
import sys
import threading
import time
import traceback
from types import FrameType
from typing import Any, Callable, Optional, TextIO

__all__ = ["Context", "Fatal", "Stopped", "node", "run"]

_nodes: dict[str, Callable[..., Any]] = {}


class Stopped(SystemExit):
    """The task is to end. Let it pass, once you have cleaned up."""


class Fatal(Exception):
    """The task has failed, and no further try will help."""


class Context:
    """What a function is told of its task, and what it can say meanwhile. Threads may share it."""

    run: str
    """The run."""
    task: str
    """The task: step, node and item."""
    node: str
    """The node's name."""
    attempt: int
    """Which try this is, from 1."""
    fence: int
    """Grows with every attempt of a run: hand it to what you write to, and let that refuse lower ones."""
    idempotency_key: str
    """The same for every attempt at this task."""
    state: dict[str, Any]
    """The channels that the node reads."""
    item: Any
    """The item of a fan-out, or None."""
    index: int
    """The item's place in its list; 0 without a fan-out."""
    deadline: float
    """When the try's time is up, by `time.monotonic()`."""
    grace: float
    """How many seconds cleaning up may take after a stop."""

    def __init__(self, task: dict[str, Any], say: Callable[[dict[str, Any]], None]) -> None:
        self.run, self.task, self.node = task["run"], task["task"], task["node"]
        self.attempt, self.fence, self.idempotency_key = task["attempt"], task["fence"], task["idempotency_key"]
        self.state, self.item, self.index = task["state"], task.get("item"), task["index"]
        self.deadline = time.monotonic() + task["deadline_ms"] / 1000
        self.grace = task["grace_ms"] / 1000
        self._say = say
        self._partial: Optional[dict[str, Any]] = None
        self._cleanups: list[Callable[[], Any]] = []

    def remaining(self) -> float:
        """How many seconds are left until the deadline."""
        return max(0.0, self.deadline - time.monotonic())

    def progress(self, value: Any) -> None:
        """Reports progress: an event for who watches, and a sign of life for `idle_timeout`."""
        self._say({"progress": value})

    def emit(self, event: str, value: Any = None) -> None:
        """Reports an event of a kind of your own."""
        self._say({"event": event, "value": value})

    def spend(self, input_tokens: int = 0, output_tokens: int = 0, cost: float = 0, tool_calls: int = 0) -> None:
        """Says what was spent, beside what was said before: it counts against the run's budget, whatever becomes of the task."""
        amounts = {"input_tokens": input_tokens, "output_tokens": output_tokens, "cost": cost, "tool_calls": tool_calls}
        self._say({"spend": amounts})

    def partial(self, value: Any) -> None:
        """Keeps what was made so far, should the run be stopped. Each call replaces the one before."""
        self._partial = {"result": value}

    def on_cleanup(self, hook: Callable[[], Any]) -> Callable[[], Any]:
        """Registers a function that runs if the task does not succeed, the last one first. Also a decorator."""
        self._cleanups.append(hook)
        return hook


def node(function: Optional[Callable[..., Any]] = None, *, name: Optional[str] = None) -> Callable[..., Any]:
    """Makes a function one that graphs can call, by its own name or by another one."""

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        _nodes[name or function.__name__] = function
        return function

    return register if function is None else register(function)


def run() -> None:
    """Serves tasks until there are no more. Call it at the program's end, in its main thread."""
    # From here on the worker's end of the wire is ours alone: neither functions nor their children write to it.
    tasks, wire = os.fdopen(os.dup(0), encoding="utf-8"), os.fdopen(os.dup(1), "w", encoding="utf-8")
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    sys.stdout.flush()
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    _Server(tasks, wire).serve()


class _Server:
    """Takes one task after another."""

    def __init__(self, tasks: TextIO, wire: TextIO) -> None:
        self._tasks, self._wire, self._lock = tasks, wire, threading.Lock()
        self._current: Optional[Context] = None
        self._stopping = False
        # Where a stop may strike: not while a line is written, and not between two tasks.
        self._may_raise = False

    def serve(self) -> None:
        signal.signal(signal.SIGTERM, self._on_stop)
        # A forked child is no server: told to end, it ends.
        os.register_at_fork(after_in_child=lambda: signal.signal(signal.SIGTERM, signal.SIG_DFL))
        self._write({"ready": True})
        while not self._stopping:
            line = self._next()
            if not line:
                return
            self._serve_one(json.loads(line)["task"])
        sys.exit(0)

    def _next(self) -> str:
        """Waits for a task; nothing if there will be none."""
        try:
            self._may_raise = True
            if self._stopping:
                return ""
            line = self._tasks.readline()
            self._may_raise = False
            return line
        except Stopped:
            return ""

    def _serve_one(self, task: dict[str, Any]) -> None:
        context: Context = Context(task, lambda line: self._say(line, context))
        self._current = context
        answer = self._attempt(task, context)
        with self._lock:
            self._current = None
        if answer is not None:
            self._write({**answer, "fence": context.fence})

    def _attempt(self, task: dict[str, Any], context: Context) -> Optional[dict[str, Any]]:
        """Calls the function, and gives what is to be answered."""
        try:
            try:
                self._may_raise = True
                self._stop_here()
                result = _call(task, context)
            finally:
                self._may_raise = False
            answer = {"result": result}
            _line(answer).encode()
            return answer
        except Stopped:
            _clean_up(context)
            if context._partial is not None:
                self._write({**context._partial, "fence": context.fence})
            sys.exit(128 + signal.SIGTERM)
        except Exception as error:
            _clean_up(context)
            traceback.print_exc()
            sys.stderr.flush()
            message = str(error) if isinstance(error, Fatal) else f"{type(error).__name__}: {error}"
            message = message.encode(errors="replace").decode()
            return {"error": {"message": message, "retryable": not isinstance(error, Fatal)}}

    def _say(self, line: dict[str, Any], context: Context) -> None:
        self._write({**line, "fence": context.fence}, context)

    def _write(self, line: dict[str, Any], context: Optional[Context] = None) -> None:
        text = _line(line)
        if threading.current_thread() is not threading.main_thread():
            return self._put(text, context)
        may_raise, self._may_raise = self._may_raise, False
        try:
            self._put(text, context)
        finally:
            self._may_raise = may_raise
        self._stop_here()

    def _put(self, text: str, context: Optional[Context]) -> None:
        with self._lock:
            # A thread that outlives its task has nothing more to say.
            if context is None or context is self._current:
                self._wire.write(text + "\n")
                self._wire.flush()

    def _on_stop(self, _signal: int, _frame: Optional[FrameType]) -> None:
        self._stopping = True
        self._stop_here()

    def _stop_here(self) -> None:
        """Raises a stop that has come, if it may be raised here; once."""
        if self._stopping and self._may_raise:
            self._may_raise = False
            raise Stopped("the task is to end")


def _line(value: dict[str, Any]) -> str:
    """What is written of a value: what is no text, such as half of a pair of surrogates, cannot be."""
    return json.dumps(value, allow_nan=False, ensure_ascii=False)


def _call(task: dict[str, Any], context: Context) -> Any:
    name = task["call"]
    function = _nodes.get(name)
    if function is None:
        near = difflib.get_close_matches(name, _nodes, 1)
        known = f"did you mean `{near[0]}`?" if near else f"there is {', '.join(f'`{known}`' for known in sorted(_nodes))}"
        raise Fatal(f"there is no function `{name}` with @node: {known}")
    takes = sum(parameter.kind is not parameter.KEYWORD_ONLY for parameter in inspect.signature(function).parameters.values())
    result = function(*[task["input"], context][:takes])
    if inspect.isasyncgen(result):
        result = _stream_async(result, context)
    if inspect.iscoroutine(result):
        import asyncio

        result = asyncio.run(result)
    return _stream(result, context) if inspect.isgenerator(result) else result


def _stream(values: Any, context: Context) -> Any:
    yielded = []
    try:
        while True:
            value = next(values)
            context.emit("value", value)
            yielded.append(value)
    except StopIteration as end:
        return yielded if end.value is None else end.value
    finally:
        values.close()


async def _stream_async(values: Any, context: Context) -> Any:
    yielded = []
    try:
        async for value in values:
            context.emit("value", value)
            yielded.append(value)
        return yielded
    finally:
        await values.aclose()


def _clean_up(context: Context) -> None:
    while context._cleanups:
        try:
            context._cleanups.pop()()
        except Exception:
            traceback.print_exc()
