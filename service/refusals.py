"""What every way in may refuse of a photo, for their tables of answers."""

from detector.errors import DamagedImage, EmptyImage, ImageTooLarge, NotAnImage
from service.errors import BodyTooLarge

PHOTO_REFUSALS: tuple[type[Exception], ...] = (EmptyImage, BodyTooLarge, ImageTooLarge, NotAnImage, DamagedImage)
