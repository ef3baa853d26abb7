"""Encoders, decoders, quantizers, and the tokenizer that they form."""
