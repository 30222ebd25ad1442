"""Parsers of the commands, and flags made from the config model."""

from __future__ import annotations

import argparse
import sys
import types
import typing
from collections.abc import Callable
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NoReturn

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from mvm.errors import ConfigError
from mvm.settings import bounds, nested

if TYPE_CHECKING:
    from mvm.config import Config

__all__ = ["Commands", "Parser", "add_fields", "asked_defaults", "given_fields", "manifolds_told", "nested", "seeded"]


class Parser(argparse.ArgumentParser):
    """argparse whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        print(f"{self.prog}: {message} (--help lists the options)", file=sys.stderr)
        raise SystemExit(2)


class Commands:
    """The commands of one program: `commands("train", train_command, "...")` is the parser that takes its flags.

    Args:
        parser: of the program.
        arguments: what it is called with: defaults in a help text depend on it.
    """

    def __init__(self, parser: Parser, arguments: list[str]) -> None:
        self.arguments = arguments
        self._all = parser.add_subparsers(required=True, metavar="COMMAND")

    def __call__(
        self, name: str, function: Callable[[argparse.Namespace], None], text: str, *, run: bool = True
    ) -> Parser:
        """A new command, about one RUN unless `run` is false."""
        added = self._all.add_parser(name, help=text, description=text, formatter_class=_Help)
        added.set_defaults(command=function)
        if run:
            added.add_argument("run", metavar="RUN", help="name of a run, or its folder")
        return added


class _Help(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Defaults in the help text, but not for the flags that have none; an epilog keeps its lines."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help


def seeded(text: str) -> int:
    """The value of a flag that seeds random numbers."""
    number = int(text)
    if not 0 <= number < 2**31:
        raise argparse.ArgumentTypeError(f"must be a whole number from 0 to {2**31 - 1}, got {number}")
    return number


def add_fields(
    parser: argparse.ArgumentParser, model: type[BaseModel], *, defaults: BaseModel, prefix: str = ""
) -> None:
    """One flag per field of a config model, nested ones as --parent.field; values are checked by the model."""
    group = parser.add_argument_group((model.__doc__ or model.__name__).strip().splitlines()[0])
    for name, field in model.model_fields.items():
        value = getattr(defaults, name)
        if isinstance(value, BaseModel):
            add_fields(parser, type(value), defaults=value, prefix=f"{prefix}{name}.")
        elif name != "schema_version":
            flag = "--" + f"{prefix}{name}".replace("_", "-")
            text = f"{field.description}{_bounds(field)}; default: {_shown(value)}".replace("%", "%%")
            group.add_argument(flag, dest=f"config.{prefix}{name}", help=text, metavar=_metavar(field), **_arity(value))


def manifolds_told() -> str:
    """A line for each toy manifold with its own settings, their defaults and bounds, and an example."""
    from toy_manifolds import MANIFOLDS  # loads torch, which a list of runs need not

    lines = ["toy manifolds (--data NAME) and their settings (--settings NAME VALUE ...):"]
    for name, kind in MANIFOLDS.items():
        settings = [f"{key} {field.default:g}{_bounds(field)}" for key, field in kind.model_fields.items()]
        lines.append(f"  {name:20} {', '.join(settings)}")
    return "\n".join([*lines, "", "example: python -m mvm train --data swiss_roll --settings noise 0.05 turns 2"])


def given_fields(options: argparse.Namespace) -> dict[str, Any]:
    """The config fields that were given as flags, by dotted name; a dictionary's words are paired."""
    given = {}
    for key, value in vars(options).items():
        if not key.startswith("config.") or value is None:
            continue
        name = key.removeprefix("config.")
        if name == "settings":
            if len(value) % 2:
                raise ConfigError(f"settings: give pairs of NAME VALUE, got {' '.join(value)}")
            value = dict(zip(value[::2], value[1::2], strict=True))
        given[name] = value
    return given


def asked_defaults(arguments: list[str]) -> Config:
    """The config that the asked method, recipe and data begin with; that of no flags where they do not go together."""
    from mvm.config import Config

    asked = {"method": "mvm", "recipe": "stabilised", "data": "circle"}
    asked = {name: _asked(arguments, f"--{name}", default) for name, default in asked.items()}
    try:
        return Config.make(**asked)
    except ConfigError:  # it is said when the command is run
        return Config.make()


def _asked(arguments: list[str], flag: str, default: str) -> str:
    """The value given to a flag, before parsing, so that --help shows the defaults that it brings."""
    for word, following in pairwise([*arguments, ""]):
        if word == flag:
            return following
        if word.startswith(f"{flag}="):
            return word.removeprefix(f"{flag}=")
    return default


def _arity(value: Any) -> dict[str, Any]:
    """Words for a tuple, none for an empty one; a dictionary needs a pair."""
    return {"nargs": "*" if isinstance(value, tuple) else "+"} if isinstance(value, tuple | dict) else {}


def _metavar(field: FieldInfo) -> str:
    literals = typing.get_args(field.annotation) if typing.get_origin(field.annotation) is typing.Literal else ()
    if literals:
        return "|".join(map(str, literals))
    kinds: dict[Any, str] = {int: "N", float: "X", bool: "true|false"}
    return kinds.get(field.annotation, "N" if int in _members(field.annotation) else "VALUE")


def _members(annotation: Any) -> tuple[Any, ...]:
    is_union = typing.get_origin(annotation) in (types.UnionType, typing.Union)
    return typing.get_args(annotation) if is_union else ()


def _bounds(field: FieldInfo) -> str:
    low, high, above, below = bounds(field)
    if low is None or high is None:
        return ""
    return f" ({'above ' * above}{low} to {'below ' * below}{high})"


def _shown(value: Any) -> str:
    if isinstance(value, tuple | list):
        return " ".join(map(str, value)) or "none"
    return "none" if value is None or value == {} else str(value).lower() if isinstance(value, bool) else str(value)
