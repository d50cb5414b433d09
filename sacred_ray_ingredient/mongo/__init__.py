"""Everything about where a record goes: addresses, indexes, and the private server of a project.

Nothing here imports pymongo before a connection is wanted, so that `MongoAddress` can be
made, checked and pickled for nothing.
"""

from __future__ import annotations

from sacred_ray_ingredient.mongo.address import MongoAddress
from sacred_ray_ingredient.mongo.binary import find_mongod
from sacred_ray_ingredient.mongo.embedded import EmbeddedServer, ServerStatus
from sacred_ray_ingredient.mongo.folder import create_project_folder, project_folder
from sacred_ray_ingredient.mongo.indexes import ensure_indexes, register_omniboard_columns
from sacred_ray_ingredient.mongo.sources import (
    config_mistakes,
    from_config,
    from_environment,
    from_option,
)

__all__ = [
    "EmbeddedServer",
    "MongoAddress",
    "ServerStatus",
    "config_mistakes",
    "create_project_folder",
    "ensure_indexes",
    "find_mongod",
    "from_config",
    "from_environment",
    "from_option",
    "project_folder",
    "register_omniboard_columns",
]
