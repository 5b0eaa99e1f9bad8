"""Show on standard error that something goes on, and how far it is."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import cycle
from threading import Event, Thread

import click

_BAR = 24  # characters


@contextmanager
def shown(text: str) -> Iterator[Callable[[str, float], None]]:
    """Show the text while something goes on; the caller may say how far it is, in words and as a share.

    On a terminal that is a line that moves; elsewhere a line for each new thing that is said, and none for the text.
    """
    if not sys.stderr.isatty():
        yield _plain()
        return
    line = [text]
    done = Event()

    def spin() -> None:
        for frame in cycle("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"):
            click.echo(f"\r{frame} {line[0]} … \x1b[K", nl=False, err=True)
            if done.wait(0.1):
                click.echo("\r\x1b[K", nl=False, err=True)
                return

    def say(words: str, share: float) -> None:
        full = int(share * _BAR)
        line[0] = f"{'█' * full}{'░' * (_BAR - full)} {words}"

    spinner = Thread(target=spin)
    spinner.start()
    try:
        yield say
    finally:
        done.set()
        spinner.join()


def _plain() -> Callable[[str, float], None]:
    last = [""]

    def say(words: str, _share: float) -> None:
        if words != last[0]:
            last[0] = words
            click.echo(words, err=True)

    return say
