"""elman: recurrent sequence models on PyTorch. Train on your own data, decode, stream, look inside."""
