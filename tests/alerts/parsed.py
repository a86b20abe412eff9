"""PromQL taken apart: what an expression selects, divides by, compares and calls."""

from __future__ import annotations

import promql_parser as promql


def nodes(expression: str) -> list[promql.Expr]:
    """Return every node of an expression; raises ValueError if it is none."""
    found: list[promql.Expr] = []
    promql.walk(promql.parse(expression), found.append)
    return found


def selectors(expression: str) -> list[promql.VectorSelector]:
    """Return all selectors, those under a look-back too."""
    return [node for node in nodes(expression) if isinstance(node, promql.VectorSelector)]


def metrics(expression: str) -> set[str]:
    """Return the names of all metrics."""
    return {selector.name or "" for selector in selectors(expression)}


def matched(selector: promql.VectorSelector) -> dict[str, str]:
    """Return the labels that a selector asks for, and which values."""
    return {matcher.name: matcher.value for matcher in selector.matchers.matchers}


def calls(expression: str) -> set[str]:
    """Return the names of all functions called."""
    return {node.func.name for node in nodes(expression) if isinstance(node, promql.Call)}


def denominators(expression: str) -> list[str]:
    """Return what is divided by, without blanks."""
    return ["".join(node.rhs.prettify().split()) for node in _binary(expression) if str(node.op) == "/"]


def compares(expression: str) -> bool:
    """Tell whether a comparison filters the expression."""
    return any(str(node.op) in {"<", ">", "<=", ">=", "==", "!="} for node in _binary(expression))


def _binary(expression: str) -> list[promql.BinaryExpr]:
    return [node for node in nodes(expression) if isinstance(node, promql.BinaryExpr)]
