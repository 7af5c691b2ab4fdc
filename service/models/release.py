"""What becomes of a model that nobody needs any more."""

import ctypes
import threading
import weakref

from service.models.registry import LoadedModel


def release_aside(model: LoadedModel) -> None:
    """When the last one lets go of the model, its engine is freed in a thread of its own, and the system gets the memory back.

    The last one is a request, in the event loop, which freeing 200 MB would hold up for some tens of milliseconds. And glibc keeps what
    is freed: without a word from us 120 MB stay with the process after `everyday` has gone.
    """
    weakref.finalize(model, _free_in_thread, [model.detector]).atexit = False


def _free_in_thread(only_reference: list[object]) -> None:
    threading.Thread(target=_free, args=(only_reference,), name="release").start()


def _free(only_reference: list[object]) -> None:
    only_reference.clear()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's; other libraries give back by themselves
    if trim is not None:
        trim(0)
