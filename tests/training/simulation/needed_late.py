"""Stands for a simulator: environments of ``fake_vector_env`` import it when they are made."""

import os

IMPORTED_BY = os.getpid()
