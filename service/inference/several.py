"""Several photos of one request, through the one way in, results in order."""

import asyncio
from collections.abc import Sequence

from detector.errors import ImageError
from detector.placement import ImageArray
from service.inference.pipeline import Answer, Inference, Options
from service.models.registry import LoadedModel

MAX_PHOTOS = 16
"""In one request, whichever way they come."""

AT_ONCE = 4
"""Photos of one request under way at once: the network is kept busy, and no request fills the queue that others wait in."""


async def detect_each(
    inference: Inference, photos: Sequence[bytes | ImageArray], model: LoadedModel, options: Options
) -> list[Answer | ImageError]:
    """An answer for each photo, or why it cannot be used. Any other error ends them all."""
    places = asyncio.Semaphore(AT_ONCE)

    async def one(photo: bytes | ImageArray) -> Answer | ImageError:
        async with places:
            try:
                return await inference.detect(photo, model, options)
            except ImageError as error:
                return error

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(photo)) for photo in photos]
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from errors
    return [task.result() for task in tasks]


async def detect_all(inference: Inference, photos: Sequence[bytes | ImageArray], model: LoadedModel, options: Options) -> list[Answer]:
    """An answer for each photo, for protocols where all fail together. Raises the first ImageError, and says which photo it is of."""
    answers = []
    for number, answer in enumerate(await detect_each(inference, photos, model, options), 1):
        if isinstance(answer, ImageError):
            raise answer if len(photos) == 1 else type(answer)(f"photo {number} of {len(photos)}: {answer}") from answer
        answers.append(answer)
    return answers
