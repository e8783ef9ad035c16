"""Curves as the libraries that have written them read them."""

from pathlib import Path


def board_of(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """The curves in a folder of TensorBoard's, as TensorBoard reads them."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util import tensor_util

    board = EventAccumulator(str(folder))
    board.Reload()
    return {
        tag: [(each.step, float(tensor_util.make_ndarray(each.tensor_proto))) for each in board.Tensors(tag)]
        for tag in board.Tags()["tensors"]
    }
