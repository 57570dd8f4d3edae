"""chatbatch: run a file of chat conversations through a completion API, overnight and within limits."""

__version__ = "0.1.0"
