"""Dropout where a batch is shared out among workers: each drops of its photos what one worker would drop of them in the whole batch."""

from typing import Any

import tensorflow as tf

from training.distributed.process_group import Share


def shared_dropout(kind: type, share: Share, photos: int) -> type:
    """A Keras dropout layer of that kind, for our share of batches of so many photos.

    The same seed gives every worker the same noise for a whole batch, of which it uses its part.
    """
    ours = share.of(photos)

    class Shared(kind):  # type: ignore[misc]
        """Of one worker's photos."""

        def call(self, inputs: Any, training: bool = False) -> Any:
            """(our photos, ...) -> the same."""
            if not training:
                return inputs
            whole = tf.pad(inputs, [[ours.start, photos - ours.stop], *[[0, 0]] * (len(inputs.shape) - 1)])
            return super().call(whole, training=True)[ours.start : ours.stop]

    return Shared
