"""What is raised of a pickle file that is not read."""


class ArrayPickleError(ValueError):
    """A pickle file is damaged, or asks for more than arrays and plain containers."""
