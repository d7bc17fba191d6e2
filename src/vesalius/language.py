"""Messages in English or Chinese, chosen by the environment variable `VESALIUS_LANG`.

The two wordings stand side by side where they are used, so neither can be forgotten.
"""

import os


def language() -> str:
    """Return "zh" when `VESALIUS_LANG` starts with "zh", else "en"."""
    return "zh" if os.environ.get("VESALIUS_LANG", "").lower().startswith("zh") else "en"


def say(english: str, chinese: str) -> str:
    """Return the wording for the user's language."""
    return chinese if language() == "zh" else english
