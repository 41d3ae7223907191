"""``python -m monai_staging.cli`` is ``monai-staging``."""

import sys

from monai_staging.cli.main import main

sys.exit(main())
