"""What values look like that tell of persons: patterns and check digits, as Polars expressions over a column of text.

Check digits keep what is merely long from being taken for a card or an account: Luhn (ISO/IEC 7812-1) is passed by one
random number of ten, mod 97 (ISO 13616) by one of ninety-seven, and a column counts only if nearly all of it passes.
"""

from __future__ import annotations

import string
from dataclasses import dataclass
from functools import reduce
from typing import Final

import polars as pl

from mainspring.core.contracts.protection import PiiKind

__all__ = ["INSIDE", "SHAPES", "Shape", "is_card", "is_iban"]

_EMAIL: Final = r"[A-Za-z0-9._%+'-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63})*\.[A-Za-z]{2,24}"
_OCTET: Final = r"(?:25[0-5]|2[0-4]\d|1?\d?\d)"
_WIDTH: Final = 70
"""Digits of the longest IBAN, of 34 letters that are two digits each, in whole pieces of seven."""
_PIECE: Final = 7


@dataclass(frozen=True)
class Shape:
    """One look of a value. `certainty`: how sure a column is of this kind all of whose values look so."""

    kind: PiiKind
    certainty: float
    says: str
    matches: pl.Expr
    """True for a value of column `value` (text, not null) that looks so."""


def _value() -> pl.Expr:
    return pl.col("value").str.strip_chars()


def is_card(text: pl.Expr) -> pl.Expr:
    """A payment card's number with its check digit; blanks and hyphens between digits do not count."""
    digits = text.str.replace_all(r"[ -]", "")
    looks = digits.str.contains(r"^[2-6]\d{12,18}$")
    padded = digits.str.zfill(20)
    total: pl.Expr = reduce(
        lambda a, b: a + b, (_luhn(padded.str.slice(i, 1).cast(pl.Int64, strict=False), i) for i in range(20))
    )
    return looks & (total % 10 == 0).fill_null(False)


def _luhn(digit: pl.Expr, place: int) -> pl.Expr:
    """Every second digit from the right counts twice: of twenty, those at even places."""
    if place % 2:
        return digit
    doubled = digit * 2
    return pl.when(doubled > 9).then(doubled - 9).otherwise(doubled)


def is_iban(text: pl.Expr) -> pl.Expr:
    """An account's number by mod 97, whatever its country; blanks do not count."""
    packed = text.str.replace_all(" ", "").str.to_uppercase()
    looks = packed.str.contains(r"^[A-Z]{2}\d{2}[A-Z0-9]{11,30}$")
    turned = pl.concat_str(packed.str.slice(4), packed.str.slice(0, 4))
    numbered = turned.str.replace_many(
        list(string.ascii_uppercase), [str(10 + i) for i in range(len(string.ascii_uppercase))]
    ).str.zfill(_WIDTH)
    rest: pl.Expr = pl.lit(0, dtype=pl.Int64)
    for start in range(0, _WIDTH, _PIECE):
        piece = numbered.str.slice(start, _PIECE).cast(pl.Int64, strict=False)
        rest = (rest * 10**_PIECE + piece) % 97
    return looks & (rest == 1).fill_null(False)


def _is_phone() -> pl.Expr:
    """International, or written as people do, with separators; neither a date nor a bare number."""
    text = _value()
    digits = text.str.replace_all(r"\D", "").str.len_chars()
    looks = text.str.contains(
        r"^(?:\+|00)[1-9][\d ()./-]{6,18}$|^\(?\d{2,5}\)?[ ./-]\d{2,5}([ ./-]\d{2,6}){1,3}$"
    )
    is_date = text.str.contains(r"^\d{4}[-./]\d{1,2}[-./]\d{1,2}|^\d{1,2}[-./]\d{1,2}[-./]\d{2,4}$")
    is_ssn = text.str.contains(r"^\d{3}-\d{2}-\d{4}$")
    is_ip = text.str.contains(rf"^{_OCTET}(\.{_OCTET}){{3}}$")
    return looks & digits.is_between(7, 15) & ~is_date & ~is_ssn & ~is_ip


def _is_national_id() -> pl.Expr:
    """Social security numbers of the United States that can have been given out; insurance numbers of the United Kingdom."""
    text = _value()
    american = text.str.contains(r"^\d{3}-\d{2}-\d{4}$") & ~text.str.contains(r"^(000|666|9)|-00-|-0000$")
    british = text.str.contains(r"^[ABCEGHJ-PRSTW-Z][ABCEGHJ-NPRSTW-Z] ?\d{2} ?\d{2} ?\d{2} ?[A-D]$")
    return american | british


def _is_ip() -> pl.Expr:
    text = _value()
    six = text.str.contains(r"^[0-9A-Fa-f]{1,4}(:[0-9A-Fa-f]{0,4}){2,7}$") & ~text.str.contains(
        r"^\d{1,2}:\d{1,2}:"
    )
    return text.str.contains(rf"^{_OCTET}(\.{_OCTET}){{3}}$") | six


#: A full name alone is a weak sign: a place or a product may look so.
SHAPES: Final = (
    Shape("email", 0.98, "look like an e-mail address", _value().str.contains(f"^{_EMAIL}$")),
    Shape("card_number", 0.97, "are card numbers by their check digit", is_card(_value())),
    Shape("bank_account", 0.99, "are account numbers by their check digits", is_iban(_value())),
    Shape("national_id", 0.9, "look like a national identity number", _is_national_id()),
    Shape("ip_address", 0.85, "look like an IP address", _is_ip()),
    Shape("device", 0.85, "look like a MAC address", _value().str.contains(r"^[0-9A-Fa-f]{2}([:-][0-9A-Fa-f]{2}){5}$")),
    Shape("phone", 0.75, "look like a telephone number", _is_phone()),
    Shape(
        "person_name",
        0.35,
        "look like a full name",
        _value().str.contains(r"^\p{Lu}[\p{L}'\x{2019}.-]+( \p{Lu}[\p{L}'\x{2019}.-]*){1,3}$"),
    ),
)  # fmt: skip

#: What free text may have inside; a share of one in a hundred is enough to say so.
INSIDE: Final = (
    Shape("email", 0.8, "have an e-mail address inside", _value().str.contains(rf"\b{_EMAIL}\b")),
    Shape("phone", 0.65, "have a telephone number inside", _value().str.contains(r"(?:^|[\s(])\+[1-9]\d{0,2}[ -]?\(?\d{2,4}\)?[ -]?\d{3}[ -]?\d{3,4}\b")),
)  # fmt: skip
