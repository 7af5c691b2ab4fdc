"""What every way in may refuse, for their tables of answers."""

from detector.errors import DamagedImage, EmptyImage, ImageTooLarge, NotAnImage
from service.errors import BadHeader, BodyTooLarge, DeadlineMissed, Overloaded, SlowBody

BODY_REFUSALS: tuple[type[Exception], ...] = (BadHeader, SlowBody, BodyTooLarge, Overloaded)
"""Of a request that brings a body, before anybody reads it."""

PHOTO_REFUSALS = (*BODY_REFUSALS, EmptyImage, ImageTooLarge, NotAnImage, DamagedImage, DeadlineMissed)
"""Of a photo."""
