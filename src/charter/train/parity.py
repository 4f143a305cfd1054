"""Whether the exported model says what the trained one says."""

from __future__ import annotations

import numpy as np

from charter.train import calibrate
from charter.train.calibrate import Calibration
from charter.train.ports import Fitted

PARITY_LIMIT = 1e-5
"""Largest difference of a probability between the trained and the packaged model."""
PARITY_ROWS = 5000


def measure_parity(
    model: Fitted, onnx: bytes, X: np.ndarray, task: str, calibration: Calibration
) -> dict[str, float]:
    """Compare what the trained and the exported model answer, calibrated, on rows spread evenly over ``X``."""
    import onnxruntime

    sample = np.ascontiguousarray(X[np.linspace(0, len(X) - 1, min(len(X), PARITY_ROWS)).astype(np.int64)])
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])
    exported = calibrate.apply(
        calibration, np.asarray(session.run(["score"], {"X": sample})[0], dtype=np.float64)
    )
    trained = calibrate.apply(calibration, model.predict(sample))
    scale = max(1.0, float(np.max(np.abs(trained)))) if task == "regression" else 1.0
    return {
        "max_abs_difference": float(np.max(np.abs(exported - trained))) / scale,
        "rows": float(len(sample)),
        "limit": PARITY_LIMIT,
    }
