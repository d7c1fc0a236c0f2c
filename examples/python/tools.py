"""The functions of examples/python.yaml. One process serves many tasks, so this module is loaded once, not once a task."""

import os
import re
import subprocess
import time

from coxswain import Context, Fatal, node, run


@node
def split(state: dict) -> list:
    """Gives the sentences of a text."""
    sentences = [sentence.strip() for sentence in re.split(r"(?<=[.!?])\s+", state["text"]) if sentence.strip()]
    if not sentences:
        raise Fatal("the text has no sentence: write one into the channel `text`")
    return sentences


@node
def measure(sentence: str, ctx: Context) -> dict:
    """Counts the words of one sentence. What it prints goes to standard error, and does no harm."""
    print(f"sentence {ctx.index} on try {ctx.attempt}")
    words = re.findall(r"\w+", sentence)
    return {"words": len(words), "longest": max(words, key=len, default=""), "process": os.getpid()}


@node(name="write")
def write_report(state: dict, ctx: Context):
    """Writes the report line by line: each line is an event for who watches."""
    measured = state["measured"]
    yield f"{len(measured)} sentences, {sum(each['words'] for each in measured)} words"
    yield "the longest word: " + max((each["longest"] for each in measured), key=len)
    yield f"processes: {len({each['process'] for each in measured})}"


@node
def rest(state: dict, ctx: Context) -> None:
    """Waits, and says how far it is. Stopped meanwhile, it cleans up: that is what `finally` is for."""
    child = subprocess.Popen(["sleep", str(state["pause"])])
    begun = time.monotonic()
    try:
        while child.poll() is None:
            ctx.progress(f"{time.monotonic() - begun:.0f} s of {state['pause']} s")
            time.sleep(min(1.0, state["pause"] / 2))
    finally:
        child.kill()
        child.wait()


run()
