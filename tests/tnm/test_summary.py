from __future__ import annotations

from monai_staging.tnm.columns import Columns
from monai_staging.tnm.reading import Row
from monai_staging.tnm.summary import Summary
from monai_staging.tnm.table import Rules, stage_rows


def test_summary_counts_and_lists_disagreements() -> None:
    summary = Summary()
    cells = ("3,1,0,IIIA", "3,1,0,IIIB", "5,0,0,I", "3,1,0,IIIA", "X,0,3,Q", "3,1,0,IV")
    rows = iter([Row(line, text.split(",")) for line, text in enumerate(cells, 2)])
    for row, staged in stage_rows(rows, Rules(Columns(0, 1, 2, None, None, 3, None))):
        summary.add(row.line, staged)
    assert summary.to_json() == {
        "rows": 6,
        "agree": 2,
        "disagree": 2,
        "undetermined": 2,
        "disagreements": [
            {
                **{"row": row, "line": row + 1, "t": "3", "n": "1", "m": "0", "edition": "8", "prefix": "c"},
                **{"groups": ["IIIA"], "recorded": recorded, "recorded_groups": whole},
            }
            for row, recorded, whole in ((2, "IIIB", ["IIIB"]), (6, "IV", ["IVA", "IVB"]))
        ],
    }
    assert summary.unknown == {"t": 1}
    assert summary.stray == {("t", "5"): 1, ("m", "3"): 1, ("recorded", "Q"): 1}
    assert summary.notes["T stray"] == 1
    assert summary.groups[("IIIA",)] == 4
