"""Where the tracking store is, as text without passwords, and as the addresses that MLflow keeps within a database.

This module does not know MLflow.
"""

import os
import re
import sqlite3
from contextlib import closing
from pathlib import Path

from stages.lib.store import files

LOCKED_S = 10.0  # for so long, a database that another process writes to is waited for
ADDRESSES = {
    "experiments": ["artifact_location"], "runs": ["artifact_uri"], "logged_models": ["artifact_location"],
    "model_versions": ["source", "storage_location"],
}  # fmt: skip
"""Where MLflow keeps whole addresses of artifacts: columns of its tables."""


def address() -> str:
    """MLFLOW_TRACKING_URI, or a SQLite file beside the original repository."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{database()}"


def database() -> Path:
    """The SQLite file beside the original repository."""
    return files.state_folder() / "mlflow.db"


def artifacts() -> str:
    """The address of the folder of artifacts beside it."""
    return (files.state_folder() / "mlartifacts").as_uri()


def settle() -> None:
    """Let the addresses of artifacts lead beside the database: MLflow keeps whole paths, which lead elsewhere after a move or a copy."""
    if not database().is_file():
        return
    with closing(sqlite3.connect(database())) as connection, connection:
        there = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        columns = [(table, column) for table, of_table in ADDRESSES.items() if table in there for column in of_table]
        ours = "SELECT DISTINCT artifact_location FROM experiments WHERE artifact_location LIKE '%/mlartifacts'"
        for (old,) in connection.execute(ours).fetchall() if "experiments" in there else []:
            for table, column in columns if old != artifacts() else []:
                moved = f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE {column} = ? OR substr({column}, 1, ?) = ?"
                connection.execute(moved, (artifacts(), len(old) + 1, old, len(old) + 1, f"{old}/"))


def masked(text: object) -> str:
    """The text on one line, without the passwords of addresses in it."""
    hidden = re.sub(r"://[^/\s'\"]*@", "://***@", " ".join(str(text).split()))
    return re.sub(r"((?:password|token|key)=)[^&\s'\"]*", r"\1***", hidden, flags=re.IGNORECASE)


def writable(uri: str) -> None:
    """Nothing where the store can be written, or is no SQLite file; raises sqlite3.Error otherwise: MLflow would try for minutes."""
    if uri.startswith("sqlite:///"):
        path = uri.removeprefix("sqlite:///").partition("?")[0]
        with closing(sqlite3.connect(path, timeout=LOCKED_S, isolation_level=None)) as database:
            database.execute("BEGIN IMMEDIATE")
            database.execute("ROLLBACK")
