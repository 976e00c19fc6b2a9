"""Le mode rapide, et ce que la prose affirme."""

import pytest
import torch

from vaebook import quick
from vaebook.claims import claim
from vaebook.data import fashion_mnist, mnist
from vaebook.models import VAE
from vaebook.training import fit


@pytest.fixture
def rapid(monkeypatch):
    monkeypatch.setenv("VAEBOOK_QUICK", "1")


@pytest.mark.parametrize(("value", "expected"), [(None, False), ("", False), ("0", False), ("1", True)])
def test_the_variable_decides(monkeypatch, value, expected):
    monkeypatch.delenv("VAEBOOK_QUICK", raising=False)
    if value is not None:
        monkeypatch.setenv("VAEBOOK_QUICK", value)
    assert quick.enabled() is expected


@pytest.mark.parametrize("load", [fashion_mnist, mnist])
def test_the_sample_replaces_the_data_and_says_so(rapid, load, capsys):
    data = load("test")
    assert len(data) == 500
    assert "Mode rapide" in capsys.readouterr().out
    assert torch.equal(data.images, load("test", sample=True).images)
    assert capsys.readouterr().out == ""


def test_a_given_folder_is_obeyed(rapid, tmp_path):
    with pytest.raises(FileNotFoundError):
        mnist("test", root=tmp_path)


def test_training_lasts_one_epoch_and_says_so(rapid, capsys):
    model = VAE(latent_dim=2, hidden=(4,))
    data = torch.rand(8, 1, 28, 28)
    assert len(fit(model, data, epochs=3, batch_size=4, progress=False)) == 1
    assert "une époque au lieu de 3" in capsys.readouterr().out
    assert len(fit(model, data, epochs=1, batch_size=4, progress=False)) == 1
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("truth", [True, torch.tensor(True), torch.tensor([1.0]) > 0])
def test_a_true_claim_is_silent(truth, capsys):
    claim(truth, "Un est positif.")
    assert capsys.readouterr().out == ""


def test_a_false_claim_stops_a_full_run_only(monkeypatch, capsys):
    with pytest.raises(AssertionError, match=r"contredit le texte : Deux est négatif"):
        claim(torch.tensor(2) < 0, "Deux est négatif.")
    monkeypatch.setenv("VAEBOOK_QUICK", "1")
    claim(torch.tensor(2) < 0, "Deux est négatif.")
    assert capsys.readouterr().out == "Deux est négatif : non vérifié en mode rapide.\n"
