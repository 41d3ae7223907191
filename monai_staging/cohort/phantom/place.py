"""Finding room for lesions in the anatomy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from monai_staging.cohort.phantom.anatomy import Anatomy
from monai_staging.cohort.phantom.grid import Array
from monai_staging.cohort.phantom.shapes import Shape, sphere_directions
from monai_staging.cohort.phantom.trees import ARTERY_GATES, LOBE_NAMES, lobe_index

Vector = NDArray[np.float64]
PROBE = sphere_directions(120)


@dataclass(frozen=True)
class Placed:
    """One lesion that was placed.

    ``centre`` is in the patient's frame in mm (the anatomical frame times the body's scale). ``hu`` is the attenuation
    of the lesion, ``core`` a second shape inside it (its centre relative to the lesion's and its attenuation): the
    solid part of a part-solid lesion, or necrosis. ``spiculated`` asks for strands around it, ``tag`` (a direction) for
    strands to the pleura.
    """

    label: int
    kind: str
    site: str
    shape: Shape
    centre: Vector
    hu: float
    diameter_mm: float
    solid_diameter_mm: float
    core: tuple[Shape, Vector, float] | None = None
    spiculated: bool = False
    tag: Vector | None = None


@dataclass
class Placer:
    """Finds positions; remembers what was placed so that lesions do not touch each other."""

    anatomy: Anatomy
    rng: np.random.Generator
    taken: list[tuple[Vector, float]] = field(default_factory=list)
    _lung_points: Array | None = None

    @property
    def lung_points(self) -> Array:
        """Centres (N, 3) of the grid's voxels inside the lungs, anatomical frame."""
        if self._lung_points is None:
            grid = self.anatomy.grid
            z, y, x = np.nonzero(self.anatomy.lung < 0)
            self._lung_points = (np.stack([x, y, z], axis=1) * grid.step_mm + np.asarray(grid.low)).astype(np.float32)
        return self._lung_points

    def lobe_points(self, lobes: Sequence[str]) -> Array:
        """The lung's points in the named lobes, in random order."""
        points = self.lung_points
        wanted = [LOBE_NAMES.index(name) for name in lobes]
        points = points[np.isin(lobe_index(points), wanted)]
        return self.rng.permutation(points)

    def depth(self, field_mm: Array, points: NDArray[np.floating]) -> Array:
        """Distance in this patient's mm from points of the patient's frame to the surface of a field."""
        scale = self.anatomy.build.scale
        return self.anatomy.grid.sample(field_mm, np.asarray(points) / scale) * np.float32(scale)

    def lobe_of(self, centre: Vector) -> str:
        """The lobe at a place of the patient's frame."""
        return LOBE_NAMES[int(lobe_index((centre / self.anatomy.build.scale)[None].astype(np.float32))[0])]

    def outwards(self, field_mm: Array, centre: Vector) -> Vector:
        """The unit vector along which a field grows at a place."""
        step = np.eye(3) * 4.0
        values = self.depth(field_mm, np.concatenate([centre + step, centre - step]))
        gradient = (values[:3] - values[3:]).astype(np.float64)
        return gradient / max(float(np.linalg.norm(gradient)), 1e-6)

    def free(self, centre: Vector, radius: float) -> bool:
        """Whether a lesion here keeps clear of the others."""
        return all(np.linalg.norm(centre - other) > radius + r + 4.0 for other, r in self.taken)

    def take(self, centre: Vector, radius: float) -> None:
        """Marks the place as taken."""
        self.taken.append((centre, radius))

    def best(
        self,
        points: NDArray[np.floating],
        cost: Callable[[Vector], float],
        radius: float,
        tries: int = 40,
        enough: float = 0.0,
    ) -> Vector:
        """The first of the points (patient's frame) whose cost is at most ``enough``, or the cheapest of ``tries``."""
        cheapest, found = np.inf, None
        for k, point in enumerate(np.asarray(points, dtype=np.float64)):
            if k >= tries * 4 or (k >= tries and found is not None):
                break
            if not self.free(point, radius):
                continue
            value = cost(point)
            if value < cheapest:
                cheapest, found = value, point
            if value <= enough:
                break
        if found is None:  # Everything is taken: the first point, touching another lesion.
            found = np.asarray(points[0], dtype=np.float64)
        self.take(found, radius)
        return found

    def in_lung(
        self, shape: Shape, lobes: Sequence[str], clearance_mm: float, near: Vector | None = None,
        rank: Callable[[NDArray[np.floating]], NDArray[np.floating]] | None = None,
    ) -> Vector:  # fmt: skip
        """A position wholly in the lobes' lung, ``clearance_mm`` from its surface where there is room for that.

        Near ``near``, or at the first that will do in the order of the points' ``rank``.
        """
        surface = PROBE * shape.radius(PROBE)[:, None]
        reach = float(np.abs(surface).max())
        thin = float(np.linalg.norm(surface, axis=1).min())
        points = self.lobe_points(lobes) * self.anatomy.build.scale
        inner = self.depth(self.anatomy.lung, points)
        limit = -(thin + clearance_mm)
        deep = points[inner < limit]
        if len(deep) < 60:
            deep = points[np.argsort(inner)[: max(60, len(points) // 50)]]
            deep = self.rng.permutation(deep)
        if near is not None:
            distance = np.linalg.norm(deep - near, axis=1)
            deep = deep[np.argsort(np.where(distance > 12.0, distance, 1e3) + self.rng.uniform(0, 25, len(deep)))]

        if rank is not None:
            deep = deep[np.argsort(rank(deep), kind="stable")]

        def cost(point: Vector) -> float:
            return float(np.maximum(self.depth(self.anatomy.lung, point + surface) + clearance_mm, 0).max())

        return self.best(deep, cost, reach, enough=0.0)

    def peripheral(self, depth_mm: float) -> Callable[[NDArray[np.floating]], NDArray[np.floating]]:
        """A rank for `in_lung` that tries places ``depth_mm`` under the chest wall first, or up to 12 mm deeper."""

        def rank(points: NDArray[np.floating]) -> NDArray[np.floating]:
            wanted = depth_mm + self.rng.uniform(0.0, 12.0, len(points))
            return np.abs(-self.depth(self.anatomy.chest.cage, points) - wanted)

        return rank

    def at_hilum(self, shape: Shape, lobe: str) -> Vector:
        """A position around the lobe's hilum, which enters the mediastinum as little as may be."""
        anatomy = self.anatomy
        surface = PROBE * shape.radius(PROBE)[:, None]
        radius = float(np.linalg.norm(surface, axis=1).mean())
        points = self.lobe_points([lobe]) * anatomy.build.scale
        gate = np.array(ARTERY_GATES[lobe][1]) * anatomy.build.scale
        away = np.abs(np.linalg.norm(points - gate, axis=1) - 0.7 * radius)
        points = points[np.argsort(away + self.rng.uniform(0.0, 3.0, len(points)))]

        def cost(point: Vector) -> float:
            inside = -self.depth(anatomy.mediastinum, point + surface)
            wall = self.depth(anatomy.chest.cage, point + surface)
            return float(np.maximum(inside, 0).mean() + np.maximum(wall, 0).max())

        return self.best(points, cost, float(np.abs(surface).max()), enough=0.3)

    def at_surface(
        self, shape: Shape, lobes: Sequence[str], of: Array, depth_mm: float, avoid: Array | None = None,
        spare: Array | None = None,
    ) -> Vector:  # fmt: skip
        """A position in the lobes whose centre lies ``depth_mm`` inside the lung's border with the structure ``of``.

        Args:
            shape: what is placed.
            lobes: where.
            of: distance field of the neighbour (chest wall or mediastinum).
            depth_mm: distance of the centre from the neighbour; negative is inside the neighbour.
            avoid: distance field of what no part of the shape may enter.
            spare: distance field of what the shape should enter as little as possible.
        """
        points = self.lobe_points(lobes) * self.anatomy.build.scale
        away = self.depth(of, points)
        order = np.argsort(np.abs(away - depth_mm), kind="stable")[: max(80, len(points) // 40)]
        points = self.rng.permutation(points[order])
        surface = PROBE * shape.radius(PROBE)[:, None]

        def cost(point: Vector) -> float:
            value = abs(float(self.depth(of, point[None])[0]) - depth_mm) / 4.0
            if avoid is not None:
                value += float(np.maximum(-self.depth(avoid, point + surface), 0).max())
            if spare is not None:
                value += 0.4 * float(np.maximum(-self.depth(spare, point + 0.8 * surface), 0).mean())
            return value

        return self.best(points, cost, float(np.abs(surface).max()), enough=0.3)
