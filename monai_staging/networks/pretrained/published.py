"""Published weights by name: where they are, how they are recognised, and for which networks they exist."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import urlsplit

from monai_staging.errors import UsageError


@dataclass(frozen=True)
class Published:
    """One published file of weights.

    Attributes:
        url: where it is downloaded from.
        sha256: the first digits of its SHA-256, or all; None where no publisher states it. The digest of the file that
            came first is then what later ones are held to.
        spatial_dims: of the backbones that it can be adapted to.
    """

    url: str
    sha256: str | None
    spatial_dims: tuple[int, ...] = (3,)

    @property
    def file(self) -> str:
        """The file's name."""
        return PurePosixPath(urlsplit(self.url).path).name


def _torchvision(name: str) -> Published:
    # The digits in torchvision's file names are the first eight of the SHA-256 (check_hash of torch.hub).
    digits = name.rpartition("-")[2]
    return Published(f"https://download.pytorch.org/models/{name}.pth", digits, (2, 3))


def _medicalnet(depth: int, sha256: str) -> Published:
    base = f"https://huggingface.co/TencentMedicalNet/MedicalNet-Resnet{depth}/resolve/main"
    return Published(f"{base}/resnet_{depth}_23dataset.pth", sha256)


PUBLISHED: dict[str, dict[str, Published]] = {
    # torchvision/models/{alexnet,vgg,resnet}.py, IMAGENET1K_V1
    "imagenet": {
        "alexnet": _torchvision("alexnet-owt-7be5be79"),
        "vgg11": _torchvision("vgg11-8a719046"),
        "vgg11_bn": _torchvision("vgg11_bn-6002323d"),
        "vgg13": _torchvision("vgg13-19584684"),
        "vgg13_bn": _torchvision("vgg13_bn-abd245e5"),
        "vgg16": _torchvision("vgg16-397923af"),
        "vgg16_bn": _torchvision("vgg16_bn-6c64b313"),
        "vgg19": _torchvision("vgg19-dcbb9e9d"),
        "vgg19_bn": _torchvision("vgg19_bn-c79401a0"),
        "resnet18": _torchvision("resnet18-f37072fd"),
        "resnet34": _torchvision("resnet34-b627a593"),
        "resnet50": _torchvision("resnet50-0676ba61"),
    },
    # Chen et al. 2019, arXiv:1904.00625; 23 data sets. Digests as Hugging Face states them for these files.
    "medicalnet": {
        "resnet10": _medicalnet(10, "afa8055f3e47f4a18239495d92a7abc587902c69c31c743de2b2784653b72605"),
        "resnet18": _medicalnet(18, "61224f9317fcce873366deb3703183e92cc47325b726b69691b33536244e10f4"),
        "resnet34": _medicalnet(34, "3ea7188e396774e4ef95b66e5e90a78273bb33f6e58d3d717bf24f5f1aaeaa28"),
        "resnet50": _medicalnet(50, "ff48a62219073fb977fd3f4ddfb8dc1367f0ec156c8d6f6c37e205bd683a246e"),
    },
    # Pai et al. 2025, arXiv:2501.09001. No digest is stated beside the file.
    "ct-fm": {
        "segresnet": Published(
            "https://huggingface.co/project-lighter/ct_fm_feature_extractor/resolve/main/model.safetensors", None
        ),
    },
    # Pai et al. 2024, doi:10.1038/s42256-024-00807-9. Zenodo states MD5 only.
    "fmcib": {
        "resnet50x2": Published("https://zenodo.org/records/10528450/files/model_weights.torch?download=1", None),
    },
}


def published(name: str, network: str | None, spatial_dims: int) -> Published:
    """The file behind a name for one network.

    Args:
        name: one of `PUBLISHED`.
        network: name of the backbone.
        spatial_dims: of the backbone.

    Raises:
        UsageError: there are no such weights for this network.
    """
    files = PUBLISHED[name]
    if network not in files:
        raise UsageError(f"Weights {name}: exist for {', '.join(files)}; found network {network!r}")
    file = files[network]
    if spatial_dims not in file.spatial_dims:
        raise UsageError(
            f"Weights {name}: are for spatial_dims {' or '.join(map(str, file.spatial_dims))}, found {spatial_dims}"
        )
    return file
