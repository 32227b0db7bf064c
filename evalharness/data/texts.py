"""Texts as models read them."""

from __future__ import annotations


def document_text(title: str | None, text: str) -> str:
    """A document as models read it: title, one space, text; stripped. Source: mteb's corpus dataloader.

    >>> document_text("Ferns", "They like shade. ")
    'Ferns They like shade.'
    """
    return (f"{title} {text}" if title else text).strip()
