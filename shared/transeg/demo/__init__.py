"""What the demonstrations of the methods share: a user's commands, and the scores that they leave."""

from transeg.lazy import submodules

__getattr__ = submodules(__name__)
