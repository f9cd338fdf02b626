"""Whether an event storage is open."""

from d2_modeling.events import active_event_storage


def has_event_storage() -> bool:
    """Whether there is a current storage."""
    return active_event_storage() is not None
