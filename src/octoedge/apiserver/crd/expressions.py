"""CEL expressions by the `cel-expr-python` package (the extra `cel`), imported when the first rule is met.

The package is Google's own C++ evaluator: typed, without side effects, with regular expressions in linear time. It ends
an evaluation after 10,000 iterations and refuses expressions nested deeper than 32 levels. Functions that Kubernetes
adds to CEL are added here as far as they take and give plain values; an expression that needs another one cannot be
compiled, and is not evaluated.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any, Protocol

from octoedge.apiserver.schema.quantity import parse

MAX_EXPRESSION = 4096
"""Characters; compiling takes more than linear time."""

_UNKNOWN = re.compile(r"undeclared reference to '(\w+)'|found no matching overload for '([^']+)'")


class NotAvailable(Exception):
    """The package is not installed."""


class Uncompilable(Exception):
    """The expression is wrong."""


class Unsupported(Exception):
    """The expression may be right, but needs a function that is not there."""


class Failed(Exception):
    """The evaluation ended with an error."""


class OutOfBudget(Failed):
    """The evaluation took too many iterations."""


class Compiled(Protocol):
    """What the package makes of an expression."""

    def eval(self, *, data: dict[str, Any]) -> Any:
        """Evaluate it."""
        ...


@dataclass(frozen=True, slots=True)
class Expression:
    """A compiled expression."""

    program: Compiled

    def evaluate(self, values: dict[str, Any]) -> Any:
        """Its value for these variables. Raises `Failed`, `Unsupported`."""
        try:
            result = self.program.eval(data=values)
        except (RuntimeError, TypeError, ValueError) as error:
            raise _failure(str(error)) from error
        if result.type().name() == "ERROR":
            raise _failure(str(result.plain_value()))
        return result.plain_value()


def compiled(text: str) -> Expression:
    """The expression. Raises `NotAvailable`, `Uncompilable`, `Unsupported`."""
    found = _compiled(text)
    if isinstance(found, Exception):
        raise found
    return found


@lru_cache(maxsize=4096)
def _compiled(text: str) -> Expression | NotAvailable | Uncompilable | Unsupported:
    """Failures are remembered too: rules are met with every object."""
    if len(text) > MAX_EXPRESSION:
        return Uncompilable(f"it is longer than {MAX_EXPRESSION} characters")
    try:
        return Expression(_environment().compile(text))
    except NotAvailable as error:
        return error
    except RuntimeError as error:
        missing = _UNKNOWN.search(str(error))
        if missing:
            return Unsupported(missing[1] or missing[2])
        return Uncompilable(str(error).splitlines()[0].removeprefix("INVALID_ARGUMENT: "))


def _failure(text: str) -> Failed | Unsupported:
    if "No matching overloads" in text:
        # Kubernetes finds wrong types when it compiles the rule; what is left over here is a function of lists.
        return Unsupported(text)
    if "Iteration budget exceeded" in text:
        return OutOfBudget(text)
    found = re.search(r'Key not found in map : "(.*)"', text)
    return Failed(f"no such key: {found[1]}" if found else text.partition("\n")[0])


@lru_cache(maxsize=1)
def _environment() -> Any:
    try:
        from cel_expr_python import cel
        from cel_expr_python.ext import ext_optional, ext_strings
    except ImportError as error:
        raise NotAvailable("pip install 'octoedge[cel]'") from error
    listed = cel.Type.List(cel.Type.DYN)
    text, truth = cel.Type.STRING, cel.Type.BOOL
    rows: tuple[tuple[str, Any, list[Any], Callable[..., Any]], ...] = (
        ("isSorted", truth, [listed], lambda items: all(a <= b for a, b in pairwise(items))),
        ("sum", cel.Type.DYN, [listed], sum),
        ("min", cel.Type.DYN, [listed], min),
        ("max", cel.Type.DYN, [listed], max),
    )
    members = [
        cel.FunctionDecl(
            name,
            [cel.Overload(f"octoedge_{name}", return_type=gives, parameters=takes, is_member=True, impl=function)],
        )
        for name, gives, takes, function in rows
    ]
    quantity = cel.Overload("octoedge_is_quantity", return_type=truth, parameters=[text], impl=_is_quantity)
    return cel.NewEnv(
        variables={"self": cel.Type.DYN, "oldSelf": cel.Type.DYN},
        extensions=[ext_strings.ExtStrings(), ext_optional.ExtOptional()],
        functions=[*members, cel.FunctionDecl("isQuantity", [quantity])],
    )


def _is_quantity(text: str) -> bool:
    try:
        parse(text)
    except ValueError:
        return False
    return True
