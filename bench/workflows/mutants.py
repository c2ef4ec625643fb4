"""Changes of a workflow's source that somebody could make by mistake, each in one place, all of them by rule.

No chance is in it: the same source gives the same mutants in the same order. Whether one of them breaks a run that is
under way is not said here (`commands.py` says it).
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, TypeAlias

__all__ = ["Mutant", "mutants"]

#: What an inserted step is called.
INSERTED: Final = "mainspring.inserted_by_a_mutant.v1"


_Change: TypeAlias = Callable[[ast.AST], None]
#: A place: its node's number in `ast.walk`, its line, and what is done there.
_Site: TypeAlias = tuple[int, int, _Change]


@dataclass(frozen=True)
class Mutant:
    """A module with `operator` applied once, at `line` of its source."""

    operator: str
    line: int
    source: str
    number: int
    change: _Change

    def __str__(self) -> str:
        return f"{self.operator} at line {self.line}"

    def tree(self) -> ast.Module:
        """The whole changed module."""
        changed = ast.parse(self.source)
        self.change(next(node for i, node in enumerate(ast.walk(changed)) if i == self.number))
        return ast.fix_missing_locations(changed)


def mutants(source: str) -> list[Mutant]:
    """Every mutant of one module, in the order of operators and then of places."""
    tree = ast.parse(source)
    _mark(tree)
    return [
        Mutant(operator, line, source, number, change)
        for operator, sites in _OPERATORS.items()
        for number, line, change in sites(tree)
    ]


def _mark(tree: ast.Module) -> None:
    """Notes on each node whether it is inside a function, and each statement whether it awaits."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            for below in ast.walk(node):
                below.in_function = below is not node
        if isinstance(node, ast.stmt):
            node.awaits = any(isinstance(n, ast.Await) for n in ast.walk(node))


def _inside(node: ast.AST) -> bool:
    return getattr(node, "in_function", False)


def _nodes(tree: ast.Module) -> Iterator[tuple[int, ast.AST]]:
    return ((i, node) for i, node in enumerate(ast.walk(tree)))


def _statements(tree: ast.Module) -> Iterator[tuple[int, str, int, ast.stmt]]:
    """The number of the node that holds it, in which of its lists, at which place, and the statement; no docstrings."""
    for number, node in _nodes(tree):
        for name in ("body", "orelse", "finalbody"):
            block = getattr(node, name, None)
            for at, statement in enumerate(block if isinstance(block, list) else ()):
                is_words = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
                if isinstance(statement, ast.stmt) and _inside(statement) and not is_words:
                    yield number, name, at, statement


def _awaiting(tree: ast.Module) -> Iterator[tuple[int, str, int, ast.stmt]]:
    return (found for found in _statements(tree) if getattr(found[3], "awaits", False))


def _parsed(text: str) -> ast.stmt:
    return ast.parse(text).body[0]


def _drop(tree: ast.Module) -> Iterator[_Site]:
    for number, name, at, statement in _statements(tree):
        if not isinstance(statement, ast.Pass):
            yield number, statement.lineno, _replaced(name, at, 1, lambda _: [ast.Pass()])


def _repeat(tree: ast.Module) -> Iterator[_Site]:
    for number, name, at, statement in _awaiting(tree):
        yield number, statement.lineno, _replaced(name, at, 1, lambda old: [*old, *copy.deepcopy(old)])


def _swap(tree: ast.Module) -> Iterator[_Site]:
    found = {(number, name, at): statement for number, name, at, statement in _statements(tree)}
    for (number, name, at), statement in found.items():
        after = found.get((number, name, at + 1))
        if after is not None and (statement.awaits or after.awaits):
            yield number, statement.lineno, _replaced(name, at, 2, lambda old: old[::-1])


def _insert(text: str) -> Callable[[ast.Module], Iterator[_Site]]:
    def sites(tree: ast.Module) -> Iterator[_Site]:
        for number, name, at, statement in _awaiting(tree):
            yield number, statement.lineno, _replaced(name, at, 1, lambda old: [_parsed(text), *old])

    return sites


def _return_early(tree: ast.Module) -> Iterator[_Site]:
    """Where nothing is answered, so that nobody misses the answer."""
    for number, node in _nodes(tree):
        answers_nothing = (
            isinstance(node, ast.AsyncFunctionDef) and ast.unparse(node.returns or node) == "None"
        )
        for at, statement in enumerate(node.body if answers_nothing else ()):
            if statement.awaits:
                yield number, statement.lineno, _replaced("body", at, 1, lambda old: [ast.Return(), *old])


def _replaced(name: str, at: int, count: int, new: Callable[[list[ast.stmt]], list[ast.stmt]]) -> _Change:
    def change(holder: ast.AST) -> None:
        block = getattr(holder, name)
        block[at : at + count] = new(block[at : at + count])

    return change


def _negate(tree: ast.Module) -> Iterator[_Site]:
    for number, node in _nodes(tree):
        if isinstance(node, ast.If | ast.IfExp) and _inside(node):
            yield number, node.lineno, _set("test", lambda test: ast.UnaryOp(ast.Not(), test))


_OTHER_COMPARISONS: Final[dict[type[ast.cmpop], type[ast.cmpop]]] = {
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}


def _compare(tree: ast.Module) -> Iterator[_Site]:
    for number, node in _nodes(tree):
        if isinstance(node, ast.Compare) and _inside(node) and len(node.ops) == 1:
            other = _OTHER_COMPARISONS[type(node.ops[0])]
            yield number, node.lineno, _set("ops", lambda _, other=other: [other()])


def _and_or(tree: ast.Module) -> Iterator[_Site]:
    for number, node in _nodes(tree):
        if isinstance(node, ast.BoolOp) and _inside(node):
            other = ast.Or if isinstance(node.op, ast.And) else ast.And
            yield number, node.lineno, _set("op", lambda _, other=other: other())


def _number(tree: ast.Module) -> Iterator[_Site]:
    for number, node in _nodes(tree):
        if isinstance(node, ast.Constant) and _inside(node) and type(node.value) in (int, float):
            yield number, node.lineno, _set("value", lambda value: value + 1)


def _loop(change: str) -> Callable[[ast.Module], Iterator[_Site]]:
    def sites(tree: ast.Module) -> Iterator[_Site]:
        for number, node in _nodes(tree):
            if isinstance(node, ast.For) and _inside(node):
                yield number, node.lineno, _set("iter", _sliced)

    def _sliced(iterated: ast.expr) -> ast.expr:
        made = ast.parse(f"tuple(x)[{change}]", mode="eval").body
        made.value.args[0] = iterated
        return made

    return sites


def _catch_less(tree: ast.Module) -> Iterator[_Site]:
    for number, node in _nodes(tree):
        if isinstance(node, ast.ExceptHandler) and node.type is not None:
            many = len(node.type.elts) if isinstance(node.type, ast.Tuple) else 0
            for at in range(many):
                yield number, node.lineno, _set("type", lambda kinds, at=at: _without(kinds, at))
            if not many:
                yield number, node.lineno, _set("type", lambda _: ast.Name("ZeroDivisionError", ast.Load()))


def _without(kinds: ast.Tuple, at: int) -> ast.Tuple:
    return ast.Tuple([*kinds.elts[:at], *kinds.elts[at + 1 :]], ast.Load())


def _rename(tree: ast.Module) -> Iterator[_Site]:
    """What is called by a constant of the messages: an activity, or another process."""
    for number, node in _nodes(tree):
        for at, argument in enumerate(node.args if isinstance(node, ast.Call) else ()):
            if _is_name_of_step(argument):
                yield number, argument.lineno, _set("args", lambda args, at=at: _longer(args, at))
        for at, element in enumerate(node.elts if isinstance(node, ast.Tuple) else ()):
            if _is_name_of_step(element):
                yield number, element.lineno, _set("elts", lambda args, at=at: _longer(args, at))


def _is_name_of_step(node: ast.expr) -> bool:
    return (
        isinstance(node, ast.Attribute)
        and node.attr.isupper()
        and isinstance(node.value, ast.Name)
        and (node.value.id.endswith("messages") or node.attr.endswith("_WORKFLOW"))
    )


def _longer(words: list[ast.expr], at: int) -> list[ast.expr]:
    return [*words[:at], ast.BinOp(words[at], ast.Add(), ast.Constant("x")), *words[at + 1 :]]


def _child_id(tree: ast.Module) -> Iterator[_Site]:
    for number, node in _nodes(tree):
        if _calls(node, "execute_child_workflow"):
            yield number, node.lineno, _set("keywords", _with_longer_id)


def _with_longer_id(keywords: list[ast.keyword]) -> list[ast.keyword]:
    return [
        ast.keyword("id", ast.BinOp(k.value, ast.Add(), ast.Constant("x"))) if k.arg == "id" else k
        for k in keywords
    ]


def _other_kind(tree: ast.Module) -> Iterator[_Site]:
    """An activity becomes a child workflow of its name, and the other way round."""
    for number, node in _nodes(tree):
        for name, other, extra in (
            ("execute_activity", "execute_child_workflow", "f(id='inserted')"),
            ("execute_child_workflow", "execute_activity", f"f({_TIMEOUT})"),
        ):
            if _calls(node, name):
                keywords = ast.parse(extra, mode="eval").body.keywords

                def change(call: ast.AST, other: str = other, keywords: list[ast.keyword] = keywords) -> None:
                    kept = [k for k in call.keywords if k.arg == "result_type"]
                    call.func.attr, call.keywords = other, [*kept, *keywords]

                yield number, node.lineno, change


def _no_timeout(tree: ast.Module) -> Iterator[_Site]:
    for number, node in _nodes(tree):
        if _calls(node, "wait_condition"):
            yield (
                number,
                node.lineno,
                _set("keywords", lambda keywords: [k for k in keywords if k.arg != "timeout"]),
            )


def _calls(node: ast.AST, name: str) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == name


def _set(name: str, new: Callable[..., object]) -> _Change:
    return lambda node: setattr(node, name, new(getattr(node, name)))


_TIMEOUT: Final = "start_to_close_timeout=__import__('datetime').timedelta(seconds=9)"

_OPERATORS: Final[dict[str, Callable[[ast.Module], Iterator[_Site]]]] = {
    "drop a statement": _drop,
    "repeat a step": _repeat,
    "exchange two statements": _swap,
    "insert a timer": _insert("await workflow.sleep(1.0)"),
    "insert an activity": _insert(f"await workflow.execute_activity({INSERTED!r}, {_TIMEOUT})"),
    "return early": _return_early,
    "negate a condition": _negate,
    "change a comparison": _compare,
    "exchange and, or": _and_or,
    "change a number": _number,
    "leave out the first round": _loop("1:"),
    "go round backwards": _loop("::-1"),
    "catch less": _catch_less,
    "rename a step": _rename,
    "rename a child's id": _child_id,
    "exchange activity, child": _other_kind,
    "wait without an end": _no_timeout,
}
