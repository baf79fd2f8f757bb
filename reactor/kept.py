"""What a deployment keeps with its data for itself, and where its files are: shared by serving and restoring."""

from __future__ import annotations

import secrets

from reactor.config import Settings
from reactor.engine.database import Database
from reactor.store.blob_files import FileBlobs
from reactor.store.blob_objects import ObjectBlobs
from reactor.store.blobs import BlobStore
from reactor.store.protocol import Writer

__all__ = ["kept_secret", "open_blobs"]

FILES_DIRECTORY = "files"


async def kept_secret(database: Database, name: str) -> bytes:
    """32 random bytes that outlive restarts, kept in the database under `name`; made when they are not there."""
    key = f"secret.{name}"
    kept = await database.store.read(lambda reader: reader.get_meta(key))
    if kept is not None:
        return kept
    made = secrets.token_bytes(32)

    def keep(writer: Writer) -> None:
        writer.begin()
        writer.put_meta(key, made)
        writer.commit()

    await database.store.write(keep)
    return made


async def open_blobs(settings: Settings, database: Database) -> BlobStore:
    """Where stored files live: beside the database, or in a bucket. Raises StoreError."""
    if settings.files is None:
        blobs: BlobStore = FileBlobs(settings.data / FILES_DIRECTORY)
    else:
        # Below a name of this database's own: two deployments that share a bucket never take each other's for orphans.
        own = (await kept_secret(database, "files_prefix"))[:8].hex()
        blobs = ObjectBlobs(f"{settings.files.rstrip('/')}/{own}")
    await blobs.open()
    return blobs
