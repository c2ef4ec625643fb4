"""Mutants are one change each, in the order of the rules; every rule is met, and words are left alone."""

from __future__ import annotations

import ast

import pytest

from mainspring.bench.workflows import mutants

SOURCE = '''
"""A module."""

TABLE = ((1, messages.DATA),)

class Process:
    """A class."""

    async def run(self, request):
        """What it does."""
        for percent in (5, 25):
            if percent > 5 and request:
                await self.step(messages.SET, request)
        try:
            await workflow.wait_condition(lambda: self.done, timeout=later)
        except (TimeoutError, ValueError):
            return 3
        await workflow.execute_child_workflow(deployment.DEPLOY_WORKFLOW, request, id=self.name, result_type=R)
        return await workflow.execute_activity(messages.END, request, result_type=R, **options.WORK)

    async def step(self, name, request) -> None:
        await workflow.execute_activity(name, request)
        self.steps = 1
'''


def made(operator: str) -> list[str]:
    return [ast.unparse(m.tree()) for m in mutants.mutants(SOURCE) if m.operator == operator]


def test_they_are_the_same_each_time_and_each_is_another() -> None:
    first, again = ([(str(m), ast.unparse(m.tree())) for m in mutants.mutants(SOURCE)] for _ in range(2))
    assert first == again
    unchanged = ast.unparse(ast.parse(SOURCE))
    assert unchanged not in [text for _, text in first]
    assert all('"""What it does."""' in text and '"""A class."""' in text for _, text in first)


@pytest.mark.parametrize(
    ("operator", "count", "says"),
    [
        ("drop a statement", 10, "self.done, timeout=later)\n        except"),
        (
            "repeat a step",
            8,
            "messages.SET, request)\n                await self.step(messages.SET, request)",
        ),
        (
            "exchange two statements",
            4,
            "self.steps = 1\n        await workflow.execute_activity(name, request)",
        ),
        ("insert a timer", 8, "await workflow.sleep(1.0)\n        await workflow.execute_activity(name"),
        ("insert an activity", 8, mutants.INSERTED),
        ("return early", 1, "-> None:\n        return\n"),
        ("negate a condition", 1, "if not (percent > 5 and request):"),
        ("change a comparison", 1, "percent >= 5 and request"),
        ("exchange and, or", 1, "percent > 5 or request"),
        ("change a number", 5, "for percent in (6, 25)"),
        ("leave out the first round", 1, "in tuple((5, 25))[1:]"),
        ("go round backwards", 1, "in tuple((5, 25))[::-1]"),
        ("catch less", 2, "except (ValueError,)"),
        ("rename a step", 4, "messages.SET + 'x', request"),
        ("rename a child's id", 1, "id=self.name + 'x'"),
        (
            "exchange activity, child",
            3,
            "execute_child_workflow(messages.END, request, result_type=R, id='inserted')",
        ),
        ("wait without an end", 1, "wait_condition(lambda: self.done)"),
    ],
)
def test_each_rule(operator: str, count: int, says: str) -> None:
    texts = made(operator)
    assert len(texts) == count
    assert any(says in text for text in texts), "\n\n".join(texts)


def test_every_rule_is_tried_above() -> None:
    assert {m.operator for m in mutants.mutants(SOURCE)} == set(mutants._OPERATORS)
