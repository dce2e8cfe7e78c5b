"""``python -m azfilesfs``."""

import sys

from azfilesfs.cli.main import main

sys.exit(main())
