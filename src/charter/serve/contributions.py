"""How much each column of the matrix moved a score: exactly, from the model's own format."""

from __future__ import annotations

import ctypes
import json
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from charter.core.errors import PackageError
from charter.serve.treeshap import LookupContributions

Floats = npt.NDArray[np.float64]


class Contributor(Protocol):
    """Splits a raw score into one number per matrix column."""

    def contributions(self, X: npt.NDArray[np.float32]) -> Floats:
        """Contributions of float32 [n, d]: float64 [n, k, d], k outputs (1 unless multiclass)."""
        ...


def contributor(native: Mapping[str, bytes]) -> Contributor | None:
    """Choose by the files of the bundle; None when the model gives no exact contributions."""
    if "lightgbm.txt" in native:
        content = native["lightgbm.txt"]
        return LookupContributions.build(content) or TreeContributions(content)
    if "linear.json" in native:
        return LinearContributions(native["linear.json"])
    return None


class LinearContributions:
    """``coefficient * (x - mean)``, the exact Shapley value of a linear model with independent columns.

    Parameters
    ----------
    content
        JSON ``{"coefficients": [d] or [k, d], "intercept": ..., "means": [d], "fill": [d]}`` in the units of the
        matrix; ``fill`` stands in for an ``x`` that is not finite, as it did in training (default: the mean).
    """

    def __init__(self, content: bytes) -> None:
        data = json.loads(content)
        self._coefficients = np.atleast_2d(np.asarray(data["coefficients"], dtype=np.float64))
        self._means = np.asarray(data["means"], dtype=np.float64)
        self._fill = np.asarray(data.get("fill", data["means"]), dtype=np.float64)

    def contributions(self, X: npt.NDArray[np.float32]) -> Floats:
        """Contributions of float32 [n, d]: float64 [n, k, d]."""
        centred = np.where(np.isfinite(X), X.astype(np.float64), self._fill) - self._means
        product: Floats = centred[:, None, :] * self._coefficients[None, :, :]
        return product


class TreeContributions:
    """Exact TreeSHAP of a LightGBM model (Lundberg et al. 2020, path-dependent), by LightGBM's C interface.

    The C interface rather than the Python package: that one imports pandas and scikit-learn wherever it finds them,
    which would cost a server hundreds of megabytes.

    Parameters
    ----------
    content
        The model in LightGBM's text format.
    """

    def __init__(self, content: bytes) -> None:
        self._library = _library()
        self._handle = ctypes.c_void_p()
        iterations = ctypes.c_int(0)
        self._call(
            "LGBM_BoosterLoadModelFromString", content, ctypes.byref(iterations), ctypes.byref(self._handle)
        )
        classes, columns = ctypes.c_int(0), ctypes.c_int(0)
        self._call("LGBM_BoosterGetNumClasses", self._handle, ctypes.byref(classes))
        self._call("LGBM_BoosterGetNumFeature", self._handle, ctypes.byref(columns))
        self._outputs, self._width = classes.value, columns.value

    def __del__(self) -> None:
        if getattr(self, "_handle", None):
            self._library.LGBM_BoosterFree(self._handle)

    def _call(self, function: str, *arguments: object) -> None:
        if getattr(self._library, function)(*arguments) != 0:
            message = self._library.LGBM_GetLastError().decode(errors="replace")
            raise PackageError(f"lightgbm.txt: {message}")

    def contributions(self, X: npt.NDArray[np.float32]) -> Floats:
        """Contributions of float32 [n, d]: float64 [n, k, d]; the last column of LightGBM, the average, is cut off."""
        X = np.ascontiguousarray(X, dtype=np.float32)
        rows, columns = X.shape
        if columns != self._width:
            raise PackageError(f"lightgbm.txt has {self._width} columns, the matrix has {columns}")
        out = np.empty((rows, self._outputs, columns + 1), dtype=np.float64)
        written = ctypes.c_int64(0)
        self._call(
            "LGBM_BoosterPredictForMat",
            self._handle,
            X.ctypes.data_as(ctypes.c_void_p),
            ctypes.c_int(0),  # float32
            ctypes.c_int32(rows),
            ctypes.c_int32(columns),
            ctypes.c_int(1),  # row by row
            ctypes.c_int(3),  # contributions
            ctypes.c_int(0),
            ctypes.c_int(-1),
            b"num_threads=1",
            ctypes.byref(written),
            out.ctypes.data_as(ctypes.POINTER(ctypes.c_double)),
        )
        if written.value != out.size:
            raise PackageError(f"lightgbm.txt gave {written.value} numbers instead of {out.size}")
        return out[:, :, :-1]


@cache
def _library() -> ctypes.CDLL:
    found = find_spec("lightgbm")
    places = [] if found is None or found.origin is None else [Path(found.origin).parent]
    files = [f for p in places for n in ("lib_lightgbm.so", "lib_lightgbm.dylib", "lib_lightgbm.dll")
             for f in (p / "lib" / n, p / n, p / "bin" / n) if f.exists()]  # fmt: skip
    if not files:
        raise PackageError(
            "reasons of this model need LightGBM's library, which is not installed",
            remedy="pip install 'charter-ml[serve]'",
        )
    library = ctypes.CDLL(str(files[0]))
    library.LGBM_GetLastError.restype = ctypes.c_char_p
    return library
