"""ganjax: everything that is trained is a differentiable game."""

__version__ = "0.1.0"
