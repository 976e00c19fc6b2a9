# make book : le site.  make test : tout vérifier.  Les autres commandes servent aux auteurs.
.DELETE_ON_ERROR:
.PHONY: book pdf dist test bench lighthouse execute experiment check links lock clean

PYTHON ?= python3
ifeq ($(OS),Windows_NT)
BIN := .venv/Scripts
else
BIN := .venv/bin
endif
# `--group` date de pip 25.1.
PIP := $(BIN)/python -m pip
INSTALL = $(PIP) install --disable-pip-version-check -c requirements.lock --group

book: .venv/book.stamp
	@echo "Construction du livre…"
	$(BIN)/jupyter-book build . -W -n --keep-going
	@echo "Le livre : file://$(CURDIR)/_build/html/index.html"

# Le livre entier, pour l'imprimer ou le lire hors ligne ; il faut TeX.
pdf: .venv/book.stamp
	$(BIN)/python -m vaebook.publishing.pdf

# Le livre à lire hors ligne : le site et, sur une machine qui a TeX, le PDF.
dist: book
	@if command -v xelatex >/dev/null; then $(MAKE) --no-print-directory pdf; fi
	$(BIN)/python -m vaebook.publishing dist

test: .venv/test.stamp
	$(BIN)/python -m pytest --cov

# Les chapitres périmés seulement ; `make execute ARGS=--all` les refait tous.
execute: .venv/test.stamp
	$(BIN)/python -m vaebook.publishing execute $(ARGS)

# Les longues expériences périmées ; `make experiment ARGS="nom"` n'en fait qu'une.
experiment: .venv/test.stamp
	$(BIN)/python -m vaebook.publishing experiment $(ARGS)

# Les vitesses, sur une machine qui ne fait rien d'autre ; la page « Vitesse » montre ce qui est rangé.
bench: .venv/test.stamp
	$(BIN)/python -m vaebook.publishing experiment --all vitesse

check: .venv/book.stamp
	$(BIN)/python -m vaebook.publishing check

# Les liens vers l'extérieur, par le réseau ; `make test` vérifie les liens internes.
links: .venv/book.stamp
	$(BIN)/jupyter-book build . --builder linkcheck

lock: .venv/dev.stamp
	$(BIN)/uv pip compile --universal --python-version 3.11 --group dev --no-header --no-annotate \
		--no-emit-index-url --no-emit-find-links -o requirements.lock pyproject.toml

# Performances, accessibilité, bonnes pratiques et référencement de chaque page ; il faut npm et Chromium.
lighthouse: .venv/test.stamp book
	$(BIN)/python tests/browser/lighthouse.py $(ARGS)

clean:
	rm -rf _build dist

.venv/pip.stamp:
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'Il faut Python 3.11 ou plus : make book PYTHON=python3.12')"
	$(PYTHON) -m venv .venv
	$(PIP) install --disable-pip-version-check --upgrade "pip==25.3"
	@touch $@

# Un groupe par marque ; `vaebook` est installé sans ses dépendances, pour que `book` se passe de torch.
.venv/%.stamp: pyproject.toml requirements.lock | .venv/pip.stamp
	@echo "Installation des dépendances du groupe « $* »…"
	$(INSTALL) $*
	$(PIP) install --disable-pip-version-check --no-deps --editable .
	@touch $@
