from __future__ import annotations

import json
import os
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from charter.core.digest import digest_bytes, digest_json
from charter.core.errors import PackageError
from charter.registry import package as rules
from charter.registry.environment import code_version, environment, mismatches, source_digest
from charter.registry.io import packages
from charter.registry.package import parse_manifest, parse_signature
from charter.registry.signing import Signer

EVA = Signer("eva", Ed25519PrivateKey.from_private_bytes(b"\1" * 32))
EVE = Signer("eve", Ed25519PrivateKey.from_private_bytes(b"\2" * 32))
TRUSTED = {"eva": EVA.public_key}
PARTS = {"decision.json": b'{"threshold":0.5}', "spec.json": b"{}"}


def make(folder: Path, name: str = "package", **changes: Any) -> Path:
    """Build and sign a small package."""
    bundle = folder / f"bundle of {name}"
    bundle.mkdir(parents=True)
    (bundle / "model.onnx").write_bytes(b"onnx" * 1000)
    (bundle / "scoring.json").write_bytes(b"{}")
    asked: dict[str, Any] = {
        "name": "credit-risk",
        "digests": {"spec": digest_json("spec")},
        "code_version": "0.1.0+abc",
        "environment": {"python": "3.11.9"},
        **changes,
    }
    packages.build(bundle, asked.pop("parts", PARTS), folder / name, **asked)
    packages.sign(folder / name, EVA)
    return folder / name


@pytest.fixture
def package(tmp_path: Path) -> Path:
    return make(tmp_path)


def test_a_package_proves_itself(package: Path) -> None:
    info = packages.verify(package, TRUSTED)
    assert info.signer == "eva"
    assert info.manifest.name == "credit-risk"
    assert set(info.manifest.files) == {"decision.json", "model.onnx", "scoring.json", "spec.json"}
    assert info.manifest.files["model.onnx"].size == 4000
    assert info.digest == digest_bytes((package / "manifest.json").read_bytes())
    assert info.manifest.digests == {"spec": digest_json("spec")}


def test_the_same_parts_give_the_same_bytes(tmp_path: Path) -> None:
    one, two = make(tmp_path / "here", "a"), make(tmp_path / "there" / "deeper", "b")
    assert {p.name: p.read_bytes() for p in one.iterdir()} == {p.name: p.read_bytes() for p in two.iterdir()}
    assert str(tmp_path).encode() not in b"".join(p.read_bytes() for p in one.iterdir())


def test_signing_does_not_make_another_package(package: Path) -> None:
    before = packages.verify(package, TRUSTED)
    packages.sign(package, EVE)
    after = packages.verify(package, {"eve": EVE.public_key})
    assert (after.digest, after.signer) == (before.digest, "eve")


def _resigned(package: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    raw = json.loads((package / "manifest.json").read_bytes())
    edit(raw)
    (package / "manifest.json").write_bytes(json.dumps(raw).encode())
    packages.sign(package, EVA)


HARMS: dict[str, tuple[Callable[[Path], object], str]] = {
    "one bit": (
        lambda p: (p / "model.onnx").write_bytes(b"onny" + b"onnx" * 999),
        r"model\.onnx was changed",
    ),
    "longer": (
        lambda p: (p / "model.onnx").write_bytes(b"x"),
        r"model\.onnx has 1 bytes, the manifest says 4,000",
    ),
    "gone": (lambda p: (p / "spec.json").unlink(), r"spec\.json is missing"),
    "extra": (
        lambda p: (p / "evaluation.json").write_bytes(b"{}"),
        r"evaluation\.json is not named by the manifest",
    ),
    "pickle": (lambda p: (p / "model.pkl").write_bytes(b"\x80"), r"model\.pkl is not allowed"),
    "python": (lambda p: (p / "__init__.py").write_bytes(b""), r"__init__\.py is not allowed"),
    "hidden": (lambda p: (p / ".x").write_bytes(b""), r"\.x is not allowed"),
    "folder": (lambda p: (p / "inner").mkdir(), r"inner is a folder"),
    "link": (lambda p: (p / "card.md").symlink_to("/etc/passwd"), r"card\.md is a link"),
    "linked model": (
        lambda p: ((p / "model.onnx").rename(p.parent / "m"), (p / "model.onnx").symlink_to(p.parent / "m")),
        r"model\.onnx is a link",
    ),
    "pipe": (lambda p: os.mkfifo(p / "card.md"), r"card\.md is no plain file"),
    "manifest edited": (
        lambda p: (p / "manifest.json").write_bytes(
            (p / "manifest.json").read_bytes().replace(b"credit", b"credut")
        ),
        r"the signature of eva does not fit manifest\.json",
    ),
    "no manifest": (lambda p: (p / "manifest.json").unlink(), r"manifest\.json is missing"),
    "unsigned": (lambda p: (p / "signature.json").unlink(), r"is not signed"),
    "another signer": (
        lambda p: packages.sign(p, EVE),
        r"signed by 'eve', whom this workspace does not know",
    ),
    "another key": (lambda p: packages.sign(p, Signer("eva", EVE.private)), r"does not fit"),
    "huge signature": (
        lambda p: (p / "signature.json").write_bytes(b" " * 20_000),
        r"at most 16,384 are allowed",
    ),
    "huge manifest": (
        lambda p: (p / "manifest.json").write_bytes(b" " * (2 << 20)),
        r"at most 1,048,576 are allowed",
    ),
    "deep signature": (
        lambda p: (p / "signature.json").write_bytes(b"[" * 16_000),
        r"signature\.json is not JSON",
    ),
    "empty signature": (lambda p: (p / "signature.json").write_bytes(b""), r"signature\.json is not JSON"),
}


@pytest.mark.parametrize("harm", list(HARMS))
def test_a_tampered_package_is_refused_by_name(package: Path, harm: str) -> None:
    do, message = HARMS[harm]
    do(package)
    with pytest.raises(PackageError, match=message):
        packages.verify(package, TRUSTED)


SIGNED_HARMS: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "name outside": (
        lambda m: m["files"].update({"../../x": m["files"]["spec.json"]}),
        r"'\.\./\.\./x' is not allowed",
    ),
    "absolute": (
        lambda m: m["files"].update({"/etc/x": m["files"]["spec.json"]}),
        r"'/etc/x' is not allowed",
    ),
    "not required": (lambda m: m["files"].pop("model.onnx"), r"lacks model\.onnx"),
    "unknown version": (lambda m: m.update(schema_version=2), r"schema_version is 2, this Charter reads 1"),
    "more keys": (lambda m: m.update(extra=1), "must hold exactly"),
    "fewer keys": (lambda m: m.pop("digests"), "must hold exactly"),
    "negative": (lambda m: m["files"]["spec.json"].update(size=-1), "not a number of bytes"),
    "truth": (lambda m: m["files"]["spec.json"].update(size=True), "not a number of bytes"),
    "too large": (lambda m: m["files"]["spec.json"].update(size=1 << 40), "at most 67,108,864 are allowed"),
    "too large together": (
        lambda m: [m["files"]["model.onnx"].update(size=1 << 31), m["files"]["spec.json"].update(size=1)],
        "bytes together",
    ),
    "no checksum": (lambda m: m["files"]["spec.json"].update(sha256="x"), "must hold sha256 and size"),
    "odd entry": (lambda m: m["files"].update({"spec.json": []}), "must hold sha256 and size"),
    "odd files": (lambda m: m.update(files=[]), "files must be an object"),
    "odd digests": (lambda m: m.update(digests={"spec": "x"}), "digests must map"),
    "odd name": (lambda m: m.update(name="Credit Risk"), "is not lower-case words"),
    "odd environment": (lambda m: m.update(environment=[]), "environment an object"),
}


@pytest.mark.parametrize("harm", list(SIGNED_HARMS))
def test_a_signed_manifest_is_still_not_trusted_blindly(package: Path, harm: str) -> None:
    edit, message = SIGNED_HARMS[harm]
    _resigned(package, lambda m: (edit(m), None)[1])
    with pytest.raises(PackageError, match=message):
        packages.verify(package, TRUSTED)


def test_nothing_but_manifest_and_signature_is_opened_before_the_signature_is_good(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    real = Path.open

    def noted(self: Path, *args: Any, **kwargs: Any) -> Any:
        opened.append(self.name)
        return real(self, *args, **kwargs)

    packages.sign(package, EVE)
    monkeypatch.setattr(Path, "open", noted)
    with pytest.raises(PackageError, match="does not know"):
        packages.verify(package, TRUSTED)
    assert set(opened) == {"manifest.json", "signature.json"}


def test_what_is_no_folder_is_refused(package: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(package)
    for path in (tmp_path / "nothing", package / "manifest.json", tmp_path / "link"):
        with pytest.raises(PackageError, match="is not a folder"):
            packages.verify(path, TRUSTED)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({**PARTS, "model.pkl": b""}, r"'model\.pkl' is not allowed"),
        ({**PARTS, "scoring.json": b"{}"}, r"scoring\.json stands in the bundle and among the parts"),
        ({"spec.json": b"{}"}, r"lacks decision\.json"),
        ({**PARTS, "model.yaml": b"x" * (2 << 20)}, r"at most 1,048,576 are allowed"),
        ({**PARTS, "../x": b""}, r"is not allowed"),
    ],
)
def test_what_could_not_be_read_is_not_built(tmp_path: Path, parts: dict[str, bytes], message: str) -> None:
    with pytest.raises(PackageError, match=message):
        make(tmp_path, parts=parts)
    assert [p.name for p in tmp_path.iterdir()] == ["bundle of package"]


def test_a_package_is_not_overwritten(package: Path, tmp_path: Path) -> None:
    with pytest.raises(PackageError, match="exists already"):
        packages.build(
            tmp_path / "bundle of package",
            PARTS,
            package,
            name="x",
            digests={},
            code_version="",
            environment={},
        )


@pytest.mark.parametrize(
    "data",
    [
        b"null",
        b'{"schema_version":1,"signer":"Eva","signature":"00"}',
        b'{"schema_version":1,"signer":"eva","signature":"00"}',
        b'{"schema_version":9,"signer":"eva","signature":"00"}',
    ],
)
def test_a_malformed_signature_is_refused(data: bytes) -> None:
    with pytest.raises(PackageError, match=r"^signature\.json"):
        parse_signature(data)


def test_a_manifest_comes_back(package: Path) -> None:
    manifest = packages.verify(package, TRUSTED).manifest
    assert parse_manifest(manifest.to_bytes()) == manifest


def test_every_file_that_a_scorer_reads_is_allowed() -> None:
    from charter.serve.bundle import NATIVE_FILES

    assert {*NATIVE_FILES, "scoring.json", "model.onnx", "profile.json", "decision.json"} <= set(
        rules.ALLOWED
    )


def test_an_environment_names_neither_host_nor_user() -> None:
    found = environment()
    assert found == environment()
    assert found["distributions"]["polars"]
    text = json.dumps(found)
    assert str(Path.home()) not in text
    assert os.uname().nodename not in text


def test_another_version_of_what_scores_is_reported() -> None:
    here = environment()
    there = {
        **here,
        "machine": "pdp11",
        "distributions": {**here["distributions"], "polars": "0.1", "rich": "0.1"},
    }
    assert mismatches(here, here) == []
    assert mismatches(there, here) == [
        f"machine: packaged on pdp11, here {here['machine']}",
        f"polars: packaged with 0.1, here {here['distributions']['polars']}",
    ]


def test_code_is_named_by_its_source(tmp_path: Path) -> None:
    assert code_version() == code_version()
    (tmp_path / "a.py").write_text("a = 1")
    (tmp_path / "b.py").write_text("b = 1")
    files = list(tmp_path.glob("*.py"))
    before = source_digest(tmp_path, files)
    assert source_digest(tmp_path, reversed(files)) == before
    (tmp_path / "b.py").write_text("b = 2")
    assert source_digest(tmp_path, files) != before


def test_what_a_library_carries_within_itself_is_not_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place, name in ((tmp_path, "outer"), (tmp_path / "outer" / "vendored", "inner")):
        (place / f"{name}-1.0.dist-info").mkdir(parents=True)
        (place / f"{name}-1.0.dist-info" / "METADATA").write_text(f"Name: {name}\nVersion: 1.0\n")
    monkeypatch.setattr(sysconfig, "get_path", lambda _kind: str(tmp_path))
    monkeypatch.setattr(sys, "path", [str(tmp_path / "outer" / "vendored"), str(tmp_path), ""])
    assert environment()["distributions"] == {"outer": "1.0"}
