"""From files to tensors: codecs, text, readers, and the catalogue of data sets."""
