"""What tells of persons: by name, by value, by both; and what only looks so."""

from __future__ import annotations

import random
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.core.contracts import protection
from mainspring.core.protection import detecting, naming, shapes
from mainspring.core.reference.flight_delay import source


def luhn(digits: str) -> bool:
    """ISO/IEC 7812-1, digit by digit."""
    total = 0
    for i, c in enumerate(reversed(digits)):
        n = int(c) * (2 if i % 2 else 1)
        total += n - 9 if n > 9 else n
    return total % 10 == 0


def with_check(front: str) -> str:
    return next(front + str(d) for d in range(10) if luhn(front + str(d)))


def iban(country: str, account: str) -> str:
    """ISO 13616 with Python's long integers."""
    turned = account + country + "00"
    number = int("".join(str(int(c, 36)) for c in turned))
    return f"{country}{98 - number % 97:02d}{account}"


def holds(expression: pl.Expr, *values: str) -> list[bool]:
    return pl.DataFrame({"value": values}).select(expression).to_series().to_list()


def one(column: str, values: list[Any], dtype: Any = None) -> protection.ColumnFinding | None:
    found = detecting.detect(pl.DataFrame({column: pl.Series(values, dtype=dtype)}))
    return found[0] if found else None


@given(st.text("0123456789", min_size=11, max_size=17), st.sampled_from("23456"), st.integers(0, 9))
def test_a_card_is_known_by_its_check_digit(rest: str, first: str, wrong: int) -> None:
    front = first + rest
    good = with_check(front)
    bad = front + str((int(good[-1]) + 1 + wrong % 9) % 10)
    spaced = " ".join(good[i : i + 4] for i in range(0, len(good), 4))
    assert holds(shapes.is_card(pl.col("value")), good, spaced, bad, good + "x", "1" + rest) == [
        True, True, False, False, False,
    ]  # fmt: skip


@given(
    st.sampled_from(["DE", "GB", "FR", "MT", "NO"]),
    st.text("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ", min_size=11, max_size=30),
)
def test_an_account_is_known_by_mod_97(country: str, account: str) -> None:
    good = iban(country, account)
    wrong = f"{country}{(int(good[2:4]) + 1) % 100:02d}{account}"
    spaced = " ".join(good[i : i + 4] for i in range(0, len(good), 4)).lower()
    assert holds(shapes.is_iban(pl.col("value")), good, spaced, wrong) == [True, True, False]


def test_published_examples_of_cards_and_accounts_are_known() -> None:
    cards = ("4111 1111 1111 1111", "5555-5555-5555-4444", "378282246310005", "6011111111111117")
    accounts = ("GB82 WEST 1234 5698 7654 32", "DE89370400440532013000", "FR1420041010050500013M02606")
    assert all(holds(shapes.is_card(pl.col("value")), *cards))
    assert all(holds(shapes.is_iban(pl.col("value")), *accounts))


@pytest.mark.parametrize(
    ("column", "values", "kind"),
    [
        ("a", ["ann@example.org", "bob.k+x@mail.example.co.uk"], "email"),
        ("b", [with_check("411111111111111"), with_check("555555555555444")], "card_number"),
        ("c", [iban("DE", "370400440532013000"), iban("FR", "20041010050500013M02606")], "bank_account"),
        ("d", ["123-45-6789", "078-05-1120"], "national_id"),
        ("d2", ["QQ 12 34 56 C".replace("QQ", "AB"), "JG103759A"], "national_id"),
        ("e", ["192.168.0.1", "2001:db8::ff00:42:8329"], "ip_address"),
        ("f", ["00:1A:2B:3C:4D:5E", "00-1a-2b-3c-4d-5f"], "device"),
        ("g", ["+49 30 901820", "(020) 7946 0958"], "phone"),
        ("h", ["Ada Lovelace", "Gödel K. Müller"], "person_name"),
    ],
)  # fmt: skip
def test_values_alone_say_it(column: str, values: list[str], kind: str) -> None:
    found = one(column, values * 10)
    assert found is not None and found.kind == kind and found.sampled_rows == 20
    assert found.classification == protection.KINDS[found.kind]
    assert not any(value in reason for value in values for reason in found.reasons)  # counts, never values


@pytest.mark.parametrize(
    "values",
    [
        ["2013-01-01", "2013-12-31"],
        ["01.02.2013", "3/4/13"],
        ["12:30:05", "23:59:59"],
        ["999-45-6789", "000-12-3456", "666-12-3456", "123-00-4567", "123-45-0000"],
        ["1.2", "1.2.3", "300.1.1.1"],
        ["N14228", "EWR", "UA"],
        ["a@b", "@example.org", "x@y.", "two words@ example.org"],
        ["12345", "0049"],
        ["DE00370400440532013000"],
    ],
)
def test_what_only_looks_so_is_not_found(values: list[str]) -> None:
    assert one("x", values * 10) is None


def test_one_random_number_of_ten_has_a_check_digit_and_the_column_is_no_card() -> None:
    random.seed(7)
    numbers = [str(random.randrange(4 * 10**15, 5 * 10**15)) for _ in range(5000)]
    share = sum(luhn(n) for n in numbers) / len(numbers)
    assert 0.08 < share < 0.12
    assert one("order", numbers) is None
    assert one("order", [int(n) for n in numbers]) is None
    assert one("x", [int(with_check(str(n)[:-1])) for n in numbers]).kind == "card_number"  # type: ignore[union-attr]


def test_free_text_has_it_inside() -> None:
    text = ["the plane was late"] * 97 + [
        "write to ann@example.org please",
        "call +49 30 901820 or ann@example.org",
        "x",
    ]
    found = one("remarks", text)
    assert found is not None and (found.kind, found.confidence) == ("email", 0.8)
    assert any("2.0% of 100 values have an e-mail address inside" in reason for reason in found.reasons)
    assert one("remarks", ["the plane was late"] * 100) is None


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("customerEmail", "email"), ("E-Mail", "email"), ("HTTPClientIP", "ip_address"), ("ip_address", "ip_address"),
        ("home_address", "address"), ("passengerFirstName", "person_name"), ("patient_name", "person_name"),
        ("DOB", "birth_date"), ("ssn", "national_id"), ("passport_no", "national_id"), ("iban", "bank_account"),
        ("religion", "special"), ("diagnosis", "health"), ("mac_address", "device"), ("user_password", "credential"),
        ("mobilePhone", "phone"), ("zip_code", "postcode"), ("sex", "gender"),
    ],
)  # fmt: skip
def test_names_alone_say_it_surely_enough(name: str, kind: str) -> None:
    (found,) = naming.findings([name])
    assert found.kind == kind and found.confidence >= protection.CERTAIN_ENOUGH and found.sampled_rows == 0


@pytest.mark.parametrize("name", ["name", "model_name", "lat", "customer_id", "userId", "age", "tel"])
def test_a_weak_name_is_told_and_keeps_nothing_back(name: str) -> None:
    (found,) = naming.findings([name])
    assert 0.3 <= found.confidence < protection.CERTAIN_ENOUGH


@pytest.mark.parametrize(
    "name",
    [
        "tailnum",
        "origin",
        "delay_mean_7d",
        "wind_speed",
        "carrier",
        "tip",
        "essex",
        "manage",
        "",
        "--",
        "straße",
    ],
)
def test_other_names_say_nothing(name: str) -> None:
    assert naming.findings([name]) == []


def test_no_column_of_the_reference_data_is_kept_back() -> None:
    columns = {f"{table}.{name}": name for table, (_, types) in source._CSV.items() for name in types}
    sure = [f for f in naming.findings(columns.values()) if f.confidence >= protection.CERTAIN_ENOUGH]
    assert len(columns) > 50 and sure == []


def test_name_and_values_together_are_surer_than_each_and_may_contradict() -> None:
    emails = ["ann@example.org"] * 30
    by_value, both = one("x", emails), one("email", emails)
    assert by_value is not None and both is not None and both.confidence > by_value.confidence >= 0.97
    doubted = one("email", ["yes", "no"] * 15)
    assert doubted is not None and doubted.confidence == pytest.approx(0.36)
    assert "none of 30 values looks so" in doubted.reasons
    assert one("email", ["yes"] * 5).confidence == 0.9  # type: ignore[union-attr] # too few to contradict
    assert one("name", ["Ada Lovelace"] * 9).confidence > 0.5  # type: ignore[union-attr]


def test_what_is_missing_counts_for_nothing() -> None:
    values = [None] * 50 + ["", "  "] + ["ann@example.org"] * 3
    found = one("x", values)
    assert found is not None and found.sampled_rows == 3
    for empty in ([], [None, None], ["", None]):
        assert one("x", empty, pl.String) is None
    assert one("email", [], pl.String).sampled_rows == 0  # type: ignore[union-attr]


def test_every_type_is_taken_and_the_order_is_the_frames() -> None:
    rows = pl.DataFrame(
        {
            "zip_code": pl.Series(["a", "b"], dtype=pl.Categorical),
            "birth_date": pl.Series([1, 2], dtype=pl.Int64).cast(pl.Date),
            "gps": [[1.0], [2.0]],
            "plain": [1.5, 2.5],
            "blob": [b"x", b"y"],
            "user": [{"email": "x"}, {"email": "y"}],
        }
    )
    assert [f.column for f in detecting.detect(rows)] == ["zip_code", "birth_date", "gps", "user"]
    assert detecting.detect(pl.DataFrame()) == []


def test_a_sample_is_spread_over_the_whole() -> None:
    frame = pl.LazyFrame({"x": range(25_000)})
    got = detecting.sample(frame, 1000)["x"]
    assert got.len() == 1000 and got.min() == 0 and (got.max() or 0) >= 24_900
    assert detecting.sample(pl.LazyFrame({"x": []}), 10).height == 0
    assert detecting.sample(pl.LazyFrame({"x": [1]}), 10).height == 1
