"""Encoders, decoders and tokenizers, pretrained weights, and the models built on them."""
