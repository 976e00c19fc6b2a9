"""Les fautes classiques des cours et des programmes sur les VAE : une liste, pour le livre et les tests.

Le chapitre « Le musée des bogues » montre ces fautes ; les tests plantent dans une copie du paquet les lignes
fautives de `Mutant`, et vérifient que chacune est vue. Les numéros sont ceux du chapitre.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from textwrap import fill
from typing import Any, NamedTuple, SupportsFloat

from vaebook.glue import french


class Mutant(NamedTuple):
    """Une ligne du paquet et ce que la faute en ferait.

    Attributs :
        name : ce qui est planté, unique dans la liste.
        file : le fichier, dans le dossier du paquet.
        before, after : le texte juste, qui n’y figure qu’une fois, et le texte fautif.
    """

    name: str
    file: str
    before: str
    after: str


class Mistake(NamedTuple):
    """Une faute classique.

    Attributs :
        number : son numéro dans le livre.
        key : son nom court ; les pièces du musée ont pour étiquette ``piege-<key>``.
        statement : la faute, telle qu’on la rencontre.
        caught_by : ce qui la révèle.
        identities : les numéros, dans `IDENTITIES`, des identités qui la révèlent.
        chapter : l’étiquette du chapitre qui donne la formule juste.
        mutants : ses plantations dans le paquet.
        prose_only : si elle ne se plante pas, pourquoi.
        pieces : le nombre de ses pièces au musée.
    """

    number: int
    key: str
    statement: str
    caught_by: str
    identities: tuple[int, ...]
    chapter: str
    mutants: tuple[Mutant, ...] = ()
    prose_only: str = ""
    pieces: int = 1


# Ce que satisfait un programme juste, en double précision.
IDENTITIES: Mapping[int, str] = {
    1: "KL en forme close = KL de torch = moyenne d’un Monte-Carlo ; nulle seulement si μ = 0 et σ = 1",
    2: "modèle linéaire gaussien : l’ELBO à la loi a posteriori exacte est log p(x)",
    3: "log p(x) − ELBO = KL(q‖p(z|x)), pour tout q",
    4: "ACP probabiliste au maximum de vraisemblance, dans ses axes : WᵀW est diagonale, l’écart est nul",
    5: "tourner W ne change pas log p(x) ; l’ELBO du meilleur q diagonal baisse, sauf si WᵀW reste diagonale",
    6: "E[L_k] croît avec k, sans dépasser log p(x)",
    7: "Σ w̃ log w = L_k + log k − H(w̃) ≥ L_k",
    8: "le gradient de Σ w̃ log w, w̃ détachés, est celui de L_k",
    9: "les gradients reparamétré et par score ont la même espérance",
    10: "KL moyenne = I(x ; z) + KL(q(z)‖p(z)), deux termes positifs, et I ≤ log N",
    11: "si p(z) se factorise, KL(q(z)‖p(z)) = corrélation totale + somme des KL par dimension",
    12: "à l’optimum, dD/dR = −β",
    13: "σ² et β donnent le même optimum que βσ² et 1",
    14: "somme des carrés = −log p(x|z) à σ² = ½, moins (D/2) log π",
    15: "le meilleur σ² commun est l’erreur quadratique moyenne",
    16: "Bernoulli continue : son intégrale vaut 1, sa moyenne n’est pas λ, sauf en ½",
    17: "∂ perte/∂β = KL",
    18: "bits gratuits : sous le seuil, la KL n’a pas de gradient",
    19: "changer y change les sorties de l’encodeur, du décodeur et de la loi a priori apprise",
    20: "aux mêmes tirages, l’ELBO ne dépend ni de la taille des lots, ni de leur ordre, ni du dernier lot",
    21: "enregistrer, relire, même graine : les mêmes bits",
    22: "les KL entre gaussiennes en forme close, toujours positives",
}

# Les erreurs du chapitre, dans l'ordre, et les mutants que les tests doivent prendre.
MISTAKES: tuple[Mistake, ...] = (
    Mistake(
        1,
        "signe-kl",
        "La KL d’un encodeur gaussien imprimée sans son signe moins, ou sommée sur les images au lieu des "
        "dimensions latentes.",
        "la positivité, et l’égalité avec la KL de torch ou un Monte-Carlo",
        (1, 22),
        "chap-elbo",
        (
            Mutant(
                "KL de signe opposé",
                "objectives.py",
                "kl = kl_divergence(q, model.prior)",
                "kl = -kl_divergence(q, model.prior)",
            ),
            Mutant(
                "KL dans l’autre sens",
                "objectives.py",
                "kl = kl_divergence(q, model.prior)",
                "kl = kl_divergence(model.prior, q)",
            ),
            Mutant(
                "KL sommée sur les images",
                "objectives.py",
                "kl = kl_divergence(q, model.prior)",
                "kl = kl_divergence(q, model.prior).sum(0, keepdim=True)",
            ),
        ),
    ),
    Mistake(
        2,
        "log-produit",
        "« log(p(x|z)) p(z) » écrit pour log(p(x|z) p(z)).",
        "la loi a posteriori exacte, à laquelle tout poids d’importance vaut p(x)",
        (2,),
        "chap-elbo",
        (
            Mutant(
                "log p(x|z) multiplié par p(z)",
                "objectives.py",
                "log_px, log_px + model.prior.log_prob(z) - q.log_prob(z)",
                "log_px, log_px * model.prior.log_prob(z).exp() - q.log_prob(z)",
            ),
        ),
    ),
    Mistake(
        3,
        "cible-de-q",
        "« q approche p(x, z) » : q approche la loi a posteriori p(z|x).",
        "l’écart à log p(x) : la divergence à p(x, z), qui n’est pas une densité en z, en diffère de log "
        "p(x)",
        (3,),
        "chap-elbo",
        (
            Mutant(
                "divergence à la loi jointe",
                "running_example.py",
                "self._log_joint(_GRID, x) - self.log_prob(x).unsqueeze(-1)",
                "self._log_joint(_GRID, x)",
            ),
        ),
    ),
    Mistake(
        4,
        "signe-devant-kl",
        "KL(q‖p(z|x)) écrite avec un moins devant KL(q‖p(z)) : l’ELBO y gagne la divergence au lieu de la "
        "payer.",
        "l’écart à log p(x) ; la « borne » peut dépasser log p(x)",
        (3,),
        "chap-elbo",
        (
            Mutant(
                "signe devant la KL",
                "objectives.py",
                "Terms(reconstruction - beta * kl, reconstruction, kl)",
                "Terms(reconstruction + beta * kl, reconstruction, kl)",
            ),
            Mutant(
                "signe devant la KL (évaluation)",
                "evaluation.py",
                "return self.reconstruction - self.kl",
                "return self.reconstruction + self.kl",
            ),
        ),
    ),
    Mistake(
        5,
        "carre-oublie",
        "La norme sans son carré : une vraisemblance gaussienne donne ‖x − x̂‖² ; l’erreur absolue vient "
        "de celle de Laplace.",
        "la log-densité gaussienne, dont la somme des carrés ne diffère que d’une constante",
        (14,),
        "chap-vae-gaussien",
        (
            Mutant(
                "carré oublié",
                "models.py",
                "(output - x) ** 2",
                "(output - x).abs()",
            ),
        ),
    ),
    Mistake(
        6,
        "une-variance",
        "« N(z ; μ, σ²I) » pour un encodeur qui a une variance par dimension : c’est diag(σ²). « tr(σ), log "
        "det σ » n’ont de sens que si σ est la covariance.",
        "la KL de torch, entre gaussiennes de covariance pleine",
        (1, 22),
        "chap-vae-gaussien",
        (
            Mutant(
                "une seule variance pour toutes les dimensions",
                "networks.py",
                "return diagonal_gaussian(mu, torch.exp(logvar / 2))",
                "return diagonal_gaussian(mu, torch.exp(logvar.mean(-1, keepdim=True) / 2).expand_as(mu))",
            ),
        ),
    ),
    Mistake(
        7,
        "somme-discrete",
        "La KL définie par une somme discrète, puis employée sur des densités.",
        "la KL en forme close, dont la somme s’éloigne quand la grille se resserre",
        (22,),
        "chap-elbo",
        (
            Mutant(
                "somme sans le pas de la grille",
                "running_example.py",
                "(log_q.exp() * (log_q - log_posterior)).sum(-1) * _STEP",
                "(log_q.exp() * (log_q - log_posterior)).sum(-1)",
            ),
        ),
    ),
    Mistake(
        8,
        "encodeur-note-p",
        "L’encodeur noté p(z|x), comme s’il était la loi a posteriori du modèle.",
        "la règle de Bayes, que q ne vérifie pas ; l’écart à log p(x)",
        (3,),
        "chap-elbo",
        (
            Mutant(
                "le meilleur q diagonal pris pour la loi a posteriori",
                "exact.py",
                "torch.linalg.cholesky(torch.linalg.inv(self._precision))",
                "self._precision.diagonal().rsqrt().diag()",
            ),
        ),
    ),
    Mistake(
        9,
        "agrege",
        "(1/n) Σ q(z|xᵢ) appelé p(z) : c’est l’a posteriori agrégé, qui n’est pas la loi a priori.",
        "la décomposition de la KL moyenne",
        (10,),
        "chap-evaluation",
        (
            Mutant(
                "l’a posteriori agrégé pris pour la loi a priori",
                "evaluation.py",
                "log_joint = _mixture_log_prob(q, z)",
                "log_joint = log_prior.sum(-1)",
            ),
        ),
    ),
    Mistake(
        10,
        "kl-garantie",
        "« Le terme de KL garantit la continuité et l’exhaustivité » : il les encourage ; l’effondrement et "
        "les trous existent.",
        "la mesure, sur chaque modèle, de l’a posteriori agrégé et des unités actives",
        (10,),
        "chap-beta-vae",
        prose_only="C’est une promesse sur ce que donne l’apprentissage : aucune ligne ne la porte.",
    ),
    Mistake(
        11,
        "borne-et-vraisemblance",
        "« Maximiser l’ELBO, c’est maximiser la vraisemblance » : c’en est une borne inférieure, serrée si "
        "la famille contient la loi a posteriori.",
        "l’écart à log p(x), qui change avec le modèle ; la borne pondérée, plus haute",
        (3, 5, 6),
        "chap-elbo",
        (
            Mutant(
                "l’ELBO rendu pour la log-vraisemblance",
                "evaluation.py",
                "return _per_image(model, data, samples, batch_size, seed).log_likelihood",
                "return _per_image(model, data, samples, batch_size, seed).elbo",
            ),
        ),
    ),
    Mistake(
        12,
        "autre-jeu",
        "Apprendre sur Fashion-MNIST, tester sur les chiffres de MNIST.",
        "l’empreinte des fichiers, que le chargement vérifie",
        (),
        "chap-vae-gaussien",
        (
            Mutant(
                "un jeu de données pris pour un autre",
                "data.py",
                "if digest == sha256:",
                "if digest:",
            ),
        ),
    ),
    Mistake(
        13,
        "sigma-cache",
        "La somme des carrés plus la KL présentée comme « l’ELBO » : c’est celui d’un décodeur gaussien de "
        "variance σ² = ½, au signe et à (D/2) log π près.",
        "la log-densité gaussienne à σ² = ½",
        (13, 14),
        "chap-vae-gaussien",
        (
            Mutant(
                "σ² caché : l’écart-type demandé est ignoré",
                "likelihoods.py",
                "Normal(self.center(raw), torch.full_like(raw, self.sigma), validate",
                "Normal(self.center(raw), 1.0, validate",
            ),
        ),
    ),
    Mistake(
        14,
        "poids",
        "Poids d’importance softmax(+perte), ou non détachés ; Σ w̃ log w donné pour la borne.",
        "L_k, calculée d’après sa définition, et son gradient ; log p(x), que Σ w̃ log w dépasse",
        (6, 7, 8),
        "chap-evaluation",
        (
            Mutant(
                "poids softmax(+perte)",
                "objectives.py",
                "torch.softmax(log_w.detach(), 0)",
                "torch.softmax(-log_w.detach(), 0)",
            ),
            Mutant(
                "Σ w̃ log w donné pour la borne",
                "objectives.py",
                "log_weights(model, x, samples=samples, gradient=gradient).logsumexp(0) - math.log(samples)",
                "(lambda w: (w.softmax(0) * w).sum(0))(log_weights(model, x, samples=samples, "
                "gradient=gradient))",
            ),
            Mutant(
                "q non détachée",
                "objectives.py",
                "diagonal_gaussian(factors.loc.detach(), factors.scale.detach())",
                "diagonal_gaussian(factors.loc, factors.scale)",
            ),
        ),
        pieces=2,
    ),
    Mistake(
        15,
        "entropie-croisee",
        "L’entropie croisée d’une image grise appelée log-vraisemblance : il y manque la constante de la "
        "Bernoulli continue.",
        "l’intégrale sur [0, 1], qui doit valoir 1",
        (16,),
        "chap-vae-gaussien",
        (
            Mutant(
                "entropie croisée appelée densité",
                "likelihoods.py",
                "support = constraints.boolean",
                "support = constraints.unit_interval",
            ),
            Mutant(
                "constante de normalisation oubliée",
                "likelihoods.py",
                "return self.logits * value - self._log_partition()",
                "return self.logits * value - F.softplus(self.logits)",
            ),
            Mutant(
                "moyenne prise pour le paramètre λ",
                "likelihoods.py",
                "return torch.where(near, series, torch.where(eta > 0, 1 - below_half, below_half))",
                "return self.probs",
            ),
        ),
    ),
    Mistake(
        16,
        "sigmoide-puis-bce",
        "La sigmoïde, puis l’entropie croisée : au logit 120, la perte plafonne à 100 et le gradient est "
        "nul.",
        "la perte calculée à partir du logit, log(1 + e^ℓ)",
        (),
        "chap-vae-gaussien",
        (
            Mutant(
                "sigmoïde puis entropie croisée",
                "likelihoods.py",
                "TorchBernoulli(logits=logits, ",
                "TorchBernoulli(probs=logits.sigmoid(), ",
            ),
        ),
    ),
    Mistake(
        17,
        "echelles",
        "β ignoré par la perte ; écart-type, variance et log-variance confondus ; moyenne au lieu d’une "
        "somme, qui multiplie β par D.",
        "la dérivée de la perte en β ; la KL de torch ; la log-densité sommée sur les pixels",
        (1, 13, 17),
        "chap-vae-gaussien",
        (
            Mutant(
                "β ignoré",
                "objectives.py",
                "Terms(reconstruction - beta * kl, reconstruction, kl)",
                "Terms(reconstruction - kl, reconstruction, kl)",
            ),
            Mutant(
                "variance prise pour l’écart-type (encodeur)",
                "networks.py",
                "return diagonal_gaussian(mu, torch.exp(logvar / 2))",
                "return diagonal_gaussian(mu, torch.exp(logvar))",
            ),
            Mutant(
                "variance prise pour l’écart-type (décodeur)",
                "likelihoods.py",
                "Normal(self.center(raw), torch.full_like(raw, self.sigma), validate",
                "Normal(self.center(raw), self.sigma**2, validate",
            ),
            Mutant(
                "somme oubliée sur une dimension de l’image",
                "likelihoods.py",
                "return Independent(pixel, IMAGE_DIMS, validate_args=False)",
                "return Independent(pixel, IMAGE_DIMS - 1, validate_args=False)",
            ),
            Mutant(
                "montée de β non transmise à l’objectif",
                "training.py",
                "options = {} if beta is None else",
                "options = {} if True else",
            ),
        ),
        pieces=3,
    ),
    Mistake(
        18,
        "etiquette-oubliee",
        "Un VAE conditionnel qui documente p(x|z, y) et ne décode que z ; un encodeur qui ne voit pas "
        "l’étiquette.",
        "changer l’étiquette, et regarder ce qui change",
        (19,),
        "chap-cvae",
        (
            Mutant(
                "le décodeur ne voit pas l’étiquette",
                "models.py",
                "self.model.decoder(z, self.labels)",
                "self.model.decoder(z, torch.zeros_like(self.labels))",
            ),
            Mutant(
                "l’encodeur ne voit pas l’étiquette",
                "models.py",
                "context = self.labels if self.model.conditional_encoder else None",
                "context = torch.zeros_like(self.labels) if self.model.conditional_encoder else None",
            ),
            Mutant(
                "la loi a priori apprise ne voit pas l’étiquette",
                "models.py",
                "self.model.prior_head(self.labels)",
                "self.model.prior_head(torch.zeros_like(self.labels))",
            ),
        ),
    ),
    Mistake(
        19,
        "evaluation",
        "Évaluer en z = μ et l’appeler ELBO ; moyenner des moyennes de lots de tailles inégales ; rendre le "
        "résultat dans la boucle.",
        "le cas calculé à la main ; l’invariance à la taille et à l’ordre des lots",
        (2, 20),
        "chap-evaluation",
        (
            Mutant(
                "moyenne des moyennes malgré un lot plus court",
                "training.py",
                "return (sizes * measured).sum(0, keepdim=True) / images",
                "return measured.mean(0, keepdim=True)",
            ),
            Mutant(
                "retour dans la boucle",
                "training.py",
                "        bar.update(len(chosen))\n    return",
                "        bar.update(len(chosen))\n        return",
            ),
            Mutant(
                "z = μ appelé ELBO",
                "objectives.py",
                "return q.rsample(shape)",
                "return q.mean.expand(samples, *q.mean.shape)",
            ),
            Mutant(
                "z = μ appelé ELBO (évaluation)",
                "evaluation.py",
                "return q.mean + q.stddev * noise",
                "return q.mean + 0 * noise",
            ),
        ),
        pieces=2,
    ),
    Mistake(
        20,
        "choix-sur-test",
        "Choisir l’époque, ou le modèle, sur l’ensemble de test.",
        "un second ensemble de test, que rien n’a vu : le choix n’y vaut plus sa promesse",
        (),
        "chap-evaluation",
        (
            Mutant(
                "meilleur modèle choisi sur l’apprentissage",
                "training.py",
                "self.validation[:, 0].argmax()",
                "self.epochs[:, 0].argmax()",
            ),
            Mutant(
                "images de validation aussi apprises",
                "training.py",
                "kept = order[len(held_out) :]",
                "kept = order[: len(order) - len(held_out)]",
            ),
        ),
    ),
    Mistake(
        21,
        "inversible",
        "« F doit être dérivable et inversible » dans la reparamétrisation : l’inversibilité est inutile, la "
        "dérivabilité ne l’est pas.",
        "l’espérance des gradients, celle du score",
        (9,),
        "chap-reparametrisation",
        (
            Mutant(
                "l’échantillon de z n’a plus de gradient",
                "objectives.py",
                "return q.rsample(shape)",
                "return q.sample(shape)",
            ),
        ),
    ),
    Mistake(
        22,
        "densites",
        "Classer des modèles de densités différentes, ou une densité contre ce qui n’en est pas ; σ libre "
        "par pixel là où des pixels sont toujours nuls : la vraisemblance n’est pas bornée.",
        "la mesure par rapport à laquelle chacune s’intègre à 1 ; un σ minoré, ou la déquantification",
        (15, 16),
        "chap-vae-gaussien",
        (
            Mutant(
                "plancher de σ oublié",
                "likelihoods.py",
                "self.floor + F.softplus(raw_sigma)",
                "F.softplus(raw_sigma)",
            ),
            Mutant(
                "une vraisemblance discrète appelée densité",
                "likelihoods.py",
                "return not self.support.is_discrete",
                "return True",
            ),
        ),
        pieces=2,
    ),
    Mistake(
        23,
        "pickle",
        "Enregistrer le modèle entier par pickle : le relire exécute ce que le fichier demande.",
        "le refus de torch, depuis la version 2.6 ; des poids et du JSON se relisent au bit près",
        (21,),
        "chap-vae-gaussien",
        (
            Mutant(
                "point de reprise dépicklé",
                "checkpoints.py",
                "with safe_open(path",
                '__import__("pickle").load(path.open("rb"))\n        with safe_open(path',
            ),
        ),
    ),
)


def confront(
    identity: str,
    left: SupportsFloat,
    *,
    wrong: SupportsFloat,
    right: SupportsFloat,
    tolerance: float = 1e-8,
) -> None:
    """Met face à face les deux membres d’une identité, le second avec la faute, puis sans.

    Paramètres :
        identity : l’identité, écrite.
        left : son premier membre, un nombre.
        wrong, right : le second membre, tel que le calculent le programme fautif, puis le programme juste.
        tolerance : l’écart admis, relatif au premier membre s’il dépasse 1.

    Lève :
        AssertionError : le programme juste ne vérifie pas l’identité, ou le fautif la vérifie.
    """
    first, *seconds = (float(_detached(value)) for value in (left, wrong, right))
    gaps = [abs(second - first) for second in seconds]
    print(identity)
    print(f"  premier membre  {french(first, '15.6f')}")
    for title, value, gap in zip(("avec la faute", "sans la faute"), seconds, gaps, strict=True):
        print(f"  {title:14s}  {french(value, '15.6f')}   écart {french(gap, '.1e')}")
    admitted = tolerance * max(1.0, abs(first))
    assert gaps[1] <= admitted < gaps[0], f"L’identité ne sépare pas le juste du faux : {identity}"


def _detached(value: Any) -> SupportsFloat:
    """La valeur d’un tenseur sans son gradient, sans importer torch."""
    return value.detach() if hasattr(value, "detach") else value


def _paragraphs(names: Sequence[str], number: str, statement: str, *others: str) -> str:
    """Une faute en texte, là où il n’y a pas de tableau : dans le PDF et les terminaux."""
    lines = [f"{number:>2}. {statement}"]
    lines += [f"    {name}\u00a0: {text}" for name, text in zip(names, others, strict=True)]
    return "\n".join(fill(line, 88, subsequent_indent="    ") for line in lines)


def show_table() -> None:
    """Affiche la liste : chaque faute, ce qui la révèle, et ses pièces au musée."""
    from IPython.display import display

    header = ("n°", "la faute", "ce qui la révèle", "identités", "pièces")
    rows = [
        (
            str(mistake.number),
            mistake.statement,
            mistake.caught_by,
            " ; ".join(IDENTITIES[identity] for identity in mistake.identities) or "–",
            mistake.key,
        )
        for mistake in MISTAKES
    ]
    plain = "\n\n".join(_paragraphs(header[2:], *cells) for cells in rows)
    lines = ["".join(f"<th>{escape(cell)}</th>" for cell in header)]
    for mistake, cells in zip(MISTAKES, rows, strict=True):
        suffixes = ("", *(f"-{number}" for number in range(2, mistake.pieces + 1)))
        links = (f'<a href="#piege-{mistake.key}{end}">{mistake.key}{end}</a>' for end in suffixes)
        lines.append(
            "".join(f"<td>{escape(cell)}</td>" for cell in cells[:-1]) + f"<td>{', '.join(links)}</td>"
        )
    head, *body = (f"<tr>{line}</tr>" for line in lines)
    rows_of_body = "\n".join(body)
    table = f'<table class="table"><thead>{head}</thead><tbody>\n{rows_of_body}\n</tbody></table>'
    display({"text/html": table, "text/plain": plain}, raw=True)
