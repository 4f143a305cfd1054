"""Blobs in a folder and behind fsspec run the same suite."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

import pytest

from charter.core.digest import digest_bytes
from charter.core.errors import PackageError, UsageError
from charter.registry.io.blobs import Blobs
from charter.testing.blobs import BlobsConformance


class TestLocalFolder(BlobsConformance):
    @pytest.fixture
    def blobs(self, tmp_path: Path) -> Blobs:
        return Blobs(str(tmp_path / "blobs"))

    def spoil(self, blobs: Blobs, digest: str, data: bytes | None) -> None:
        path = blobs.path(digest)
        path.unlink()
        if data is not None:
            path.write_bytes(data)

    def test_a_blob_has_a_path_and_cannot_be_written_by_mistake(self, blobs: Blobs) -> None:
        path = blobs.path(blobs.put_bytes(b"hello"))
        assert path.read_bytes() == b"hello"
        assert path.stat().st_mode & 0o222 == 0
        with pytest.raises(PackageError, match="missing"):
            blobs.path(digest_bytes(b"other"))

    def test_a_write_that_fails_leaves_nothing(
        self, blobs: Blobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(_handle: int) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            blobs.put_bytes(b"hello")
        assert not blobs.has(digest_bytes(b"hello"))
        assert [p for p in (tmp_path / "blobs").rglob("*") if p.is_file()] == []

    def test_a_file_address_is_a_folder(self, tmp_path: Path) -> None:
        digest = Blobs(f"file://{tmp_path}/some%20where").put_bytes(b"x")
        assert Blobs(tmp_path / "some where").get(digest) == b"x"


class RemoteConformance(BlobsConformance):
    def spoil(self, blobs: Blobs, digest: str, data: bytes | None) -> None:
        store = blobs._store
        name = f"{store._root}/{digest[:2]}/{digest}"  # type: ignore[attr-defined]
        store._filesystem.rm_file(name)  # type: ignore[attr-defined]
        if data is not None:
            store._filesystem.pipe_file(name, data)  # type: ignore[attr-defined]


class TestObjectStore(RemoteConformance):
    @pytest.fixture
    def blobs(self) -> Blobs:
        return Blobs(f"memory://{uuid.uuid4().hex}/blobs")

    def test_a_remote_blob_has_no_path(self, blobs: Blobs) -> None:
        with pytest.raises(UsageError, match="no local path"):
            blobs.path(blobs.put_bytes(b"hello"))


class TestOtherFilesystem(RemoteConformance):
    """A driver whose writes are not atomic: here fsspec's own for local files."""

    @pytest.fixture
    def blobs(self, tmp_path: Path) -> Blobs:
        return Blobs(f"local://{tmp_path}/blobs")


def test_an_unknown_driver_is_named() -> None:
    with pytest.raises(UsageError, match="nosuch"):
        Blobs("nosuch://bucket/prefix")
