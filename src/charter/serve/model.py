"""The portable model: ONNX in, numbers out."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from charter.core.errors import PackageError

INPUT, OUTPUT = "X", "score"


class OnnxModel:
    """A model in ONNX Runtime, on one thread.

    One thread per call keeps a row's score independent of the rows beside it to the last bit (no partial sums that
    depend on how many there are); callers who want more cores run several calls at once, the runtime lets them.

    Parameters
    ----------
    content
        The serialised graph: input ``X`` float32 [n, d], output ``score`` float32 [n] or [n, k].

    Raises
    ------
    PackageError
        When the bytes are no such graph.
    """

    def __init__(self, content: bytes) -> None:
        import onnxruntime

        onnxruntime.set_default_logger_severity(3)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        try:
            self._session: Any = onnxruntime.InferenceSession(
                content, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # the runtime raises classes of its own that it does not export
            raise PackageError(f"model.onnx cannot be loaded: {str(error).splitlines()[0]}") from error
        inputs = [i.name for i in self._session.get_inputs()]
        outputs = [o.name for o in self._session.get_outputs()]
        if inputs != [INPUT] or OUTPUT not in outputs:
            raise PackageError(
                f"model.onnx has inputs {inputs} and outputs {outputs}; needs input {INPUT!r} and output {OUTPUT!r}"
            )
        width = self._session.get_inputs()[0].shape[-1]
        self.width: int | None = width if isinstance(width, int) else None

    def predict(self, X: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """Score a matrix.

        Parameters
        ----------
        X : float32 [n, d], C-contiguous

        Returns
        -------
        float64 [n] (probability or value) or [n, k] (class probabilities)
        """
        raw = np.asarray(self._session.run([OUTPUT], {INPUT: X})[0], dtype=np.float64)
        return raw[:, 0] if raw.ndim == 2 and raw.shape[1] == 1 else raw
