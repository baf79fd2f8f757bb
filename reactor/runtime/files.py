"""`ctx.storage`: files, as queries, mutations and actions may use them."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import AsyncIterable, AsyncIterator, Coroutine
from typing import TYPE_CHECKING, Any, Final

from reactor.engine.transaction import Transaction
from reactor.errors import DatabaseError, DocumentNotFound, FunctionError, InvalidValue
from reactor.model.files import StoredEntry, delete_file, file_by_id, file_by_key, insert_file
from reactor.runtime.call import Call, Operation
from reactor.runtime.file_service import FileService
from reactor.schema.ids import Id
from reactor.schema.structs import Struct
from reactor.schema.system import StoredFile
from reactor.values.ids import decode_id

if TYPE_CHECKING:
    from reactor.runtime.actions import _Running

__all__ = ["ActionStorage", "FileMetadata", "FileObject", "SmallFile", "StorageReader", "StorageWriter"]

UUID: Final = re.compile(r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}", re.ASCII)


class FileMetadata(Struct):
    """What `ctx.storage.get_metadata` tells: `sha256` in hexadecimal, `size` in bytes."""

    storage_id: Id[StoredFile]
    sha256: str
    size: int
    content_type: str | None


class _File:
    __slots__ = ("_entry",)

    def __init__(self, entry: StoredEntry) -> None:
        self._entry = entry

    @property
    def size(self) -> int:
        """In bytes."""
        return self._entry.size

    @property
    def content_type(self) -> str | None:
        """As it was given when the file was stored."""
        return self._entry.content_type

    @property
    def sha256(self) -> str:
        """In hexadecimal."""
        return self._entry.sha256.hex()


class FileObject(_File):
    """A stored file in an action. Its contents are fetched when asked for."""

    __slots__ = ("_service",)

    def __init__(self, entry: StoredEntry, service: FileService) -> None:
        super().__init__(entry)
        self._service = service

    async def read(self) -> bytes:
        """All of it, in memory."""
        return await self._service.read_all(self._entry)

    def stream(self, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """It in pieces, or its bytes `start <= i < end`; only one piece is in memory at a time."""
        return self._service.read(self._entry, start, end)


class SmallFile(_File):
    """A stored file in a mutation, which can read it as a whole only, and within what a mutation may read."""

    __slots__ = ("_call", "_service")

    def __init__(self, entry: StoredEntry, service: FileService, call: Call) -> None:
        super().__init__(entry)
        self._service, self._call = service, call

    def read(self) -> Coroutine[Any, Any, bytes]:
        """All of it. Raises LimitExceeded when it is more than a mutation may read."""
        return Operation(self._call, "file.read", self._read, ())

    def _read(self) -> bytes:
        self._call.tx.usage.read_document(self.size)
        return self._service.from_thread(self._service.read_all(self._entry))


class StorageReader:
    """`ctx.storage` of a query: what is known of files. Results follow the files: they run again when one is deleted."""

    __slots__ = ("_call",)

    def __init__(self, call: Call) -> None:
        self._call = call

    def get_url(self, id: Id[StoredFile] | str, /) -> Coroutine[Any, Any, str | None]:
        """The URL that the file can be downloaded from, or None when there is no such file.

        Whoever knows it may use it, until the file is deleted. Raises DatabaseError for what is no file's id.
        """
        return Operation(self._call, "ctx.storage.get_url", self._get_url, (id,))

    def _get_url(self, id: Any) -> str | None:
        entry = find_file(self._call.tx, id, "get_url")
        return None if entry is None else self._service.url_of(entry)

    def get_metadata(self, id: Id[StoredFile] | str, /) -> Coroutine[Any, Any, FileMetadata | None]:
        """Size, content type and digest, or None. `ctx.db.system.get(id)` tells the same, as a document."""
        return Operation(self._call, "ctx.storage.get_metadata", self._get_metadata, (id,))

    def _get_metadata(self, id: Any) -> FileMetadata | None:
        return _metadata(find_file(self._call.tx, id, "get_metadata"))

    @property
    def _service(self) -> FileService:
        return _service_of(self._call.root.host.files)


class StorageWriter(StorageReader):
    """`ctx.storage` of a mutation: upload URLs, and deletion as part of the transaction."""

    __slots__ = ()

    def generate_upload_url(self) -> Coroutine[Any, Any, str]:
        """A URL that a client can POST files to, for an hour. Each POST answers with `{"storageId": …}`."""
        return Operation(self._call, "ctx.storage.generate_upload_url", self._generate_upload_url, ())

    def _generate_upload_url(self) -> str:
        return self._service.upload_url(self._call.tx.now_ms)

    def delete(self, id: Id[StoredFile] | str, /) -> Coroutine[Any, Any, None]:
        """Delete a file, if this mutation commits. Raises DocumentNotFound when there is none."""
        return Operation(self._call, "ctx.storage.delete", self._delete, (id,))

    def _delete(self, id: Any) -> None:
        _delete(self._call.tx, id)

    def store(
        self, data: bytes, /, *, content_type: str | None = None, sha256: str | None = None
    ) -> Coroutine[Any, Any, Id[StoredFile]]:
        """Store a small file; it is there if this mutation commits. Larger ones belong into an action or an upload.

        Everybody's mutations wait while it is written. `sha256`, hexadecimal or base64, is checked.
        """
        return Operation(self._call, "ctx.storage.store", self._store, (data, content_type, sha256))

    def _store(self, data: Any, content_type: str | None, sha256: str | None) -> Any:
        if not isinstance(data, bytes | bytearray | memoryview):
            raise FunctionError(f"store() expects bytes, in a mutation. Got: {type(data).__name__}", code="InvalidFile")
        tx: Any = self._call.tx
        tx.usage.write_document(len(data))
        digest = hashlib.sha256(data).digest()
        if sha256 is not None and digest != parse_sha256(sha256):
            raise InvalidValue(
                f"Sha256 mismatch. Expected: {sha256} Actual: {digest.hex()}", expected=sha256, code="Sha256Mismatch"
            )
        kind = _content_type(content_type)
        blob = self._service.store_blob_from_thread(bytes(data))
        return insert_file(tx, blob, sha256=digest, size=len(data), content_type=kind)

    def get(self, id: Id[StoredFile] | str, /) -> Coroutine[Any, Any, SmallFile | None]:
        """The file, or None."""
        return Operation(self._call, "ctx.storage.get", self._get, (id,))

    def _get(self, id: Any) -> SmallFile | None:
        entry = find_file(self._call.tx, id, "get")
        return None if entry is None else SmallFile(entry, self._service, self._call)


class ActionStorage:
    """`ctx.storage` of an action. Each call is a transaction of its own."""

    __slots__ = ("_running",)

    def __init__(self, running: _Running) -> None:
        self._running = running

    @property
    def _service(self) -> FileService:
        self._running.check_alive()
        return _service_of(self._running.host.files)

    async def _find(self, id: Any, method: str) -> StoredEntry | None:
        return await self._service.database.read(lambda tx: find_file(tx, id, method))

    async def get_url(self, id: Id[StoredFile] | str, /) -> str | None:
        """The URL that the file can be downloaded from, or None when there is no such file.

        Whoever knows it may use it, until the file is deleted. Raises DatabaseError for what is no file's id.
        """
        entry = await self._find(id, "get_url")
        return None if entry is None else self._service.url_of(entry)

    async def get_metadata(self, id: Id[StoredFile] | str, /) -> FileMetadata | None:
        """Size, content type and digest, or None."""
        return _metadata(await self._find(id, "get_metadata"))

    async def generate_upload_url(self) -> str:
        """A URL that a client can POST files to, for an hour. Each POST answers with `{"storageId": …}`."""
        return self._service.upload_url(self._running.host.clock.now_ns() / 1e6)

    async def delete(self, id: Id[StoredFile] | str, /) -> None:
        """Delete a file. Raises DocumentNotFound when there is none."""
        await self._service.database.write(lambda tx: _delete(tx, id), lane="#files")

    async def store(
        self,
        data: bytes | AsyncIterable[bytes],
        /,
        *,
        content_type: str | None = None,
        sha256: str | None = None,
    ) -> Id[StoredFile]:
        """Store a file, from bytes or from a stream of them (which is never held in memory whole), and return its id.

        It is there once this returns. `sha256`, hexadecimal or base64, is checked: InvalidValue when the contents differ.
        """
        if isinstance(data, bytes | bytearray | memoryview):
            stream = _stream_of(data)
        elif hasattr(data, "__aiter__"):
            stream = data
        else:
            raise FunctionError(
                f"store() expects bytes or an async iterable of bytes. Got: {type(data).__name__}", code="InvalidFile"
            )
        expected = None if sha256 is None else parse_sha256(sha256)
        kind = _content_type(content_type)
        return await self._service.store(stream, content_type=kind, sha256=expected)  # type: ignore[return-value]

    async def get(self, id: Id[StoredFile] | str, /) -> FileObject | None:
        """The file, or None. Its contents come with `await file.read()` or `async for piece in file.stream()`."""
        entry = await self._find(id, "get")
        return None if entry is None else FileObject(entry, self._service)


def find_file(tx: Transaction, id: Any, method: str) -> StoredEntry | None:
    """The file with this id of `_storage`, or with this UUID in its URL. Raises DatabaseError for anything else."""
    if id is None:
        raise DatabaseError(f"Must provide arg 1 `storageId` to `{method}`", code="InvalidStorageId")
    if isinstance(id, StoredFile):
        id = id.id
    if isinstance(id, str):
        table = tx.table_of_id(id)
        if table is not None and table.name == "_storage":
            return file_by_id(tx, id)
        if UUID.fullmatch(id):
            return file_by_key(tx, id.lower())
        if table is not None or _is_id(id):
            raise DatabaseError(
                "Invalid storage ID. Storage ID cannot be an ID on any table other than '_storage'.",
                code="InvalidStorageId",
            )
    raise DatabaseError(
        f"Invalid storage ID: \"{id}\". Storage ID should be an Id of '_storage' table, or a UUID string.",
        code="InvalidStorageId",
    )


def _delete(tx: Any, id: Any) -> None:
    entry = find_file(tx, id, "delete")
    if entry is None:
        raise DocumentNotFound(f"storage id {id} not found", code="StorageIdNotFound")
    delete_file(tx, entry)


def _is_id(text: str) -> bool:
    try:
        decode_id(text)
    except InvalidValue:
        return False
    return True


def _metadata(entry: StoredEntry | None) -> FileMetadata | None:
    if entry is None:
        return None
    return FileMetadata(
        storage_id=entry.id,  # type: ignore[arg-type]  # an id is a string
        sha256=entry.sha256.hex(),
        size=entry.size,
        content_type=entry.content_type,
    )


def parse_sha256(text: str) -> bytes:
    """A digest in hexadecimal or base64. Raises InvalidValue."""
    try:
        digest = bytes.fromhex(text) if len(text) == 64 else base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error, TypeError):
        digest = b""
    if len(digest) != 32:
        raise InvalidValue(f"{text!r} is not a SHA-256 digest in hexadecimal or base64.", code="InvalidDigest")
    return digest


def _content_type(text: str | None) -> str | None:
    """What can stand in a header later. Raises FunctionError."""
    if text is not None and not (isinstance(text, str) and text.isascii() and text.isprintable() and len(text) <= 1000):
        raise FunctionError(f"{text!r} can't be a file's content type.", code="InvalidFile")
    return text


def _service_of(service: FileService | None) -> FileService:
    if service is None:
        raise FunctionError("This deployment has no file storage.", code="NoFileStorage")
    return service


async def _stream_of(data: bytes) -> AsyncIterator[bytes]:
    yield data
