"""Évalue les formules du livre telles que la page les écrit.

Une formule est découpée en énoncés, chacun une chaîne de membres liés par =, ≥ ou ≤. Un environnement donne
leur sens aux symboles : un nombre, un vecteur (une colonne), une matrice, une fonction, ou une loi de
``torch.distributions``. Une espérance, et donc une divergence, est une somme sur les valeurs d'une loi finie,
une quadrature sinon : rien ici ne connaît de forme close. Tout est en float64 ; les indices partent de 1.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Distribution

Scope = Mapping[str, Any]

_WRAPPED = r"\\(?:text|mathrm|mathcal|mathbf|operatorname\*?|hat|tilde|bar)\{[^{}]*\}"
_TOKEN = re.compile(rf"{_WRAPPED}|\\[A-Za-z]+|\\.|\d+(?:\.\d+)?|\S")
_DROPPED = {"&", r"\,", r"\;", r"\:", r"\!", r"\ ", r"\recon", r"\kl", r"\left", r"\right"} | {
    rf"\{size}{side}" for size in ("big", "Big", "bigg", "Bigg") for side in ("", "l", "r", "m")
}
_RELATIONS = {"=", r"\geq", r"\leq", r"\approx", r"\sim", r"\in", r"\longrightarrow", "<", ">"}
_COMPARISONS = {r"\leq": operator.le, r"\geq": operator.ge, "<": operator.lt, ">": operator.gt}
_OPENING = {"(": ")", "[": "]", "{": "}", r"\lVert": r"\rVert", r"\lvert": r"\rvert"}
_CLOSING = set(_OPENING.values())
_STOPS = _CLOSING | _RELATIONS | {"+", "-", "/", ",", ";", "|", ":", r"\Vert", r"\dd", r"\odot"}
_GREEK = r"\alpha \beta \gamma \delta \varepsilon \eta \theta \lambda \mu \pi \rho \sigma \tau \phi \chi"
_LETTERS = {r"\x", r"\z", r"\ell", r"\Sigma", r"\Lambda", *_GREEK.split()}


class LatexError(ValueError):
    """Une formule qui sort du LaTeX contrôlé du livre, ou un symbole que l'environnement ne donne pas."""


# --- Le texte ---------------------------------------------------------------------------------------------


def plain(latex: str) -> str:
    """La même formule, où tout argument est entre accolades et la virgule décimale est un point."""
    latex = re.sub(r"\\(?:begin|end)\{aligned\}|\\label\{[^}]*\}", " ", latex).replace("{,}", ".")
    latex = re.sub(r"\\\\\[\w+\]", r"\\\\", latex)
    latex = re.sub(r"\\[td]frac", r"\\frac", latex)
    latex = re.sub(r"\\(hat|tilde|bar)\s*(\\[A-Za-z]+|[A-Za-z])", r"\\\1{\2}", latex)
    argument = r"\s*([A-Za-z\d]|\\[A-Za-z]+)"
    latex = re.sub(rf"\\frac{argument}{argument}", r"\\frac{\1}{\2}", latex)
    latex = re.sub(rf"\\frac(\{{[^{{}}]*\}}){argument}", r"\\frac\1{\2}", latex)
    latex = re.sub(rf"\\(frac|sqrt){argument}", r"\\\1{\2}", latex)
    return re.sub(r"([\^_])\s*(\d)", r"\1{\2}", latex)


def tokens(latex: str) -> list[str]:
    """Les mots de la formule ; les espaces et les tailles de parenthèses n'en sont pas."""
    words = [word for word in _TOKEN.findall(plain(latex)) if word not in _DROPPED]
    empty = {i + k for i in range(len(words) - 1) if words[i : i + 2] == ["{", "}"] for k in (0, 1)}
    return [word for i, word in enumerate(words) if i not in empty]


def canonical(words: Sequence[str]) -> str:
    """Une écriture unique d'un symbole : sans accolades autour d'un indice d'un seul mot."""
    return re.sub(r"_ \{ (\S+) \}", r"_ \1", " ".join(words))


def _split(words: Sequence[str], at: set[str]) -> Iterator[tuple[str, list[str]]]:
    """Les morceaux entre des mots pris hors de toute parenthèse ; chacun avec le mot qui le précède."""
    piece: list[str] = []
    depth, mark = 0, ""
    for word in words:
        depth += (word in _OPENING) - (word in _CLOSING)
        if depth == 0 and word in at:
            yield mark, piece
            mark, piece = word, []
        else:
            piece.append(word)
    yield mark, piece


@dataclass(frozen=True)
class Statement:
    """Un énoncé : ses membres, et les relations entre eux."""

    sides: tuple[tuple[str, ...], ...]
    relations: tuple[str, ...]

    def values(self, scope: Scope) -> list[Any]:
        """Ce que vaut chaque membre dans cet environnement."""
        scope = named(scope)
        return [evaluate(parse(side, scope), scope) for side in self.sides]

    def law(self, scope: Scope) -> Any:
        """La loi qu'est le dernier membre de « z ∼ … »."""
        scope = named(scope)
        return law_of(parse(self.sides[-1], scope), scope)


def named(scope: Scope) -> dict[str, Any]:
    """L'environnement et les constantes, sous l'écriture unique de leurs noms."""
    entries = {r"\pi": math.pi, "e": math.e} | dict(scope)
    return {canonical(tokens(name)): value for name, value in entries.items()}


def statements(latex: str) -> list[Statement]:
    """Les énoncés d'une formule centrée, dans l'ordre de la page."""
    pieces: list[list[str]] = []
    for _, line in _split(tokens(latex), {r"\\"}):
        starts = bool(line) and line[0] not in _RELATIONS | {"+", "-"}
        if not pieces or (starts and any(word in _RELATIONS for word, _ in _split(line, _RELATIONS))):
            pieces.append([])
        pieces[-1] += [word for word in line if word != r"\\"]
    found = []
    for piece in pieces:
        for _, words in _split(piece, {r"\qquad", r"\quad"}):
            parts = [(relation, _trimmed(side)) for relation, side in _split(words, _RELATIONS)]
            if parts[0][1]:
                sides = tuple(tuple(side) for _, side in parts)
                found.append(Statement(sides, tuple(relation for relation, _ in parts[1:])))
    return found


def _trimmed(side: list[str]) -> list[str]:
    """Un membre sans sa ponctuation, ni le texte qui le précède ou le suit."""
    while side and (side[-1] in {".", ",", ";", ":"} or side[-1].startswith(r"\text{")):
        side = side[:-1]
    return side[1:] if side and side[0].startswith(r"\text{") else side


def mutants(latex: str) -> Iterator[tuple[str, str]]:
    """La formule, une faute à la fois : un signe ou une inégalité changés, un nombre ou un membre doublés.

    Un mutant est nommé par la faute et son rang. Les numéros (les indices qui ne sont qu'un nombre) restent.
    """
    source = plain(latex)
    hidden = [match.span() for match in re.finditer(_WRAPPED, source)]
    hidden += [match.span() for match in re.finditer(r"(?<!\\log)_(\{\d+\})|\\chi\^(\{2\})", source)]
    swaps = {"+": "-", "-": "+", "=": "= 2", r"\geq": r"\leq", r"\leq": r"\geq"}
    rank = 0
    for match in re.finditer(r"[+-]|\\geq|\\leq|=(?!\s*0)|\d+(?:\.\d+)?", source):
        old, before, after = match[0], source[: match.start()], source[match.end() :]
        within = before.count("{") + before.count("(") - before.count("}") - before.count(")")
        if any(a <= match.start() < b for a, b in hidden) or (old == "=" and within):
            continue
        new = swaps.get(old) or (f"{2 * float(old):g}" if float(old) else "1")
        rank += 1
        yield f"{old} → {new}, n° {rank}", f"{before}{new}{after}"


# --- La syntaxe -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Node:
    """Un nœud : ce qu'il fait, les mots qui le nomment, et ses parties."""

    kind: str
    words: tuple[str, ...] = ()
    parts: tuple[Node, ...] = ()
    given: tuple[Node, ...] = ()
    names: tuple[str, ...] = ()


def parse(words: Sequence[str], scope: Scope) -> Node:
    """L'arbre d'un membre. L'environnement dit quels noms, devant une parenthèse, sont des fonctions."""
    return _Parser([], scope).inner(words)


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    r"\log": torch.log,
    r"\exp": torch.exp,
    r"\det": torch.det,
    r"\max": torch.maximum,
    r"\min": torch.minimum,
    r"\operatorname{tr}": torch.trace,
    r"\operatorname{diag}": lambda column: torch.diag(column.squeeze(-1)),
    r"\operatorname{sigm}": torch.sigmoid,
    r"\operatorname{ReLU}": torch.relu,
}


class _Parser:
    def __init__(self, words: list[str], scope: Scope) -> None:
        self.words, self.scope, self.at = words, scope, 0

    @property
    def next(self) -> str:
        return self.words[self.at] if self.at < len(self.words) else ""

    def take(self, expected: str = "") -> str:
        word = self.next
        if not word or (expected and word != expected):
            self.fail(f"« {expected or 'un symbole'} » attendu, « {word or 'la fin'} » trouvé")
        self.at += 1
        return word

    def fail(self, what: str) -> None:
        raise LatexError(f"{what}, après « {' '.join(self.words[: self.at])} ».")

    def sum(self) -> Node:
        terms, signs = [], []
        while True:
            signs.append(self.take() if self.next in ("+", "-") else "+")
            terms.append(self.term())
            if self.next not in ("+", "-"):
                return terms[0] if signs == ["+"] else Node("sum", tuple(signs), tuple(terms))

    def term(self) -> Node:
        """Un produit, divisé par un autre : « a / b c » se lit a/(bc)."""
        node = self.product()
        while self.next == "/":
            self.take()
            node = Node("quotient", (), (node, self.product()))
        return node

    def product(self) -> Node:
        node = self.factor()
        while self.next and (self.next not in _STOPS or self.next == r"\odot"):
            kind = "odot" if self.next == r"\odot" and self.take() else "product"
            node = Node(kind, (), (node, self.factor()))
        return node

    def factor(self) -> Node:
        node = self.primary()
        while self.next == "^":
            self.take()
            if self.next == r"\top":
                self.take()
                node = Node("transpose", (), (node,))
            else:
                node = Node("power", (), (node, self.argument()))
        return node

    def argument(self) -> Node:
        return self.group() if self.next == "{" else self.primary()

    def group(self) -> Node:
        closing = _OPENING[self.take()]
        node = self.sum()
        self.take(closing)
        return node

    def body(self) -> Node:
        """Sur quoi porte un opérateur : la parenthèse ou le crochet qui suit, sinon le reste du produit."""
        return self.group() if self.next in ("(", "[") else self.term()

    def subscript(self) -> tuple[str, ...]:
        """Les mots de l'indice qui suit, s'il y en a un."""
        if self.next != "_":
            return ()
        self.take()
        if self.next != "{":
            return (self.take(),)
        return tuple(self.enclosed())

    def enclosed(self) -> list[str]:
        """Les mots entre cette parenthèse et celle qui la ferme."""
        start, depth = self.at, 0
        while True:
            word = self.take()
            depth += (word in _OPENING) - (word in _CLOSING)
            if depth == 0:
                return self.words[start + 1 : self.at - 1]

    def inner(self, words: Sequence[str]) -> Node:
        """L'arbre de ces mots, tous lus."""
        parser = _Parser(list(words), self.scope)
        node = parser.sum()
        if parser.next:
            parser.fail(f"« {parser.next} » inattendu")
        return node

    def primary(self) -> Node:
        word = self.next
        if re.fullmatch(r"[\d.]+", word):
            return Node("number", (self.take(),))
        if word in ("(", "[", "{"):
            return self.group()
        if word in (r"\lVert", r"\lvert"):
            return self.norm()
        if word in (r"\sum", r"\prod"):
            return self.big()
        if word in _FUNCTIONS:
            return self.function()
        if word.isalpha() or (word in _LETTERS and not self.chi_square()) or re.fullmatch(_WRAPPED, word):
            return self.name()
        self.take()
        match word:
            case r"\frac":
                return Node("quotient", (), (self.argument(), self.argument()))
            case r"\sqrt":
                return Node("sqrt", (), (self.argument(),))
            case r"\underbrace":
                node = self.group()
                self.subscript()
                return node
            case r"\E":
                return self.expectation()
            case r"\KL":
                return self.divergence("divergence")
            case r"\chi":
                self.at += 4
                return self.divergence("chi2")
            case r"\N":
                inside = [self.inner(words) for _, words in _split(self.enclosed(), {",", ";"})]
                return Node("normal", (), tuple(inside))
            case r"\nabla" | r"\partial":
                return Node("gradient", (canonical(self.subscript()),), (self.body(),))
            case r"\int":
                node = self.term()
                self.take(r"\dd")
                return Node("integral", self.name().words, (node,))
            case r"\dd":
                return Node("differential", (self.enclosed()[0] if self.next == "{" else self.take(),))
        self.at -= 1
        raise LatexError(f"Commande inconnue : « {word} », après « {' '.join(self.words[: self.at])} ».")

    def chi_square(self) -> bool:
        """Vrai devant χ²(… ‖ …), la seule divergence qui s'écrive comme une puissance."""
        return self.words[self.at : self.at + 6] == [r"\chi", "^", "{", "2", "}", "("]

    def divergence(self, kind: str) -> Node:
        laws = list(_split(self.enclosed(), {r"\Vert"}))
        if len(laws) != 2:
            self.fail("une divergence a deux lois, séparées par « \\Vert »")
        return Node(kind, (), tuple(self.inner(law) for _, law in laws))

    def norm(self) -> Node:
        node = self.group()
        return Node("norm", self.subscript() or ("2",), (node,))

    def function(self) -> Node:
        word = self.take()
        base = self.subscript()
        if self.next == "(":
            arguments = [self.inner(words) for _, words in _split(self.enclosed(), {","})]
        else:
            arguments = [self.body()]
        node = Node("function", (word,), tuple(arguments))
        if base:
            node = Node("quotient", (), (node, Node("function", (word,), (self.inner(base),))))
        return node

    def big(self) -> Node:
        kind, below, stop = self.take(), self.subscript(), None
        if self.next == "^":
            self.take()
            stop = self.argument()
        (_, variable), *condition = _split(below, {"=", *_COMPARISONS})
        bounds = tuple(self.inner(words) for _, words in condition) + ((stop,) if stop else ())
        relation = tuple(mark for mark, _ in condition)
        return Node(kind, (canonical(variable), *relation), (self.term(),), bounds)

    def expectation(self) -> Node:
        if self.next == "[":  # sans loi, comme E[z|x] : un nombre, que l'environnement donne
            return Node("name", (r"\E", "[", *self.enclosed(), "]"))
        law = self.subscript()
        cut = law.index(r"\sim") if r"\sim" in law else -1
        variable, law = law[: max(cut, 0)], law[cut + 1 :]
        parts = (self.body(), *([self.inner(law)] if law else []))
        return Node("expectation", (canonical(variable), canonical(law)), parts)

    def name(self) -> Node:
        words = [self.take()]
        while self.next in ("_", "'") or (self.next == "^" and self.words[self.at + 1] == r"\star"):
            words.append(self.take())
            if words[-1] == "_":
                words += ["{", *self.enclosed(), "}"] if self.next == "{" else [self.take()]
            elif words[-1] == "^":
                words.append(self.take())
        start, exponent = self.at, ""
        if self.next == "^" and self.words[self.at + 3 : self.at + 5] == ["}", "("]:  # comme σ²(x)
            exponent, self.at = self.words[self.at + 2], self.at + 4
        call = self.call(words) if self.next == "(" else None
        if call is None:
            self.at = start
            return Node("name", tuple(words))
        return Node("power", (), (call, Node("number", (exponent,)))) if exponent else call

    def call(self, words: list[str]) -> Node | None:
        """L'appel de ce nom, si l'environnement en fait une fonction ; rien si c'est un produit."""
        start, inside = self.at, self.enclosed()
        pieces = list(_split(inside, {",", ";", "|"}))
        bare = [word for mark, left in pieces for word in (*filter(None, [mark]), *_bare(left))]
        name, exact = canonical(words), canonical([*words, *self.words[start : self.at]])
        names = (exact, canonical([*words, "(", *bare, ")"]), name)
        if not any(known in self.scope for known in names[:2]):
            function = self.scope.get(name.removesuffix(" '"))
            named = any(key.startswith(f"{name} (") for key in self.scope)
            if not callable(function) and (function is not None or not named):
                return None
        values = [(mark, self.inner(list(_split(left, {"="}))[-1][1])) for mark, left in pieces]
        bar = next((rank for rank, (mark, _) in enumerate(values) if mark == "|"), len(values))
        arguments = tuple(value for _, value in values)
        variables = tuple(canonical(left) for _, left in pieces)
        return Node("call", tuple(words), arguments[:bar], arguments[bar:], (*names, *variables))


def _bare(argument: Sequence[str]) -> list[str]:
    """Un argument sans ses indices, ses primes ni la valeur qu’on lui donne : de « x_i = 1 », « x »."""
    (_, left), *_ = _split(argument, {"="})
    return re.sub(r" _ (?:\{ [^{}]* \}|\S+)| '", "", " ".join(left)).split()


# --- La valeur --------------------------------------------------------------------------------------------


def evaluate(node: Node, scope: Scope) -> Any:
    """La valeur d'un nœud, un tenseur ; un scalaire a la forme (), ou celle des points de la quadrature."""
    values = lambda: [evaluate(part, scope) for part in node.parts]  # noqa: E731
    match node.kind:
        case "number":
            return torch.tensor(float(node.words[0]), dtype=torch.float64)
        case "name":
            return _named(node.words, scope)
        case "sum":
            terms = zip(node.words, values(), strict=True)
            return sum(term if sign == "+" else -term for sign, term in terms)
        case "product":
            return _times(*values())
        case "odot":
            return operator.mul(*values())
        case "quotient":
            return operator.truediv(*values())
        case "power":
            return _power(*values())
        case "transpose":
            return values()[0].mT
        case "sqrt":
            return values()[0].sqrt()
        case "norm":
            (value,) = values()
            if value.ndim < 2:
                return value.abs()
            return torch.linalg.vector_norm(value, float(node.words[0]), dim=(-2, -1))
        case "function":
            return _FUNCTIONS[node.words[0]](*(torch.as_tensor(v, dtype=torch.float64) for v in values()))
        case r"\sum" | r"\prod":
            terms = [evaluate(node.parts[0], inner) for inner in _indexed(node, scope)]
            return sum(terms) if node.kind == r"\sum" else math.prod(terms)
        case "call":
            return _called(node, scope)
        case "normal":
            point, *parameters = node.parts
            law = _normal(*(evaluate(part, scope) for part in parameters))
            return log_density(law, evaluate(point, scope)).exp()
        case "divergence":
            q, p = (law_of(part, scope) for part in node.parts)
            return expectation(q, lambda value: log_density(q, value) - log_density(p, value))
        case "chi2":
            r, q = (law_of(part, scope) for part in node.parts)
            squared = lambda value: (2 * (log_density(r, value) - log_density(q, value))).exp()  # noqa: E731
            return expectation(q, squared) - 1
        case "expectation":
            law, variable = _expected(node, scope)
            return expectation(law, lambda value: evaluate(node.parts[0], {**scope, variable: value}))
        case "integral":
            variable = canonical(node.words)
            points, weights = _get(scope, rf"\dd {variable}")
            return (weights * evaluate(node.parts[0], {**scope, variable: points})).sum(0)
        case "differential":
            return _derivative(_get(scope, node.words[0]), _get(scope, r"\dd"))
        case "gradient":
            (name,) = node.words
            moved = lambda value: evaluate(node.parts[0], {**scope, name: value})  # noqa: E731
            return _derivative(moved, _get(scope, name))
    raise LatexError(f"Rien ne donne de valeur à « {' '.join(node.words)} ».")


def _get(scope: Scope, name: str) -> Any:
    if name not in scope:
        raise LatexError(f"Symbole sans valeur : « {name} ».")
    return scope[name]


def _named(words: Sequence[str], scope: Scope) -> Any:
    """La valeur d'un symbole ; ses indices qui sont des entiers choisissent une composante."""
    if (whole := canonical(words)) in scope:
        value, ranks = scope[whole], []
    else:
        inside = [word for word in words[1:] if word not in "_{},"]
        ranks = [scope[word] - 1 for word in inside if isinstance(scope.get(word), int)]
        others = [word for word in inside if not isinstance(scope.get(word), int)]
        value = _get(scope, canonical([words[0], *(["_", "{", *others, "}"] if others else [])]))
    if isinstance(value, Tensor) and value.ndim >= 2 and ranks:
        return value[(..., *ranks, 0)] if len(ranks) == 1 else value[(..., *ranks)]
    for rank in ranks:
        value = value[rank]
    return torch.tensor(value, dtype=torch.float64) if isinstance(value, (int, float)) else value


def _called(node: Node, scope: Scope) -> Any:
    """Une densité, une fonction de ses arguments, ou sa dérivée si le nom porte une prime."""
    if node.words[-1] == "'":
        (argument,) = node.parts
        return _derivative(_get(scope, canonical(node.words[:-1])), evaluate(argument, scope))
    entry = _entry(node, scope)
    if is_law(entry):
        return log_density(entry, *(evaluate(part, scope) for part in node.parts)).exp()
    if callable(entry):
        entry = entry(*(evaluate(part, scope) for part in (*node.parts, *node.given)))
    return torch.as_tensor(entry, dtype=torch.float64)


def _entry(node: Node, scope: Scope) -> Any:
    """Ce que l'environnement met sous cet appel ; une loi sachant quelque chose est prise à ces valeurs.

    Les paramètres en indice qui ont une valeur, comme φ dans q_φ(z|x), sont donnés après elles.
    """
    name = next((name for name in node.names[:3] if name in scope), None)
    if name is None:
        raise LatexError(f"Fonction sans valeur : « {node.names[0]} ».")
    entry = scope[name]
    if not callable(entry) or not node.given:
        return entry
    parameters = [scope[word] for word in node.words[1:] if word in scope and word in _LETTERS]
    return entry(*(evaluate(part, scope) for part in node.given), *parameters)


def law_of(node: Node, scope: Scope) -> Any:
    """La loi que nomme un nœud : une gaussienne écrite en entier, ou une loi de l'environnement."""
    if node.kind == "normal":
        return _normal(*(evaluate(part, scope) for part in node.parts))
    entry = None
    if node.kind == "call":
        entry = _entry(node, scope)
    elif node.kind == "name":
        name = canonical(node.words)
        found = [scope[key] for key in scope if key == name or key.startswith(f"{name} (")]
        entry = found[0] if len(found) == 1 else None
    if not is_law(entry):
        raise LatexError(f"« {' '.join(node.words)} » n'est pas une loi de l'environnement.")
    return entry


def _expected(node: Node, scope: Scope) -> tuple[Any, str]:
    """La loi d'une espérance, et le symbole sur lequel elle porte."""
    variable, name = node.words
    if (key := rf"\E _ {name}") in scope:
        return scope[key], name
    if len(node.parts) < 2:
        raise LatexError("Une espérance sans loi.")
    law = node.parts[1]
    if not variable and law.kind == "call":
        variable = law.names[3]
    elif not variable:
        key = next((key for key in scope if key.startswith(f"{name} (")), "")
        variable = key.removeprefix(f"{name} ( ").removesuffix(" )").split(" |")[0]
    return law_of(law, scope), variable


def _derivative(function: Callable[[Any], Any], at: Any) -> Tensor:
    """La dérivée en un scalaire, ou terme à terme, par différentiation automatique."""
    at = torch.as_tensor(at, dtype=torch.float64)
    return torch.func.jvp(function, (at,), (torch.ones_like(at),))[1]


def _indexed(node: Node, scope: Scope) -> Iterator[dict[str, Any]]:
    """L'environnement, pour chaque valeur de l'indice d'une somme ou d'un produit."""
    name, *relation = node.words
    bounds = [int(evaluate(bound, scope)) for bound in node.given]
    if relation == ["="]:
        ranks: Sequence[int] = range(bounds[0], bounds[1] + 1)
    else:
        ranks = _get(scope, name)
        if relation:
            ranks = [rank for rank in ranks if _COMPARISONS[relation[0]](rank, bounds[0])]
    return ({**scope, name: rank} for rank in ranks)


def _times(a: Any, b: Any) -> Any:
    """Le produit : de matrices si les deux en sont, sinon par un scalaire."""
    if min(getattr(a, "ndim", 0), getattr(b, "ndim", 0)) < 2:
        return a * b
    if 1 in (a.shape[-2] * a.shape[-1], b.shape[-2] * b.shape[-1]):
        return a * b
    product = a @ b
    return product[..., 0, 0] if product.shape[-2:] == (1, 1) else product


def _power(base: Any, exponent: Any) -> Any:
    """Une puissance, terme à terme ; pour une matrice carrée, son inverse ou sa racine."""
    if not (isinstance(base, Tensor) and base.ndim == 2 and base.shape[0] == base.shape[1] > 1):
        return torch.as_tensor(base, dtype=torch.float64) ** exponent
    values, vectors = torch.linalg.eigh(base)
    return vectors * values**exponent @ vectors.mT


# --- Les lois ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Finite:
    """La loi uniforme sur quelques points : celle de données."""

    points: Sequence[Any]


def is_law(entry: object) -> bool:
    return isinstance(entry, (Distribution, Finite))


def log_density(law: Any, value: Any) -> Tensor:
    """La log-densité en une valeur : un scalaire, ou une colonne."""
    value = torch.as_tensor(value, dtype=torch.float64)
    return law.log_prob(value.squeeze(-1) if law.event_shape and value.ndim >= 2 else value)


def expectation(law: Any, function: Callable[[Any], Any]) -> Tensor:
    """E[f] sous une loi : une somme si elle est discrète, une quadrature sinon."""
    if isinstance(law, Finite):
        return sum(function(point) for point in law.points) / len(law.points)
    if law.support.is_discrete:
        masses = ((point, log_density(law, point).exp()) for point in law.enumerate_support().flatten())
        return sum(mass * function(int(point)) for point, mass in masses if mass > 1e-12)
    points, weights = _gauss_hermite(law) if law.event_shape else _trapezes(law)
    value = torch.as_tensor(function(points), dtype=torch.float64)
    if value.ndim == 0:
        return value
    return (weights.reshape(*weights.shape, *[1] * (value.ndim - weights.ndim)) * value).sum(0)


def _trapezes(law: Distribution) -> tuple[Tensor, Tensor]:
    """Une grille sur la droite. Elle ne suit pas les paramètres de la loi : seuls les poids en dépendent."""
    # Sans gradient : sinon dériver l'intégrale reviendrait à reparamétrer.
    mean, stddev = law.mean.detach(), law.stddev.detach()
    steps = torch.linspace(-13, 13, 2001, dtype=torch.float64).view(-1, *[1] * mean.ndim)
    points = mean + stddev * steps
    return points, law.log_prob(points).exp() * (points[1] - points[0])


def _gauss_hermite(law: Any) -> tuple[Tensor, Tensor]:
    """Les points, des colonnes, et les poids d'une gaussienne ; en dimension 3, exact au degré 19."""
    (size,) = law.event_shape
    order = 10 if size > 2 else 40
    nodes, weights = (torch.from_numpy(array) for array in np.polynomial.hermite_e.hermegauss(order))
    weights = weights / weights.sum()
    grid = torch.cartesian_prod(*[nodes] * size).reshape(-1, size)
    mass = torch.cartesian_prod(*[weights] * size).reshape(-1, size).prod(1)
    root = getattr(law, "scale_tril", None)
    root = torch.diag(law.stddev) if root is None else root
    return (law.mean + grid @ root.mT).unsqueeze(-1), mass


def _normal(mean: Any, covariance: Any) -> Distribution:
    mean, covariance = (torch.as_tensor(v, dtype=torch.float64) for v in (mean, covariance))
    if covariance.ndim < 2:
        return torch.distributions.Normal(mean, covariance.sqrt())
    if mean.ndim < 2:
        mean = mean.expand(covariance.shape[0], 1)
    return torch.distributions.MultivariateNormal(mean.squeeze(-1), covariance)
