"""What a column's name says of what it may hold. Pure words: no data is read, and nothing is imported for it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from mainspring.core.contracts.protection import KINDS, ColumnFinding, PiiKind

__all__ = ["Hint", "findings", "hint", "words"]

#: Whom data may be of.
_PERSONS: Final = frozenset(
    [
        "applicant",
        "author",
        "beneficiary",
        "borrower",
        "buyer",
        "candidate",
        "cardholder",
        "caregiver",
        "client",
        "contact",
        "customer",
        "driver",
        "employee",
        "guardian",
        "guest",
        "holder",
        "individual",
        "member",
        "parent",
        "passenger",
        "patient",
        "payer",
        "pupil",
        "person",
        "recipient",
        "resident",
        "sender",
        "spouse",
        "student",
        "subscriber",
        "tenant",
        "user",
        "visitor",
        "worker",
    ]
)

#: Words that stand side by side in a name, what they mean, and how sure that is. The longest match counts.
_PHRASES: Final[Mapping[str, tuple[PiiKind, float]]] = {
    **dict.fromkeys(("email", "e mail", "mail address", "email address", "emailaddress"), ("email", 0.9)),
    "mail": ("email", 0.5),
    **dict.fromkeys(
        ("phone", "telephone", "mobile number", "mobile phone", "msisdn", "phonenumber", "cell phone", "fax number"),
        ("phone", 0.85),
    ),
    **dict.fromkeys(("mobile", "fax", "tel"), ("phone", 0.5)),
    **dict.fromkeys(
        ("first name", "last name", "full name", "surname", "forename", "given name", "family name", "maiden name",
         "middle name", "firstname", "lastname", "fullname", "nickname"),
        ("person_name", 0.9),
    ),
    "name": ("person_name", 0.3),
    **dict.fromkeys(("username", "user name", "login name", "screen name"), ("person_name", 0.7)),
    **dict.fromkeys(
        ("birth date", "birthdate", "birthday", "date of birth", "dob", "born on", "birth day", "birth year", "year of birth"),
        ("birth_date", 0.9),
    ),
    "age": ("birth_date", 0.3),
    **dict.fromkeys(
        ("street", "street address", "home address", "postal address", "mailing address", "address line", "billing address",
         "shipping address", "house number", "residence"),
        ("address", 0.8),
    ),
    "address": ("address", 0.65),
    **dict.fromkeys(("zip code", "zipcode", "postcode", "postal code", "postalcode"), ("postcode", 0.65)),
    "zip": ("postcode", 0.4),
    **dict.fromkeys(("gender", "sex"), ("gender", 0.7)),
    **dict.fromkeys(
        ("ssn", "social security", "social security number", "national id", "national insurance", "nino", "passport",
         "passport number", "tax id", "tax number", "driving licence", "driver license", "drivers license", "identity card"),
        ("national_id", 0.9),
    ),
    **dict.fromkeys(("iban", "bank account", "account number", "bic iban", "sort code"), ("bank_account", 0.85)),
    **dict.fromkeys(
        ("card number", "credit card", "credit card number", "debit card", "ccnum", "cc number", "pan number"),
        ("card_number", 0.9),
    ),
    **dict.fromkeys(("password", "passwd", "api key", "secret key", "access token", "pin code", "cvv", "cvc"), ("credential", 0.9)),
    **dict.fromkeys(("ip address", "ip addr", "ipaddress", "ipv4", "ipv6", "remote addr", "client ip"), ("ip_address", 0.85)),
    "ip": ("ip_address", 0.6),
    **dict.fromkeys(("mac address", "imei", "imsi", "device id", "advertising id", "idfa", "android id"), ("device", 0.8)),
    **dict.fromkeys(("latitude", "longitude", "lat", "lon", "lng", "gps"), ("location", 0.3)),
    **dict.fromkeys(("home latitude", "home longitude", "geo location", "geolocation"), ("location", 0.6)),
    **dict.fromkeys(
        ("diagnosis", "icd10", "icd 10", "medication", "blood type", "disability", "medical record", "mrn", "hiv", "prescription"),
        ("health", 0.8),
    ),
    **dict.fromkeys(
        ("religion", "ethnicity", "ethnic origin", "race", "sexual orientation", "political party", "trade union", "nationality"),
        ("special", 0.75),
    ),
}  # fmt: skip
_KEY_WORDS: Final = frozenset(("id", "key", "no", "nr", "number", "uuid", "guid", "ref"))
_LONGEST: Final = max(len(phrase.split()) for phrase in _PHRASES)


@dataclass(frozen=True)
class Hint:
    """What a name means, how sure that is (0 to 1), and the words that say so."""

    kind: PiiKind
    confidence: float
    said: str


def words(name: str) -> tuple[str, ...]:
    """The words of a name, in lower case: `homeAddress_line-2` is home, address, line, 2."""
    apart = re.sub(r"([a-z0-9])([A-Z])", r"\1 \2", re.sub(r"([A-Z]+)([A-Z][a-z])", r"\1 \2", name))
    return tuple(re.findall(r"[a-z0-9]+", apart.lower()))


def hint(name: str) -> Hint | None:
    """The surest meaning of a name, of those that are longest; None: it says nothing of persons."""
    said = words(name)
    person = next((w for w in said if w in _PERSONS or w.removesuffix("s") in _PERSONS), "")
    found = [Hint(*_PHRASES[phrase], phrase) for phrase in _phrases(said) if phrase in _PHRASES]
    if found:
        best = max(found, key=lambda h: (len(h.said.split()), h.confidence))
        if person and best.confidence < 0.9:
            return Hint(best.kind, min(0.9, best.confidence + 0.4), f"{person} {best.said}")
        return best
    if person and (_KEY_WORDS & set(said) or said[-1] in (person, person + "id")):
        return Hint("person_key", 0.5, " ".join(said))
    return None


def findings(columns: Iterable[str]) -> list[ColumnFinding]:
    """What names alone say, in their order."""
    return [
        ColumnFinding(
            column=name,
            kind=said.kind,
            classification=KINDS[said.kind],
            confidence=said.confidence,
            reasons=(f"its name says `{said.said}`",),
        )
        for name in columns
        if (said := hint(name)) is not None
    ]


def _phrases(said: tuple[str, ...]) -> list[str]:
    return [
        " ".join(said[start : start + length])
        for length in range(1, _LONGEST + 1)
        for start in range(len(said) - length + 1)
    ]
