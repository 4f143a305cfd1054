"""Blobs by digest: a local folder, or any store that fsspec reaches.

A blob has its final name only when all of it is there: it is written under another name, flushed to
disk, then renamed. What is read is checked against its name, so a damaged blob is an error and never an answer.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Protocol
from urllib.parse import unquote, urlsplit

from charter.core.digest import Digest, digest_bytes, digest_file
from charter.core.errors import PackageError, UsageError
from charter.core.io.files import sync_folder
from charter.registry.trees import parse_tree, tree_bytes

CHUNK = 1 << 20
WAITING = "waiting"
"""Folder of blobs that are still being written; it cannot be mistaken for one of blobs, which have two characters."""
_DIGEST = re.compile(r"[0-9a-f]{64}")


class BlobStore(Protocol):
    """Where blobs lie. Names are relative; `put` is atomic."""

    def where(self, name: str) -> str:
        """Where a blob of this name lies, for messages."""
        ...

    def has(self, name: str) -> bool:
        """Whether a blob of this name is there, whole."""
        ...

    def get(self, name: str) -> bytes:
        """Return the content; FileNotFoundError when it is not there."""
        ...

    def put(self, name: str, data: bytes) -> None:
        """Write all of it, or nothing."""
        ...

    def put_file(self, name: str, source: Path) -> None:
        """Write a file's content, or nothing."""
        ...

    def get_file(self, name: str, target: Path) -> None:
        """Copy the content into a new file; FileNotFoundError when it is not there."""
        ...


class Blobs:
    """Content-addressed storage.

    Parameters
    ----------
    url
        A folder, ``file:///folder``, or an fsspec address such as ``s3://bucket/prefix``.
    """

    def __init__(self, url: str | Path) -> None:
        self._store: BlobStore = _store(str(url))

    def has(self, digest: str) -> bool:
        """Whether the blob is there."""
        return self._store.has(_name(digest))

    def put_bytes(self, data: bytes) -> Digest:
        """Keep bytes and return their digest; keeping them again costs nothing."""
        digest = digest_bytes(data)
        if not self._store.has(_name(digest)):
            self._store.put(_name(digest), data)
        return digest

    def put_file(self, path: Path) -> Digest:
        """Keep a file's content and return its digest, in bounded memory."""
        digest = digest_file(path)
        if not self._store.has(_name(digest)):
            self._store.put_file(_name(digest), path)
        return digest

    def get(self, digest: str) -> bytes:
        """Return a blob's bytes, checked.

        Raises
        ------
        PackageError
            When the blob is missing, or is not what its name says.
        """
        try:
            data = self._store.get(_name(digest))
        except FileNotFoundError as error:
            raise _missing(digest) from error
        if digest_bytes(data) != digest:
            raise _damaged(digest, self._store.where(_name(digest)))
        return data

    def put_tree(self, folder: Path) -> Digest:
        """Keep every file below a folder and return the digest of the tree.

        Raises
        ------
        PackageError
            When the folder holds a link, a device, or an unsafe name.
        """
        files: dict[str, str] = {}
        for path in sorted(folder.rglob("*")):
            name = path.relative_to(folder).as_posix()
            if path.is_symlink() or not (path.is_dir() or path.is_file()):
                raise PackageError(
                    f"{path} is neither a plain file nor a folder", remedy="Replace it by a plain file."
                )
            if path.is_file():
                files[name] = ""
        tree_bytes(files)  # refuse unsafe names before anything is kept
        return self.put_bytes(tree_bytes({name: self.put_file(folder / name) for name in files}))

    def tree(self, digest: str) -> dict[str, Digest]:
        """Return the files of a tree: name to digest."""
        return parse_tree(self.get(digest))

    def complete(self, digest: str) -> bool:
        """Whether a tree and all its files are there (by name; contents are checked when read)."""
        return self.has(digest) and all(self.has(d) for d in self.tree(digest).values())

    def checkout(self, digest: str, dest: Path) -> Path:
        """Write a tree into the folder `dest`, which appears only when it is whole and checked.

        A folder that is already there is replaced.

        Raises
        ------
        PackageError
            When a blob is missing, damaged or unsafely named, or `dest` is not a folder; `dest` stays.
        """
        if dest.is_symlink() or (dest.exists() and not dest.is_dir()):
            raise PackageError(f"{dest} is not a folder", remedy="Move it away, or name another place.")
        files = self.tree(digest)
        dest.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(dir=dest.parent, prefix=f".{dest.name}."))
        try:
            fresh, old = work / "new", work / "old"
            fresh.mkdir()
            for name, blob in files.items():
                target = fresh / PurePosixPath(name)
                target.parent.mkdir(parents=True, exist_ok=True)
                self._copy_out(blob, target)
            if dest.exists():
                dest.rename(old)
            try:
                fresh.rename(dest)
            except OSError:
                if old.exists():
                    old.rename(dest)
                raise
        finally:
            shutil.rmtree(work, ignore_errors=True)
        sync_folder(dest.parent)
        return dest

    def path(self, digest: str) -> Path:
        """Return the file of a blob in a local store, for readers that map files; its content is not checked.

        Raises
        ------
        PackageError
            When the blob is missing.
        UsageError
            When the store is not a local folder.
        """
        if not isinstance(self._store, LocalFolder):
            raise UsageError("blobs in a remote store have no local path", remedy="Use checkout.")
        path = self._store.place(_name(digest))
        if not path.is_file():
            raise _missing(digest)
        return path

    def tidy(self) -> None:
        """Remove what writers that were killed left behind; call it only while nobody else writes to the store."""
        if isinstance(self._store, LocalFolder):
            shutil.rmtree(self._store.root / WAITING, ignore_errors=True)

    def _copy_out(self, digest: Digest, target: Path) -> None:
        try:
            self._store.get_file(_name(digest), target)
        except FileNotFoundError as error:
            raise _missing(digest) from error
        if digest_file(target) != digest:
            raise _damaged(digest, self._store.where(_name(digest)))


class LocalFolder:
    """Blobs in a folder of this machine."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def place(self, name: str) -> Path:
        """Return the path of a blob."""
        return self.root / name

    def where(self, name: str) -> str:
        """See `BlobStore.where`."""
        return str(self.place(name))

    def has(self, name: str) -> bool:
        """See `BlobStore.has`."""
        return self.place(name).is_file()

    def get(self, name: str) -> bytes:
        """See `BlobStore.get`."""
        return self.place(name).read_bytes()

    def put(self, name: str, data: bytes) -> None:
        """See `BlobStore.put`."""
        with self._writing(name) as file:
            file.write(data)

    def put_file(self, name: str, source: Path) -> None:
        """See `BlobStore.put_file`. The copy is what is checked: the source may change meanwhile."""
        seen = hashlib.sha256()
        with self._writing(name) as file, source.open("rb") as old:
            while chunk := old.read(CHUNK):
                seen.update(chunk)
                file.write(chunk)
            if seen.hexdigest() != PurePosixPath(name).name:
                raise UsageError(
                    f"{source} changed while it was being kept", remedy="Try again when it is at rest."
                )

    def get_file(self, name: str, target: Path) -> None:
        """See `BlobStore.get_file`."""
        shutil.copyfile(self.place(name), target)

    @contextmanager
    def _writing(self, name: str) -> Iterator[BinaryIO]:
        waiting = self.root / WAITING
        waiting.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=waiting)
        try:
            with os.fdopen(handle, "wb") as file:
                yield file
                file.flush()
                os.fsync(handle)
            target = self.place(name)
            target.parent.mkdir(exist_ok=True)
            Path(temporary).chmod(0o444)
            Path(temporary).replace(target)
        except BaseException:  # interrupted, too, nothing half made may stay
            Path(temporary).unlink(missing_ok=True)
            raise
        sync_folder(target.parent)


class Remote:
    """Blobs in a store that fsspec reaches. Object stores write atomically; elsewhere a rename does it."""

    ATOMIC = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "az", "adl", "oci", "oss", "memory"})

    def __init__(self, url: str) -> None:
        import fsspec

        try:
            filesystem, root = fsspec.core.url_to_fs(url)
        except (ValueError, ImportError) as error:
            raise UsageError(
                f"blobs address {url!r} cannot be used: {error}",
                remedy="Give a folder, or an address of an installed fsspec driver (s3:// needs s3fs).",
            ) from error
        self._filesystem: Any = filesystem
        self._root = str(root).rstrip("/")
        self._atomic = urlsplit(url).scheme in self.ATOMIC

    def where(self, name: str) -> str:
        """See `BlobStore.where`."""
        return f"{self._root}/{name}"

    def has(self, name: str) -> bool:
        """See `BlobStore.has`."""
        return bool(self._filesystem.isfile(f"{self._root}/{name}"))

    def get(self, name: str) -> bytes:
        """See `BlobStore.get`."""
        return bytes(self._filesystem.cat_file(f"{self._root}/{name}"))

    def put(self, name: str, data: bytes) -> None:
        """See `BlobStore.put`."""
        self._write(name, lambda target: self._filesystem.pipe_file(target, data))

    def put_file(self, name: str, source: Path) -> None:
        """See `BlobStore.put_file`."""
        self._write(name, lambda target: self._filesystem.put_file(str(source), target))

    def get_file(self, name: str, target: Path) -> None:
        """See `BlobStore.get_file`."""
        self._filesystem.get_file(f"{self._root}/{name}", str(target))

    def _write(self, name: str, write: Callable[[str], object]) -> None:
        target = f"{self._root}/{name}"
        self._filesystem.makedirs(target.rpartition("/")[0], exist_ok=True)
        if self._atomic:
            write(target)
            return
        waiting = f"{self._root}/{WAITING}"
        self._filesystem.makedirs(waiting, exist_ok=True)
        temporary = f"{waiting}/{os.urandom(8).hex()}"
        try:
            write(temporary)
            self._filesystem.mv(temporary, target)
        except BaseException:  # interrupted, too, nothing half made may stay
            with suppress(OSError):
                self._filesystem.rm_file(temporary)
            raise


def _store(url: str) -> BlobStore:
    parts = urlsplit(url)
    if parts.scheme == "file":
        return LocalFolder(Path(unquote(parts.path)))
    if "://" in url:
        return Remote(url)
    return LocalFolder(Path(url))


def _name(digest: str) -> str:
    if not _DIGEST.fullmatch(digest):
        raise PackageError(f"{digest!r} is not a digest")
    return f"{digest[:2]}/{digest}"


def _missing(digest: str) -> PackageError:
    return PackageError(
        f"blob {digest[:16]} is missing",
        remedy="Restore it from a backup, or run `charter apply` to make it again.",
    )


def _damaged(digest: str, where: str) -> PackageError:
    return PackageError(
        f"blob {digest[:16]} is damaged: its content does not match its name",
        remedy=f"Remove {where} and run `charter apply` to make it again, or restore it from a backup.",
    )
