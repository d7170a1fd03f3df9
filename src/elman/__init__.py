"""elman: recurrent sequence models on PyTorch. Train on your own data, decode, stream, look inside."""

__version__ = "0.1.0"
