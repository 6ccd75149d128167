"""What the command lines share: options that are given once."""

import argparse
from collections.abc import Sequence
from typing import Any


class Parser(argparse.ArgumentParser):
    """A parser that refuses an option with a value that is given twice, of which the last would win in silence."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.given: set[str] = set()
        for action in (None, "store"):
            self.register("action", action, _Once)

    def parse_known_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        """As in argparse; every call begins anew."""
        self.given = set()
        return super().parse_known_args(args, namespace)


class _Once(argparse.Action):
    def __call__(self, parser: Any, namespace: argparse.Namespace, values: Any, option_string: str | None = None) -> None:
        if self.dest in parser.given:
            raise argparse.ArgumentError(self, f"must be given once, got another, {values!r}")
        parser.given.add(self.dest)
        setattr(namespace, self.dest, values)
