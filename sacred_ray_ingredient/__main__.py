"""``python -m sacred_ray_ingredient`` is the ``sacred-ray`` command."""

from __future__ import annotations

import sys

from sacred_ray_ingredient.cli import main

if __name__ == "__main__":
    sys.exit(main())
