"""How unsure a network is: entropies in nats, and the part of them that more labels would take away."""

from __future__ import annotations

import numpy as np

from monai_staging.metrics.intervals import FloatArray


def entropy(probabilities: FloatArray) -> FloatArray:
    """Entropy of each distribution, nats: 0 for a certain one, log(C) where all of C classes are as likely.

    Args:
        probabilities: (..., C); each row sums to 1.

    Returns:
        (...).
    """
    chances = np.asarray(probabilities, dtype=np.float64)
    # 0 log 0 is 0.
    logs = np.log(chances, out=np.zeros_like(chances), where=chances > 0)
    return np.asarray(-(chances * logs).sum(axis=-1))


def mutual_information(passes: FloatArray) -> float:
    """What passes of a network with dropout disagree about: entropy of their mean less the mean of their entropies.

    It is high where each pass is sure, of different classes: there a label teaches something. Where every pass says the
    same it is 0, however unsure they are: that is noise of the scan, which no label takes away (BALD: Houlsby et al.,
    2011, arXiv:1112.5745; with dropout: Gal et al., 2017, arXiv:1703.02910).

    Args:
        passes: (P, C), one distribution a pass.

    Returns:
        Nats, 0 to log(C).
    """
    chances = np.asarray(passes, dtype=np.float64)
    return max(0.0, float(entropy(chances.mean(axis=0)) - entropy(chances).mean()))
