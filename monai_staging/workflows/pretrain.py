"""What a backbone can be pretrained on: one class a task, one line in `_TASKS`.

A task says which network goes on the backbone, what of a batch of images goes in and what is to come out, and what is
measured of each image. Engines, data, checkpoints, tracking and report are the same for all.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from monai.utils.enums import CommonKeys as Keys
from torch import Tensor, nn
from torch.nn import functional

from monai_staging.cohort.image_sets import PUBLIC_SETS
from monai_staging.errors import UsageError
from monai_staging.losses.contrastive import NTXentLoss, partners
from monai_staging.networks.autoencoder import AutoencoderNetwork
from monai_staging.networks.backbones import Backbone
from monai_staging.networks.pooled import PooledNetwork
from monai_staging.networks.restoration import RestorationNetwork
from monai_staging.transforms.corrupt import Corrupt
from monai_staging.transforms.views import RandView

Rows = dict[str, Tensor]
"""Name of a measure to its values, one an image."""


class PretrainTask(ABC):
    """One kind of pretraining.

    Attributes:
        metric: of `measure`, what the best epoch is chosen by.
        better: 1 where more of it is better, -1 where less is.
        pictures: of a task whose output is an image, name to where in an engine's output it is; the report draws them.
        figure: its file.
        title: over it.
    """

    metric: ClassVar[str]
    better: ClassVar[int] = 1
    pictures: ClassVar[Mapping[str, str]] = {}
    figure: ClassVar[str] = ""
    title: ClassVar[str] = ""

    @abstractmethod
    def network(self, backbone: Backbone, spatial_dims: int, in_channels: int, classes: int) -> nn.Module:
        """The network that is trained; its ``backbone`` is what is kept."""

    @abstractmethod
    def batch(
        self, images: Tensor, labels: Tensor, training: bool, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        """What goes into the network, and what is to come out.

        Args:
            images: ``(B, in_channels, *spatial)`` in [0, 1].
            labels: ``(B,)``.
            training: whether a batch is trained on, or looked at.
            generator: of everything random, on the images' device.
        """

    @abstractmethod
    def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Scalar loss of a batch."""

    @abstractmethod
    def measure(self, prediction: Tensor, target: Tensor, inputs: Tensor) -> Rows:
        """What is known of each image of a batch, ``(B,)`` a name."""


@dataclass(frozen=True)
class Classification(PretrainTask):
    """Classes of a labelled set, by a linear layer on the backbone's mean.

    Attributes:
        view: of the training's images.
        smoothing: of the labels in the loss.
    """

    metric: ClassVar[str] = "accuracy"
    view: RandView = field(default_factory=RandView)
    smoothing: float = 0.0

    def network(self, backbone: Backbone, spatial_dims: int, in_channels: int, classes: int) -> nn.Module:
        """A linear classifier."""
        return PooledNetwork(backbone, classes)

    def batch(
        self, images: Tensor, labels: Tensor, training: bool, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        """Views of the images in training, the images themselves otherwise; their labels."""
        return (self.view(images, generator) if training else images), labels

    def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Cross entropy."""
        return functional.cross_entropy(prediction.float(), target, label_smoothing=self.smoothing)

    def measure(self, prediction: Tensor, target: Tensor, inputs: Tensor) -> Rows:
        """Whether the class is right, and its cross entropy."""
        right = (prediction.argmax(dim=1) == target).float()
        return {"accuracy": right, "cross_entropy": functional.cross_entropy(prediction, target, reduction="none")}


@dataclass(frozen=True)
class Restoration(PretrainTask):
    """Damaged images made whole again (Models Genesis, Zhou et al. 2019, arXiv:1908.06912), by mean squared error.

    Attributes:
        corrupt: the damage.
        features: channels of the decoder.
    """

    metric: ClassVar[str] = "mse"
    better: ClassVar[int] = -1
    pictures: ClassVar[Mapping[str, str]] = {"original": Keys.LABEL, "corrupted": Keys.IMAGE, "restored": Keys.PRED}
    figure: ClassVar[str] = "restoration.png"
    title: ClassVar[str] = "Restoration of damaged images"
    corrupt: Corrupt = field(default_factory=Corrupt)
    features: int = 32

    def network(self, backbone: Backbone, spatial_dims: int, in_channels: int, classes: int) -> nn.Module:
        """A decoder on the backbone's pyramid."""
        return RestorationNetwork(backbone, spatial_dims, in_channels, self.features)

    def batch(
        self, images: Tensor, labels: Tensor, training: bool, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        """Damaged images, and the images."""
        return self.corrupt(images, generator), images

    def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Mean squared error."""
        return functional.mse_loss(prediction.float(), target)

    def measure(self, prediction: Tensor, target: Tensor, inputs: Tensor) -> Rows:
        """Mean squared error of each image, restored and as damaged."""
        return {
            "mse": (prediction - target).flatten(1).square().mean(dim=1),
            "mse_corrupted": (inputs - target).flatten(1).square().mean(dim=1),
        }


@dataclass(frozen=True)
class Autoencoder(PretrainTask):
    """Images through a narrow code and out again, by mean squared error.

    Attributes:
        view: of the training's images, in and out.
        code: channels of the code, for each cell of the backbone's last map.
        features: channels of the decoder's coarsest level.
    """

    metric: ClassVar[str] = "mse"
    better: ClassVar[int] = -1
    pictures: ClassVar[Mapping[str, str]] = {"original": Keys.LABEL, "decoded": Keys.PRED}
    figure: ClassVar[str] = "decoded.png"
    title: ClassVar[str] = "Images out of their code"
    view: RandView = field(default_factory=RandView)
    code: int = 32
    features: int = 128

    def network(self, backbone: Backbone, spatial_dims: int, in_channels: int, classes: int) -> nn.Module:
        """A decoder on the backbone's last map."""
        return AutoencoderNetwork(backbone, spatial_dims, in_channels, self.code, self.features)

    def batch(
        self, images: Tensor, labels: Tensor, training: bool, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        """Views of the images in training, the images themselves otherwise; in, and to come out."""
        seen = self.view(images, generator) if training else images
        return seen, seen

    def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Mean squared error."""
        return functional.mse_loss(prediction.float(), target)

    def measure(self, prediction: Tensor, target: Tensor, inputs: Tensor) -> Rows:
        """Mean squared error of each image, and of what knows its mean only."""
        flat = target.flatten(2)
        return {
            "mse": (prediction - target).flatten(1).square().mean(dim=1),
            "mse_of_mean": (flat - flat.mean(dim=2, keepdim=True)).flatten(1).square().mean(dim=1),
        }


@dataclass(frozen=True)
class Contrastive(PretrainTask):
    """Two views of an image told from those of all others (SimCLR, Chen et al. 2020, arXiv:2002.05709).

    Attributes:
        view: of the images, in validation too.
        temperature: of the loss.
        features: length of the projection.
    """

    metric: ClassVar[str] = "nt_xent"
    better: ClassVar[int] = -1
    view: RandView = field(default_factory=RandView)
    temperature: float = 0.2
    features: int = 128

    def network(self, backbone: Backbone, spatial_dims: int, in_channels: int, classes: int) -> nn.Module:
        """A projection head with one hidden layer."""
        return PooledNetwork(backbone, self.features, hidden=backbone.out_channels)

    def batch(
        self, images: Tensor, labels: Tensor, training: bool, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        """First views, then second views; for each the place of its partner."""
        views = self.view(torch.cat([images, images]), generator)
        return views, partners(len(views), views.device)

    def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        """NT-Xent."""
        return NTXentLoss(self.temperature)(prediction)

    def measure(self, prediction: Tensor, target: Tensor, inputs: Tensor) -> Rows:
        """NT-Xent of each image, and whether of all other views its partner is the most alike: means of both views."""
        loss = NTXentLoss(self.temperature)
        found = (loss.similarity(prediction).argmax(dim=1) == target).float()
        return {"nt_xent": loss.each(prediction).view(2, -1).mean(dim=0), "top1": found.view(2, -1).mean(dim=0)}


_TASKS: dict[str, Callable[..., PretrainTask]] = {
    **dict.fromkeys(PUBLIC_SETS, Classification),
    "restoration": Restoration,
    "autoencoder": Autoencoder,
    "contrastive": Contrastive,
}
TASKS: tuple[str, ...] = tuple(_TASKS)
"""Names that `build_task` knows."""


def build_task(name: str, settings: Mapping[str, Mapping[str, Any]]) -> PretrainTask:
    """A task by its name.

    Args:
        name: one of `TASKS`.
        settings: name of a task to its settings; a mapping called ``view`` or ``corrupt`` in it is that of a `RandView`
            or a `Corrupt`.

    Raises:
        UsageError: a name that is not known, or settings that the task does not have.
    """
    if name not in _TASKS:
        raise UsageError(f"Task: one of {', '.join(TASKS)} is needed, found {name!r}")
    parts: dict[str, Callable[..., Any]] = {"view": RandView, "corrupt": Corrupt}
    given = settings.get(name) or {}
    try:
        return _TASKS[name](**{key: parts[key](**value) if key in parts else value for key, value in given.items()})
    except TypeError as error:
        raise UsageError(f"Task {name}: settings {dict(given)} are not its own ({error})") from error
