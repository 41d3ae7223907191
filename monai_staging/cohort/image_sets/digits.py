"""scikit-learn's handwritten digits: 1797 images of 8 x 8, inside the package, so that no file is needed."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from monai_staging.cohort.image_sets.base import ImageSet

TEST_SHARE = 0.2
# Of the draw of the test part: a constant, so that every training leaves the same images out.
_SEED = 0


def read_digits(folder: Path) -> tuple[ImageSet, ImageSet]:
    """Training and test part of the digits.

    The copy in scikit-learn (of the test part of UCI's "Optical Recognition of Handwritten Digits") has no parts of its
    own and does not name its writers: a fifth, drawn by class and always the same, is the test part here, and a writer
    may be on both sides.

    Args:
        folder: not looked at.
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    data = load_digits()
    # Ink is counted from 0 to 16.
    images = np.rint(data.images * (255 / 16)).astype(np.uint8)[:, None]
    labels = data.target.astype(np.int64)
    whole = ImageSet("digits", images, labels, tuple(str(name) for name in data.target_names))
    training, test = train_test_split(np.arange(len(whole)), test_size=TEST_SHARE, stratify=labels, random_state=_SEED)
    return whole.take(np.sort(training)), whole.take(np.sort(test))
