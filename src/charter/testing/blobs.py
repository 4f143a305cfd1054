"""What every store of blobs must do. Derive from `BlobsConformance` and give it an address."""

from __future__ import annotations

from pathlib import Path

import pytest

from charter.core.digest import canonical_json, digest_bytes
from charter.core.errors import PackageError
from charter.registry.io.blobs import Blobs


class BlobsConformance:
    """Tests that every `Blobs` must pass. A subclass provides ``blobs`` (empty) and `spoil`."""

    @pytest.fixture
    def blobs(self) -> Blobs:
        """Return an empty store."""
        raise NotImplementedError

    def spoil(self, blobs: Blobs, digest: str, data: bytes | None) -> None:
        """Change a blob's content behind the store's back; None removes it."""
        raise NotImplementedError

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        """Return a folder as a stage leaves it."""
        folder = tmp_path / "made"
        (folder / "inner").mkdir(parents=True)
        (folder / "model.onnx").write_bytes(bytes(range(256)) * 9000)
        (folder / "inner" / "empty.json").write_bytes(b"")
        return folder

    def test_bytes_come_back(self, blobs: Blobs) -> None:
        """Named by their digest; keeping twice is keeping once."""
        digest = blobs.put_bytes(b"hello")
        assert digest == digest_bytes(b"hello") == blobs.put_bytes(b"hello")
        assert blobs.get(digest) == b"hello"
        assert blobs.has(digest)
        assert not blobs.has(digest_bytes(b"other"))

    def test_a_tree_comes_back(self, blobs: Blobs, folder: Path, tmp_path: Path) -> None:
        """With its folders, and the same digest wherever it was made."""
        digest = blobs.put_tree(folder)
        assert set(blobs.tree(digest)) == {"model.onnx", "inner/empty.json"}
        assert blobs.complete(digest)
        out = blobs.checkout(digest, tmp_path / "out")
        assert (out / "model.onnx").read_bytes() == (folder / "model.onnx").read_bytes()
        assert (out / "inner" / "empty.json").read_bytes() == b""
        assert blobs.put_tree(out) == digest

    def test_a_checkout_replaces_a_folder(self, blobs: Blobs, folder: Path, tmp_path: Path) -> None:
        """Nothing of the old content stays."""
        out = tmp_path / "out"
        out.mkdir()
        (out / "old").write_text("old")
        blobs.checkout(blobs.put_tree(folder), out)
        assert sorted(p.name for p in out.iterdir()) == ["inner", "model.onnx"]
        assert sorted(p.name for p in tmp_path.iterdir() if p.name.startswith(".out")) == []

    @pytest.mark.parametrize("data", [b"", b"hellp", b"hello!", None])
    def test_a_damaged_blob_is_an_error(
        self, blobs: Blobs, folder: Path, tmp_path: Path, data: bytes | None
    ) -> None:
        """Truncated, changed, longer or gone: never an answer, and nothing is checked out."""
        (folder / "inner" / "empty.json").write_bytes(b"hello")
        tree, digest = blobs.put_tree(folder), digest_bytes(b"hello")
        self.spoil(blobs, digest, data)
        with pytest.raises(PackageError, match=r"damaged|missing"):
            blobs.get(digest)
        with pytest.raises(PackageError, match=r"damaged|missing"):
            blobs.checkout(tree, tmp_path / "out")
        assert not (tmp_path / "out").exists()
        assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]

    @pytest.mark.parametrize(
        "name",
        [
            "../up",
            "/etc/passwd",
            "a/../../b",
            "",
            ".hidden",
            "a//b",
            "a\\b",
            "c:",
            "x" * 300,
            "a/./b",
            "nul\0",
        ],
    )
    def test_unsafe_names_are_refused(self, blobs: Blobs, tmp_path: Path, name: str) -> None:
        """A tree by somebody else cannot write outside its folder."""
        tree = canonical_json({"schema": 1, "files": {name: blobs.put_bytes(b"evil")}})
        with pytest.raises(PackageError, match="unsafe"):
            blobs.checkout(blobs.put_bytes(tree), tmp_path / "out")
        assert not (tmp_path / "out").exists()

    @pytest.mark.parametrize(
        "tree",
        [b"", b"[]", b"{}", b"[" * 100_000, b'{"schema":2,"files":{}}', b'{"schema":1,"files":{"a":"b"}}'],
    )
    def test_what_is_no_tree_is_refused(self, blobs: Blobs, tree: bytes) -> None:
        """A blob is not a tree because somebody says so."""
        with pytest.raises(PackageError, match=r"not a tree|no valid digest"):
            blobs.tree(blobs.put_bytes(tree))

    @pytest.mark.parametrize("digest", ["", "abc", "../../../etc/passwd", "A" * 64, "0" * 63 + "\n"])
    def test_what_is_no_digest_is_refused(self, blobs: Blobs, digest: str) -> None:
        """A digest is 64 lower-case hexadecimal characters and nothing else."""
        with pytest.raises(PackageError, match="not a digest"):
            blobs.get(digest)

    def test_links_are_refused(self, blobs: Blobs, folder: Path, tmp_path: Path) -> None:
        """Neither kept nor written through."""
        digest = blobs.put_tree(folder)
        (folder / "link").symlink_to(tmp_path)
        with pytest.raises(PackageError, match="neither a plain file nor a folder"):
            blobs.put_tree(folder)
        (tmp_path / "dest").symlink_to(tmp_path)
        with pytest.raises(PackageError, match="not a folder"):
            blobs.checkout(digest, tmp_path / "dest")
