"""« Soyez l'encodeur » : on règle m, s et β sur l'exemple suivi, et tout se recalcule dans la page."""

from __future__ import annotations

import io
from typing import Any

import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes

from vaebook.explorer import Panel
from vaebook.figures import CLASSES, GREY, KL, RECONSTRUCTION, _axes, _styled
from vaebook.glue import french
from vaebook.networks import diagonal_gaussian
from vaebook.objectives import Terms
from vaebook.running_example import RunningExample


class EncoderPanel(Panel):
    """L'exemple suivi, dont le lecteur règle l'encodeur q = N(m, s²) et le poids β de la KL.

    La page refait la quadrature de `RunningExample`, sur la même grille : l'ELBO et l'écart
    KL(q‖p(z|x)), dont la somme est log p(x) ; la reconstruction, la KL, l'objectif
    reconstruction − β KL, et leurs dérivées en m et en s. Tout est en nats.

    Paramètres :
        example : le modèle.
        x : l'observation.
        m, s, beta : les réglages de départ.

    Lève :
        ValueError : le décodeur n'est pas celui de l'exemple, que la page recalcule ; s hors de [0,1 ; 1,5] ;
            m hors de [−3 ; 3] ; β hors de [0 ; 4].

    Source :
        Kingma et Welling (2014), équations 1 et 3 ; Higgins et al. (2017) pour β.
    """

    script = "encoder.js"

    def __init__(
        self,
        example: RunningExample,
        x: float = 1.5,
        *,
        m: float = 0.3,
        s: float = 0.5,
        beta: float = 1.0,
    ) -> None:
        if type(example).decoder is not RunningExample.decoder:
            raise ValueError("La page recalcule f(z) = 2 tanh(2z) : un autre décodeur n’y serait pas suivi.")
        if not (-3 <= m <= 3 and 0.1 <= s <= 1.5 and 0 <= beta <= 4):
            raise ValueError(
                f"m={m}, s={s}, beta={beta} : m va de −3 à 3, s de 0,1 à 1,5 et beta de 0 à 4, "
                "comme les curseurs."
            )
        self.example, self.x = example, float(x)
        self.m, self.s, self.beta = float(m), float(s), float(beta)

    def data(self) -> dict[str, Any]:
        """L'observation, le bruit et les réglages de départ.

        Renvoie :
            un dictionnaire prêt pour du JSON.
        """
        start = {"m": self.m, "s": self.s, "beta": self.beta}
        return {"sigma": self.example.sigma, "x": self.x, "start": start}

    def png(self) -> bytes:
        """Les trois densités et les deux barres, aux réglages de départ."""
        content = io.BytesIO()
        with plt.ioff():  # la figure n'est pas à montrer : la cellule affiche le panneau
            self._draw()
            plt.gcf().savefig(content, format="png", dpi=110, metadata={"Software": None})
            plt.close()
        return content.getvalue()

    def alternative(self) -> str:
        """La phrase qui décrit l'image, avec ses nombres."""
        bound, reconstruction, kl = map(float, self._terms())
        return (
            f"Pour x = {french(self.x, '.2f')} et q de moyenne {french(self.m, '.2f')} et d’écart-type "
            f"{french(self.s, '.2f')} : la loi a priori, la loi a posteriori et q ; puis deux barres. "
            f"ELBO {french(bound, '.2f')} et écart {french(self._gap(), '.2f')} font log p(x) = "
            f"{french(bound + self._gap(), '.2f')} ; reconstruction {french(reconstruction, '.2f')} moins "
            f"KL {french(kl, '.2f')} font l’ELBO."
        )

    def _observation(self) -> torch.Tensor:
        return torch.tensor([[self.x]], dtype=torch.float64)

    def _q(self) -> torch.distributions.Distribution:
        parameters = torch.tensor([[self.m], [self.s]], dtype=torch.float64)
        return diagonal_gaussian(parameters[0], parameters[1])

    def _terms(self) -> Terms:
        return Terms(*(term[0] for term in self.example.elbo(self._observation(), self._q())))

    def _gap(self) -> float:
        return float(self.example.posterior_kl(self._observation(), self._q())[0])

    def _draw(self) -> None:
        z = torch.linspace(-3, 3, 601, dtype=torch.float64)
        posterior = self.example.posterior_density(self._observation(), z)[0]
        laws = {"$p(z)$": self.example.prior, "$q(z)$": self._q()}
        densities = {name: law.log_prob(z.view(-1, 1)).exp() for name, law in laws.items()}
        bound, reconstruction, _ = map(float, self._terms())
        _figure(z, posterior, densities, bound, bound + self._gap(), reconstruction)


@_styled
def _figure(
    z: torch.Tensor,
    posterior: torch.Tensor,
    densities: dict[str, torch.Tensor],
    bound: float,
    log_px: float,
    reconstruction: float,
) -> None:
    top, bottom = _axes(2, 1, figsize=(7.0, 5.2), gridspec_kw={"height_ratios": [3, 2]})
    top.fill_between(z, posterior, color=GREY, alpha=0.35, linewidth=0, label="$p(z|x)$")
    for (name, density), colour, style in zip(
        densities.items(), (GREY, CLASSES[6]), ("--", "-"), strict=True
    ):
        top.plot(z, density, color=colour, linestyle=style, label=name)
    top.set(xlabel="z", ylabel="densité")
    top.legend(ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    left = min(bound, log_px) - 2
    _bar(bottom, 0, left, bound, CLASSES[6], "ELBO")
    _bar(bottom, 0, bound, log_px, CLASSES[3], "écart", hatch="///")
    _bar(bottom, 1, left, reconstruction, RECONSTRUCTION, "reconstruction")
    _bar(bottom, 1, bound, reconstruction, KL, "KL", hatch="\\\\\\")
    bottom.axvline(log_px, color=GREY, linewidth=1.6)
    bottom.text(log_px, -0.55, "log p(x)", ha="center", va="bottom")
    bottom.set(xlabel="nats", ylim=(1.5, -0.5), yticks=[], xlim=(left, max(log_px, reconstruction) + 2.2))


def _bar(ax: Axes, row: int, start: float, end: float, colour: str, name: str, hatch: str = "") -> None:
    if hatch:
        ax.barh(row, end - start, left=start, height=0.6, fill=False, edgecolor=colour, hatch=hatch)
        ax.text(ax.dataLim.x1 + 0.1, row, name, color=colour, va="center")
    else:
        ax.barh(row, end - start, left=start, height=0.6, color=colour, alpha=0.3)
        ax.text(start + 0.1, row, name, color=colour, va="center")
