"""Phantom slides: H&E-like tissue with nuclei, mitoses in several phases and look-alikes, all at known places.

Not tissue: everything here is made up. What varies from patient to patient is what varies between laboratories: colours
and strengths of the stains, the section's thickness, the scanner's blur, noise and white balance.
"""

from __future__ import annotations

import json
import math
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from monai_staging.cohort.lock import exclusive
from monai_staging.errors import DataError, UsageError
from monai_staging.files import atomic_path, write_json_atomic
from monai_staging.histology import nuclei
from monai_staging.histology.nuclei import LOOKALIKES, MITOSES, Brush, Cell, Draw
from monai_staging.histology.slides import FILE_NAME, Point, Slide, SlideSet
from monai_staging.progress import progress
from monai_staging.transforms.stain import GLASS, REFERENCE

Array = npt.NDArray[np.float64]

DEFAULT_PATH = "data/phantom-mitosis"
SCANNERS = {"A": (0.22, 2.0), "B": (0.32, 3.0), "C": (0.42, 1.5)}
"""Blur (standard deviation, um) and noise (of 255) of each."""
_SETTINGS = "phantom.json"


@dataclass(frozen=True)
class HistologyConfig:
    """What phantom slides are like.

    Attributes:
        patients: slides; one each.
        size: pixels along each side.
        microns_per_pixel: of the slides.
        cells_per_mm2: resting cells.
        mitoses: a slide, on average; a patient's own rate is drawn around it.
        lookalikes: likewise.
        seed: of the set; the same settings give the same slides.

    Raises:
        UsageError: a number that is not above 0.
    """

    patients: int = 60
    size: int = 1024
    microns_per_pixel: float = 0.25
    cells_per_mm2: float = 3000.0
    mitoses: float = 6.0
    lookalikes: float = 9.0
    seed: int = 0

    def __post_init__(self) -> None:
        values = asdict(self)
        if wrong := [name for name, value in values.items() if name != "seed" and not value > 0] or self.seed < 0:
            raise UsageError(f"Phantom slides: numbers are above 0 (a seed at least 0), found {values} ({wrong})")


@dataclass(frozen=True, eq=False)
class PhantomSlide:
    """A slide and its truth.

    Attributes:
        pixels: (Y, X, 3) uint8.
        mitoses: (x, y) in pixels.
        lookalikes: likewise.
        scanner: a name of :data:`SCANNERS`.
    """

    pixels: npt.NDArray[np.uint8]
    mitoses: tuple[Point, ...]
    lookalikes: tuple[Point, ...]
    scanner: str


def draw_slide(config: HistologyConfig, patient: int) -> PhantomSlide:
    """Draws the slide of a patient, counted from 0."""
    # Philox: the same on every machine.
    draw = np.random.Generator(np.random.Philox(np.random.SeedSequence(config.seed, spawn_key=(patient,))))
    step = config.microns_per_pixel
    tissue, eosin = _tissue(draw, config.size, step)
    haematoxylin = np.zeros_like(eosin)
    places = _places(draw, tissue, config)
    area = config.size**2
    counts = [
        int(draw.poisson(mean * draw.gamma(2.0, 0.5) * area / 1024**2)) for mean in (config.mitoses, config.lookalikes)
    ]
    chosen = draw.permutation(len(places))
    kinds: list[Draw] = [_pick(draw, MITOSES) for _ in range(counts[0])]
    kinds += [_pick(draw, LOOKALIKES) for _ in range(counts[1])]
    kinds = kinds[: len(places)]
    brush = Brush(draw, step)
    truth: list[Point] = []
    for number, place in enumerate(chosen):
        x, y = places[place]
        kind = kinds[number] if number < len(kinds) else nuclei.lymphocyte if draw.random() < 0.12 else nuclei.resting
        _stamp(haematoxylin, eosin, kind(brush), x, y)
        if number < len(kinds):
            truth.append((float(x), float(y)))
    scanner = str(draw.choice(list(SCANNERS)))
    pixels = _scan(draw, haematoxylin, eosin, scanner, step)
    found = min(counts[0], len(truth))
    return PhantomSlide(pixels, tuple(truth[:found]), tuple(truth[found:]), scanner)


def default_slides(path: str | os.PathLike[str] = DEFAULT_PATH, config: HistologyConfig | None = None) -> Path:
    """Makes a set of phantom slides in ``path`` unless it is there; gives its folder.

    Killed at any moment, the same call makes the rest; several processes that call it at once wait for one.

    Raises:
        DataError: the folder has phantom slides of other settings.
    """
    import tifffile

    root, config = Path(path).resolve(), config or HistologyConfig()
    if _is_there(root, config):
        return root

    def say_waiting() -> None:
        print(f"{root}: another process is making these slides; waiting for it", file=sys.stderr, flush=True)

    with exclusive(root.parent / f".{root.name}.lock", busy="", on_wait=say_waiting):
        if _is_there(root, config):
            return root
        write_json_atomic(root / _SETTINGS, asdict(config))
        slides = []
        for number in progress(range(config.patients), description=f"making {root.name}", unit="slide"):
            name = f"{number:03}"
            made = draw_slide(config, number)
            image = root / "images" / f"{name}.tif"
            if not image.is_file():
                across = (round(1e6 / config.microns_per_pixel), 100)
                with atomic_path(image) as temporary:
                    tifffile.imwrite(
                        temporary,
                        made.pixels,
                        photometric="rgb",
                        resolution=(across, across),
                        resolutionunit="CENTIMETER",
                    )
            slides.append(
                Slide(name, name, image, config.microns_per_pixel, made.mitoses, made.lookalikes, made.scanner)
            )
        SlideSet("phantom", tuple(slides)).save(root)
    return root


def _is_there(root: Path, config: HistologyConfig) -> bool:
    path = root / _SETTINGS
    if path.is_file() and (found := json.loads(path.read_bytes())) != asdict(config):
        raise DataError(f"{root} has phantom slides of {found}; asked for {asdict(config)}: choose another folder")
    return (root / FILE_NAME).is_file()


def _tissue(draw: np.random.Generator, size: int, step: float) -> tuple[npt.NDArray[np.bool_], Array]:
    """Where tissue is, and how much eosin: fibres around cells, with gaps."""
    from scipy import ndimage

    def field(*sizes_um: float) -> Array:
        # Coarse noise is made coarse: filtering it at full size would cost as much as everything else.
        shrink = max(1, int(min(sizes_um) / step / 3))
        side = -(-size // shrink)
        noise = ndimage.gaussian_filter(draw.normal(size=(side, side)), [um / step / shrink for um in sizes_um])
        noise = ndimage.zoom(noise, size / side, order=1, grid_mode=True, mode="nearest")
        return noise / noise.std()

    turned = draw.random() < 0.5
    fibres = field(6.0, 1.2) if turned else field(1.2, 6.0)
    gaps = field(22.0, 22.0) > draw.uniform(1.1, 1.7)
    eosin = np.clip(0.62 + 0.13 * fibres + 0.08 * field(30.0, 30.0), 0.15, None)
    eosin[gaps] = 0.04
    return ~gaps, ndimage.gaussian_filter(eosin, 0.4 / step)


def _places(draw: np.random.Generator, tissue: npt.NDArray[np.bool_], config: HistologyConfig) -> npt.NDArray[np.int64]:
    """(N, 2) x and y of cells, in tissue, none upon another."""
    apart = 1000 / math.sqrt(config.cells_per_mm2) / config.microns_per_pixel
    grid = np.stack(np.meshgrid(*[np.arange(apart / 2, config.size, apart)] * 2), axis=-1).reshape(-1, 2)
    moved = np.rint(grid + draw.uniform(-0.33, 0.33, grid.shape) * apart).astype(np.int64)
    moved = moved[((moved >= 0) & (moved < config.size)).all(axis=1)]
    return moved[tissue[moved[:, 1], moved[:, 0]]]


def _pick(draw: np.random.Generator, kinds: dict[str, tuple[Draw, float]]) -> Draw:
    shares = np.array([share for _, share in kinds.values()])
    name = draw.choice(list(kinds), p=shares / shares.sum())
    return kinds[str(name)][0]


def _stamp(haematoxylin: Array, eosin: Array, cell: Cell, x: int, y: int) -> None:
    """Draws a cell around a pixel; what lies beyond the slide's edge is left out."""
    reach = len(cell.chromatin) // 2
    low = [max(0, reach - value) for value in (y, x)]
    high = [min(2 * reach + 1, side - value + reach) for side, value in zip(eosin.shape, (y, x), strict=True)]
    own = (slice(low[0], high[0]), slice(low[1], high[1]))
    there = (
        slice(y - reach + low[0], y - reach + high[0]),
        slice(x - reach + low[1], x - reach + high[1]),
    )
    body = cell.body[own]
    haematoxylin[there] = np.maximum(haematoxylin[there] * (1 - body), cell.chromatin[own])
    eosin[there] *= 1 + body * (cell.eosin - 1)


def _scan(
    draw: np.random.Generator, haematoxylin: Array, eosin: Array, scanner: str, step: float
) -> npt.NDArray[np.uint8]:
    """Stains, section and scanner: from concentrations to pixels."""
    from scipy import ndimage

    colours = REFERENCE.matrix[:, :2] + draw.normal(0, 0.035, (3, 2))
    colours = np.clip(colours, 0.03, None)
    colours /= np.linalg.norm(colours, axis=0)
    strengths = np.array([draw.uniform(0.65, 1.1), draw.uniform(0.55, 1.1)]) * draw.uniform(0.8, 1.25)
    density = np.tensordot(colours * strengths, np.stack([haematoxylin, eosin]), axes=1)
    blur, noise = SCANNERS[scanner]
    light = GLASS * np.exp(-density) * draw.uniform(0.96, 1.03, (3, 1, 1))
    light = ndimage.gaussian_filter(light, (0, blur / step, blur / step)) + draw.normal(0, noise, light.shape)
    return np.ascontiguousarray(np.clip(np.rint(light), 0, 255).astype(np.uint8).transpose(1, 2, 0))
