"""Finders of personal data in Chinese and English clinical text, and what replaces it.

`spans` holds what they share; `numbers`, `dates`, `chinese_names`, `english_names`, `places` each
find some kinds; `surrogates` and `shifting` invent replacements; `files` works through a file.
Public names are in `vesalius.text.personal`.
"""
