"""Les règles de la maison que l'on peut vérifier : dépendances entre pièces, docstrings."""

import ast
import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import vaebook

PACKAGE = Path(vaebook.__file__).parent
CORE = sorted(info.name for info in pkgutil.iter_modules([str(PACKAGE)]) if info.name != "publishing")
PUBLIC = [name for name in CORE if not name.startswith("_")]


def test_import_vaebook_is_light():
    program = (
        "import sys, vaebook; print(sorted({'torch', 'numpy', 'matplotlib', 'sphinx'} & set(sys.modules)))"
    )
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert finished.stdout.strip() == "[]"


@pytest.mark.parametrize("name", CORE)
def test_core_never_imports_publishing_sphinx_or_jupyter(name):
    path = PACKAGE / f"{name}.py"
    files = [path] if path.exists() else sorted((PACKAGE / name).rglob("*.py"))
    assert files
    tree = ast.parse("\n".join(file.read_text() for file in files))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    forbidden = re.compile(r"vaebook\.publishing|sphinx|jupyter|jupytext|nbclient|nbformat|myst_nb")
    assert not [module for module in imported if forbidden.match(module)]


def public_objects():
    for module_name in PUBLIC:
        module = importlib.import_module(f"vaebook.{module_name}")
        for name, value in vars(module).items():
            if name.startswith("_") or getattr(value, "__module__", None) != module.__name__:
                continue
            if inspect.isfunction(value) or inspect.isclass(value):
                yield pytest.param(value, id=f"{module_name}.{name}")
            if inspect.isclass(value):
                for attribute, member in vars(value).items():
                    member = (
                        member.fget if isinstance(member, property) else getattr(member, "__func__", member)
                    )
                    if inspect.isfunction(member) and not attribute.startswith("_"):
                        yield pytest.param(member, id=f"{module_name}.{name}.{attribute}")


def inherited_doc(value) -> str:
    """La docstring, celle de la méthode redéfinie si elle n'en a pas d'autre."""
    if inspect.isclass(value) or "." not in value.__qualname__:
        return inspect.getdoc(value) or ""
    owner = getattr(sys.modules[value.__module__], value.__qualname__.split(".")[0])
    return inspect.getdoc(getattr(owner, value.__name__, value)) or ""


def raises(function) -> bool:
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    return any(isinstance(node, ast.Raise) and node.exc is not None for node in ast.walk(tree))


@pytest.mark.parametrize("value", list(public_objects()))
def test_public_names_have_a_french_docstring(value):
    doc = re.sub(r"«[^»]*»", "", inherited_doc(value))  # les titres cités gardent leur langue
    assert len(doc) > 15
    assert not re.search(r"\b(the|returns?|args|raises|which|with)\b", doc, re.IGNORECASE)


SHAPE = r"\([^()]+,[^()]*\)|\((\.\.\.|…|[BNd])\)|forme|vecteur|scalaire|nombre"
NATS = re.compile(
    r"elbo|log_|iwae|kl\b|posterior_kl|gaps?\b|capacity|free_bits|marginal_bound|rate_distortion"
)


@pytest.mark.parametrize("value", [p for p in public_objects() if inspect.isfunction(p.values[0])])
def test_public_functions_say_shapes_errors_and_sources(value):
    doc = inherited_doc(value)
    annotations = str(inspect.signature(value))
    if "Tensor" in annotations:
        assert re.search(SHAPE, doc), "dire les formes"
    if raises(value):
        assert "Lève" in doc, "dire les erreurs"
    parameters = [name for name in inspect.signature(value).parameters if name not in ("self", "cls")]
    if len(parameters) > 2:
        assert "Paramètres :" in doc
    if NATS.search(value.__name__) and annotations.endswith(("Tensor", "Terms", "Terms'")):
        assert "nats" in doc, "dire l'unité"


MATHEMATICAL = ("likelihoods", "objectives", "gradients", "exact")


@pytest.mark.parametrize(
    "value",
    [
        p
        for p in public_objects()
        if p.values[0].__module__.removeprefix("vaebook.") in MATHEMATICAL
        and "." not in p.values[0].__qualname__
        and not issubclass(p.values[0] if inspect.isclass(p.values[0]) else object, tuple)
    ],
)
def test_formulas_have_a_source(value):
    exempt = {
        "Likelihood",
        "make_likelihood",
        "check_samples",
        "draw",
        "gaussian_noise",
        "masking_noise",
    }  # rien à y attribuer
    assert value.__name__ in exempt or "Source :" in inherited_doc(value)
