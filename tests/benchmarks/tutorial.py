"""La boucle des tutoriels, écrite comme on la lit partout : le point de comparaison, à ne pas imiter.

Chaque image redevient une `PIL.Image`, puis un tenseur ; un `DataLoader` les assemble une à une ; deux
têtes ; une sigmoïde puis l'entropie croisée ; `loss.item()` à chaque pas ; l'Adam par défaut.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from vaebook._torchvision import torchvision
from vaebook.models import VAE


class Pictures(Dataset):
    """Ce que fait `torchvision.datasets.FashionMNIST` d'une image, sans ses fichiers."""

    def __init__(self, images: Tensor) -> None:
        self.data = (images.squeeze(1) * 255).round().to(torch.uint8)
        self.transform = torchvision.transforms.ToTensor()

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.data[index].numpy())), 0


class TutorialVAE(nn.Module):
    """Le VAE 784-400-20 des tutoriels."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc21, self.fc22 = nn.Linear(784, 400), nn.Linear(400, 20), nn.Linear(400, 20)
        self.fc3, self.fc4 = nn.Linear(20, 400), nn.Linear(400, 784)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        h = F.relu(self.fc1(x.view(-1, 784)))
        mu, logvar = self.fc21(h), self.fc22(h)
        z = mu + torch.exp(0.5 * logvar) * torch.randn_like(logvar)
        return torch.sigmoid(self.fc4(F.relu(self.fc3(z)))), mu, logvar

    def in_the_book(self) -> VAE:
        """Le même modèle dans une classe du livre, pour le mesurer."""
        model = VAE(20, (400,))
        for name, layers in (
            ("encoder.dense.0.0", (self.fc1,)),
            ("head.linear", (self.fc21, self.fc22)),
            ("decoder.layers.0.0", (self.fc3,)),
            ("decoder.layers.1", (self.fc4,)),
        ):
            target = model.get_submodule(name)
            target.weight.data = torch.cat([layer.weight.detach() for layer in layers])
            target.bias.data = torch.cat([layer.bias.detach() for layer in layers])
        return model.eval()


def loss_function(x_hat: Tensor, x: Tensor, mu: Tensor, logvar: Tensor) -> Tensor:
    bce = F.binary_cross_entropy(x_hat, x.view(-1, 784), reduction="sum")
    return bce - 0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp())


def steps(model: TutorialVAE, images: Tensor, seed: int = 0) -> Iterator[float]:
    """L'entraînement, époque après époque ; rend la perte de chaque pas."""
    torch.manual_seed(seed)
    loader = DataLoader(Pictures(images), batch_size=128, shuffle=True)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    model.train()
    while True:
        for data, _ in loader:
            optimizer.zero_grad()
            x_hat, mu, logvar = model(data)
            # L'usage est de sommer la perte du lot ; ici sa moyenne, pour le même pas que `fit`.
            loss = loss_function(x_hat, data, mu, logvar) / len(data)
            loss.backward()
            optimizer.step()
            yield loss.item()
