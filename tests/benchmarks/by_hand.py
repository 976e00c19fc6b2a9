"""Le même pas, gradients écrits à la main : ni autograd, ni distributions.

Il ne vaut que pour un VAE à une couche cachée et à vraisemblance de Bernoulli. Il dit ce que coûte de pouvoir
lire la théorie dans `fit`, et jusqu'où PyTorch irait sans elle.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from vaebook.models import VAE


class ByHand:
    """Un VAE à une couche cachée, son Adam fusionné, et un pas sans autograd.

    Paramètres :
        model : `VAE(d, (h,))`, modifié par les pas.
        lr : le pas d'apprentissage.
    """

    def __init__(self, model: VAE, lr: float = 1e-3) -> None:
        layers = (
            model.encoder.dense[0][0],
            model.head.linear,
            model.decoder.layers[0][0],
            model.decoder.layers[1],
        )
        self.parameters = [weight for layer in layers for weight in (layer.weight, layer.bias)]
        self.optimizer = torch.optim.Adam(self.parameters, lr=lr, fused=True)

    @torch.no_grad()
    def gradients(self, x: Tensor, noise: Tensor) -> tuple[list[Tensor], Tensor]:
        """Les gradients de −ELBO moyenne, et les ELBO du lot.

        Paramètres :
            x : (B, 784), dans [0, 1].
            noise : (B, d), tirages de N(0, I).

        Renvoie :
            huit gradients, dans l'ordre de `parameters`, et (B,) en nats.
        """
        w1, b1, w2, b2, w3, b3, w4, b4 = (weight.data for weight in self.parameters)
        count = len(x)
        h = torch.addmm(b1, x, w1.T).relu_()
        mu, logvar = torch.addmm(b2, h, w2.T).chunk(2, -1)
        sigma = (logvar / 2).exp_()
        z = torch.addcmul(mu, sigma, noise)
        g = torch.addmm(b3, z, w3.T).relu_()
        logits = torch.addmm(b4, g, w4.T)
        value = -F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(-1)
        value -= (mu.square() + sigma.square() - 1 - logvar).sum(-1).mul_(0.5)

        d_logits = logits.sigmoid_().sub_(x).div_(count)
        d_g = (d_logits @ w4).mul_(g > 0)
        d_z = d_g @ w3
        d_mu = d_z + mu / count
        d_logvar = torch.addcmul((sigma.square() - 1).div_(2 * count), d_z, noise * sigma, value=0.5)
        d_head = torch.cat([d_mu, d_logvar], -1)
        d_h = (d_head @ w2).mul_(h > 0)
        found = []
        for gradient, before in ((d_h, x), (d_head, h), (d_g, z), (d_logits, g)):
            found += [gradient.T @ before, gradient.sum(0)]
        return found, value

    def step(self, x: Tensor) -> Tensor:
        """Un pas d'Adam sur un lot (B, 784). Renvoie l'ELBO moyenne avant le pas."""
        noise = torch.randn(len(x), len(self.parameters[4].T))
        found, value = self.gradients(x, noise)
        for weight, gradient in zip(self.parameters, found, strict=True):
            weight.grad = gradient
        self.optimizer.step()
        return value.mean()


def trained_by_hand(model: VAE, images: Tensor, batch_size: int) -> int:
    """Une époque, dans un ordre tiré au hasard ; renvoie le nombre de pas."""
    hand, flat = ByHand(model), images.flatten(1)
    values = [
        hand.step(flat.index_select(0, chosen)) for chosen in torch.randperm(len(flat)).split(batch_size)
    ]
    if not torch.stack(values).isfinite().all():
        raise FloatingPointError("L'ELBO n'est plus un nombre fini.")
    return len(values)
