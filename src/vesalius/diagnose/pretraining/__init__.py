"""Masked-language-model pre-training on the user's own text, as a task of the engine."""
