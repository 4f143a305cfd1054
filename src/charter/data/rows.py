"""The digest of a table's rows, and restoring catalogue tables from the files they come in."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import polars as pl

from charter.core.digest import Digest
from charter.core.errors import DataError

_TAIWAN_CODES = {
    **dict(
        zip(("X1", "X2", "X3", "X4", "X5"), ("LIMIT_BAL", "SEX", "EDUCATION", "MARRIAGE", "AGE"), strict=True)
    ),
    **{f"X{6 + i}": f"PAY_{m}" for i, m in enumerate((0, 2, 3, 4, 5, 6))},
    **{f"X{12 + i}": f"BILL_AMT{i + 1}" for i in range(6)},
    **{f"X{18 + i}": f"PAY_AMT{i + 1}" for i in range(6)},
    "Y": "default.payment.next.month",
    "default payment next month": "default.payment.next.month",
    "default-payment-next-month": "default.payment.next.month",
}


def rows_digest(frame: pl.DataFrame) -> Digest:
    """Digest of a table's columns and rows in their order, independent of the file it came in.

    Numbers count as 64-bit floats, NaN as missing, everything else as the text that Polars writes; so it does not
    depend on how wide a column's integers are, nor on the version of a file format.

    Examples
    --------
    >>> a = pl.DataFrame({"n": [1, 2], "s": ["x", None]})
    >>> rows_digest(a) == rows_digest(a.with_columns(pl.col("n").cast(pl.Float64)))
    True
    >>> rows_digest(a) == rows_digest(a.reverse())
    False
    """
    digest = hashlib.sha256(f"{frame.height} {frame.width}\n".encode())
    for series in frame.get_columns():
        digest.update(f"{len(series.name.encode())} {series.name}\n".encode())
        if series.dtype.is_numeric() or series.dtype == pl.Boolean:
            numbers = series.cast(pl.Float64).fill_nan(None)
            digest.update(b"number" + numbers.is_null().to_numpy().tobytes())
            # + 0.0 makes one zero of the two.
            digest.update((numbers.fill_null(0.0).to_numpy() + 0.0).astype("<f8").tobytes())
        else:
            texts = series.cast(pl.String)
            lengths = texts.str.len_bytes().cast(pl.Int64).fill_null(-1).to_numpy().astype("<i8")
            digest.update(b"text" + lengths.tobytes())
            digest.update((texts.str.join("", ignore_nulls=True).item() or "").encode())
    return Digest(digest.hexdigest())


def restore(frame: pl.DataFrame, columns: Mapping[str, str], *, name: str) -> pl.DataFrame:
    """Bring a catalogue table into its delivered form: names, order and types of ``columns``.

    Understands the Taiwan table as the repository serves it (``X1`` .. ``X23``, ``Y``) and with indicator columns
    ``EDUCATION_0`` .. and ``MARRIAGE_0`` .. and a sex of 0 and 1.

    Raises
    ------
    DataError
        When a column is missing or does not have its type.
    """
    frame = frame.rename(
        {c: _TAIWAN_CODES[c] for c in frame.columns if c in _TAIWAN_CODES and c not in columns}
    )
    for code in ("EDUCATION", "MARRIAGE"):
        indicators = [c for c in frame.columns if c.startswith(f"{code}_")]
        if indicators and code in columns and code not in frame.columns:
            values = [pl.col(c) * int(c.rpartition("_")[2]) for c in indicators]
            frame = frame.with_columns(pl.sum_horizontal(values).alias(code))
    if "SEX" in columns and frame["SEX"].min() == 0:
        frame = frame.with_columns(pl.col("SEX") + 1)
    absent = [c for c in columns if c not in frame.columns]
    if absent:
        raise DataError(
            f"data set {name}: the file has no column {absent[0]!r}",
            remedy=f"It has {', '.join(frame.columns[:12])}",
        )
    try:
        return frame.select(pl.col(c).cast(getattr(pl, t)) for c, t in columns.items())
    except pl.exceptions.PolarsError as error:
        raise DataError(f"data set {name}: {str(error).splitlines()[0]}") from error
