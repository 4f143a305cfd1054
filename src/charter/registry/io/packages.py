"""Building, signing and verifying package folders."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from charter.core.digest import Digest, digest_bytes
from charter.core.errors import PackageError
from charter.core.io.files import sync_folder, write_atomic
from charter.registry.package import (
    ALLOWED,
    MANIFEST,
    MAX_MANIFEST,
    MAX_SIGNATURE,
    PURPOSE,
    SIGNATURE,
    FileEntry,
    Manifest,
    Signature,
    check_names,
    parse_manifest,
    parse_signature,
    signed_content,
)
from charter.registry.signing import Signer, verifies

CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class PackageInfo:
    """A package that proved itself.

    Attributes
    ----------
    digest
        Of the manifest: the package's name.
    signer
        Whose trusted key fits the signature.
    """

    folder: Path
    digest: Digest
    manifest: Manifest
    signer: str


def build(
    bundle: Path,
    parts: Mapping[str, bytes],
    dest: Path,
    *,
    name: str,
    digests: Mapping[str, str],
    code_version: str,
    environment: Mapping[str, Any],
) -> Digest:
    """Put a package together in the folder `dest`, which appears only when it is whole.

    The same arguments give the same bytes: nothing of the moment, the machine or the user goes in.

    Parameters
    ----------
    bundle
        Folder of the train stage's bundle.
    parts
        Further files: ``decision.json``, ``evaluation.json``, ``spec.json``, ...
    dest
        Must not exist yet.
    name, digests, code_version, environment
        See `charter.registry.package.Manifest`.

    Returns
    -------
    Digest
        Of the manifest.

    Raises
    ------
    PackageError
        When a file is not allowed in a package, stands in both, or is too large, or `dest` exists.
    """
    if dest.exists() or dest.is_symlink():
        raise PackageError(f"{dest} exists already", remedy="Name a new folder.")
    found = _listing(bundle)
    twice = sorted(set(found) & set(parts))
    if twice:
        raise PackageError(f"{', '.join(twice)} stands in the bundle and among the parts")
    check_names({**found, **parts})
    dest.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(dir=dest.parent, prefix=f".{dest.name}."))
    try:
        files = {}
        for file in sorted({*found, *parts}):
            target = work / file
            if file in parts:
                target.write_bytes(parts[file])
            else:
                shutil.copyfile(bundle / file, target)
            target.chmod(0o644)
            files[file] = _measure(target)
        data = Manifest(name, files, digests, code_version, environment).to_bytes()
        parse_manifest(data)  # what we write, we can read: names, sizes and digests are as they must be
        write_atomic(work / MANIFEST, data)
        work.chmod(0o755)
        work.rename(dest)
    except BaseException:  # interrupted, too, nothing half made may stay
        shutil.rmtree(work, ignore_errors=True)
        raise
    sync_folder(dest.parent)
    return digest_bytes(data)


def sign(folder: Path, signer: Signer) -> Signature:
    """Put `signer`'s signature beside a package; a signature that is there is replaced."""
    manifest = digest_bytes(_read(folder / MANIFEST, MAX_MANIFEST))
    signature = Signature(signer.name, signer.sign(PURPOSE, signed_content(manifest)))
    write_atomic(folder / SIGNATURE, signature.to_bytes())
    return signature


def verify(folder: Path, trusted_keys: Mapping[str, str]) -> PackageInfo:
    """Let a package prove itself before anything in it is used.

    In this order: the listing holds nothing but plain files of allowed names; the signature fits the manifest's bytes
    and a trusted key; only then is the manifest parsed; it names exactly the files that are there; sizes and checksums
    fit. No file but the manifest and the signature is opened before the signature is good.

    Parameters
    ----------
    trusted_keys
        Name of a signer to raw public key, 64 hexadecimal characters. A signer that is not here is unknown.

    Raises
    ------
    PackageError
        Naming the file and the rule that it breaks.
    """
    there = _listing(folder)
    _allowed_only(folder, there)
    data = _read(folder / MANIFEST, MAX_MANIFEST)
    digest = digest_bytes(data)
    signer = _check_signature(folder, there, digest, trusted_keys)
    manifest = parse_manifest(data)
    for file in sorted(set(there) - set(manifest.files) - {MANIFEST, SIGNATURE}):
        raise PackageError(f"{folder.name}/{file} is not named by the manifest", remedy=_REPLACE)
    for file, entry in sorted(manifest.files.items()):
        if file not in there:
            raise PackageError(
                f"{folder.name}/{file} is missing though the manifest names it", remedy=_REPLACE
            )
        if there[file] != entry.size:
            raise PackageError(
                f"{folder.name}/{file} has {there[file]:,} bytes, the manifest says {entry.size:,}",
                remedy=_REPLACE,
            )
        if _measure(folder / file).sha256 != entry.sha256:
            raise PackageError(
                f"{folder.name}/{file} was changed: its checksum does not match", remedy=_REPLACE
            )
    return PackageInfo(folder, digest, manifest, signer)


_REPLACE = "Do not use this package. Take an untouched copy, or build it again: `charter apply`."


def _check_signature(
    folder: Path, there: Mapping[str, int], digest: Digest, trusted: Mapping[str, str]
) -> str:
    if SIGNATURE not in there:
        raise PackageError(f"{folder.name} is not signed: {SIGNATURE} is missing", remedy=_REPLACE)
    signature = parse_signature(_read(folder / SIGNATURE, MAX_SIGNATURE))
    if signature.signer not in trusted:
        known = ", ".join(sorted(trusted)) or "nobody"
        raise PackageError(
            f"{folder.name} is signed by {signature.signer!r}, whom this workspace does not know",
            remedy=f"Trusted: {known}. Ask for a package signed by one of them, or enrol the signer's key.",
        )
    if not verifies(trusted[signature.signer], PURPOSE, signed_content(digest), signature.signature):
        raise PackageError(
            f"{folder.name}: the signature of {signature.signer} does not fit {MANIFEST}: one of them was changed",
            remedy=_REPLACE,
        )
    return signature.signer


def _listing(folder: Path) -> dict[str, int]:
    """Names and sizes of what lies in a folder; refuse everything but plain files."""
    if folder.is_symlink() or not folder.is_dir():
        raise PackageError(f"{folder} is not a folder", remedy="Name the folder of a package.")
    found: dict[str, int] = {}
    with os.scandir(folder) as entries:
        for entry in entries:
            if len(found) > 1000:
                raise PackageError(f"{folder.name} holds more than 1000 files")
            facts = entry.stat(follow_symlinks=False)
            if not stat.S_ISREG(facts.st_mode):
                what = "a link" if entry.is_symlink() else "a folder" if entry.is_dir() else "no plain file"
                raise PackageError(
                    f"{folder.name}/{entry.name} is {what}; a package holds plain files only", remedy=_REPLACE
                )
            found[entry.name] = facts.st_size
    return found


def _allowed_only(folder: Path, there: Mapping[str, int]) -> None:
    limits = {**ALLOWED, MANIFEST: MAX_MANIFEST, SIGNATURE: MAX_SIGNATURE}
    for name, size in sorted(there.items()):
        if name not in limits:
            raise PackageError(
                f"{folder.name}/{name} is not allowed in a package",
                remedy=f"Allowed: {', '.join(sorted(limits))}.",
            )
        if size > limits[name]:
            raise PackageError(
                f"{folder.name}/{name} has {size:,} bytes; at most {limits[name]:,} are allowed",
                remedy=_REPLACE,
            )
    if MANIFEST not in there:
        raise PackageError(
            f"{folder} is not a package: {MANIFEST} is missing", remedy="Name the folder of a package."
        )


def _read(path: Path, limit: int) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except FileNotFoundError as error:
        raise PackageError(f"{path.parent} is not a package: {path.name} is missing") from error
    if len(data) > limit:
        raise PackageError(f"{path.name} has more than {limit:,} bytes")
    return data


def _measure(path: Path) -> FileEntry:
    seen, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            seen.update(chunk)
            size += len(chunk)
    return FileEntry(Digest(seen.hexdigest()), size)
