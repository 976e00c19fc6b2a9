"""Changer d'une faute à la fois le membre de droite d'un test d'équation.

Est changé ce qui est affecté à un nom qui commence par ``right`` : un signe, un facteur, un indice, une
comparaison, l'ordre des arguments d'une divergence, puis le membre entier (opposé, doublé). Une inégalité
``at_most(a, b)`` est renversée. Un mutant porte un nom lisible, « right: a + b → a - b » ; on écrit le même
nom pour le déclarer équivalent.
"""

from __future__ import annotations

import ast
import copy
import inspect
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeGuard

from sides import SEEDS, Draw, float64

_OPERATORS: dict[type, type] = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult}
_COMPARISONS: dict[type, type] = {
    ast.Lt: ast.GtE,
    ast.GtE: ast.Lt,
    ast.Gt: ast.LtE,
    ast.LtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
}


class Mutant(NamedTuple):
    """Un test où une faute a été plantée."""

    name: str
    test: Callable[[Draw], None]


class Report(NamedTuple):
    """Ce qu'il advient des mutants d'un test ; les équivalents déclarés n'y comptent pas."""

    mutants: list[str]
    survivors: list[str]
    idle: list[str]  # déclarés équivalents, alors qu'ils n'existent pas ou font échouer le test

    @property
    def caught(self) -> int:
        return len(self.mutants) - len(self.survivors)


def try_all(test: Callable[[Draw], None], equivalent: dict[str, str] | None = None) -> Report:
    """Plante une à une les fautes dans un test, et rend celles qu'il ne voit pas."""
    declared = dict(equivalent or {})
    names, survivors = [], []
    for mutant in mutants(test):
        seen = fails(mutant.test)
        if mutant.name in declared and not seen:
            del declared[mutant.name]
            continue
        names.append(mutant.name)
        if not seen:
            survivors.append(mutant.name)
    return Report(names, survivors, list(declared))


def fails(test: Callable[[Draw], None]) -> bool:
    """Vrai si le test échoue, de quelque façon que ce soit, pour une des graines."""
    return any(error(test, seed) is not None for seed in SEEDS)


def error(test: Callable[[Draw], None], seed: int) -> Exception | None:
    """Ce que lève le test pour une graine."""
    try:
        with float64(seed), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            test(Draw(seed))
    except Exception as found:
        return found
    return None


def mutants(test: Callable[[Draw], None]) -> Iterator[Mutant]:
    """Les mutants d'un test, compilés dans l'espace de noms de son module."""
    file = inspect.getsourcefile(test)
    assert file is not None
    with open(file, encoding="utf-8") as source:
        module = ast.parse(source.read())
    function = next(
        node for node in module.body if isinstance(node, ast.FunctionDef) and node.name == test.__name__
    )
    function.decorator_list = []
    seen: Counter[str] = Counter()
    for name, changed in _changed(function):
        seen[name] += 1
        code = compile(ast.fix_missing_locations(ast.Module([changed], [])), file, "exec")
        scope = dict(test.__globals__)
        exec(code, scope)
        yield Mutant(name if seen[name] == 1 else f"{name} ({seen[name]})", scope[test.__name__])


def _changed(function: ast.FunctionDef) -> Iterator[tuple[str, ast.FunctionDef]]:
    """Des copies de la fonction, où un nœud a été remplacé, et ce qui a été fait."""
    for rank, node in enumerate(ast.walk(function)):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "at_most":
            swapped = copy.copy(node)
            swapped.args = [node.args[1], node.args[0], *node.args[2:]]
            yield _name("", node, swapped), _replaced(function, rank, swapped)
        target = _target(node)
        if target is None:
            continue
        assert isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign)
        assert node.value is not None
        for name, value in (*_values(target, node.value), *_whole(target, node.value)):
            changed = copy.copy(node)
            changed.value = value
            yield name, _replaced(function, rank, changed)


def _target(node: ast.AST) -> str | None:
    """Le nom affecté, s'il commence par ``right``."""
    if isinstance(node, ast.Assign):
        targets = node.targets
    elif isinstance(node, ast.AnnAssign | ast.AugAssign) and node.value is not None:
        targets = [node.target]
    else:
        return None
    names = [name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)]
    rights = [name for name in names if name.startswith("right")]
    assert not rights or len(targets) == len(names) == 1, f"à écrire séparément : {', '.join(names)}"
    return rights[0] if rights else None


def _whole(target: str, value: ast.expr) -> Iterator[tuple[str, ast.expr]]:
    yield f"{target}: opposé", ast.UnaryOp(ast.USub(), value)
    yield f"{target}: doublé", ast.BinOp(ast.Constant(2), ast.Mult(), value)


def _values(target: str, value: ast.expr) -> Iterator[tuple[str, ast.expr]]:
    """Les expressions qu'on obtient en changeant un seul nœud de `value`."""
    places = _places(value)
    last = {id(node.operand) for node in ast.walk(value) if id(node) in places and _is_negative(node)}
    for rank, node in enumerate(ast.walk(value)):
        for changed in _mistakes(node, places) if id(node) not in last else ():
            yield _name(f"{target}: ", node, changed), _replaced(value, rank, changed)


def _places(value: ast.expr) -> set[int]:
    """Les nœuds qui disent une place, pas une valeur : un indice, ou un axe donné à une fonction."""
    found: set[int] = set()
    for node in ast.walk(value):
        given: list[ast.AST] = []
        if isinstance(node, ast.Call):
            given = [*node.args, *(keyword.value for keyword in node.keywords)]
        elif isinstance(node, ast.Subscript):
            given = [node.slice]
        for argument in given:
            inner = argument.elts if isinstance(argument, ast.Tuple | ast.List) else [argument]
            found.update(map(id, inner))
    return found


def _mistakes(node: ast.AST, places: set[int]) -> Iterator[ast.expr]:
    """Les fautes que l'on peut faire sur un nœud."""
    if isinstance(node, ast.BinOp) and (operator := _OPERATORS.get(type(node.op))):
        yield ast.BinOp(node.left, operator(), node.right)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        # −1 pour dire « le dernier » : ôter le signe peut désigner le même axe, reculer d'un rang non.
        if id(node) in places and _is_negative(node):
            yield ast.UnaryOp(node.op, ast.Constant(_next(node.operand.value)))
        else:
            yield node.operand
    elif isinstance(node, ast.Compare) and (operator := _COMPARISONS.get(type(node.ops[0]))):
        yield ast.Compare(node.left, [operator(), *node.ops[1:]], node.comparators)
    elif isinstance(node, ast.Constant) and type(node.value) in (int, float):
        yield ast.Constant(_next(node.value))
    elif isinstance(node, ast.Call) and len(node.args) == 2 and _is_divergence(node.func):
        yield ast.Call(node.func, node.args[::-1], node.keywords)


def _is_negative(node: ast.AST) -> TypeGuard[ast.UnaryOp]:
    """Vrai pour un nombre écrit avec un moins."""
    return isinstance(node, ast.UnaryOp) and isinstance(node.operand, ast.Constant)


def _next(value: object) -> int | float:
    if isinstance(value, int):
        return value + 1
    assert isinstance(value, float)
    return 2 * value if value else 1.0


def _is_divergence(function: ast.expr) -> bool:
    return "kl" in ast.unparse(function).rpartition(".")[2].lower().split("_")


def _replaced(tree: ast.AST, rank: int, node: ast.AST) -> ast.AST:
    """Une copie de l'arbre, où le nœud de ce rang (dans l'ordre d'`ast.walk`) est remplacé."""
    if rank == 0:
        return copy.deepcopy(node)
    tree = copy.deepcopy(tree)
    old = list(ast.walk(tree))[rank]
    for parent in ast.walk(tree):
        for field, child in ast.iter_fields(parent):
            if child is old:
                setattr(parent, field, copy.deepcopy(node))
            elif isinstance(child, list):
                child[:] = [copy.deepcopy(node) if item is old else item for item in child]
    return tree


def _name(prefix: str, before: ast.AST, after: ast.AST) -> str:
    return f"{prefix}{_short(before)} → {_short(after)}"


def _short(node: ast.AST) -> str:
    text = ast.unparse(node)
    return text if len(text) <= 41 else f"{text[:20]}…{text[-20:]}"
