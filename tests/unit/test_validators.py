"""Checksums: published examples pass, and a wrong digit does not."""

import random

import pytest

from span_marker.rules.validators import is_card_number, is_email, is_iban

IBANS = """GB82WEST12345698765432 DE89370400440532013000 FR1420041010050500013M02606 NL91ABNA0417164300 NO9386011117947
MT84MALT011000012345MTLCAST001S""".split()
CARDS = "4111111111111111 5555555555554444 378282246310005 6011111111111117 30569309025904".split()


@pytest.mark.parametrize("number", IBANS)
def test_ibans(number):
    assert is_iban(number)
    assert is_iban(" ".join(number[at : at + 4] for at in range(0, len(number), 4)).lower())
    for at in range(2, len(number)):
        if number[at].isdigit():
            assert not is_iban(number[:at] + str((int(number[at]) + 1) % 10) + number[at + 1 :])


@pytest.mark.parametrize("number", CARDS)
def test_card_numbers(number):
    assert is_card_number(number)
    assert is_card_number("-".join([number[:4], number[4:]]))
    for at, digit in enumerate(number):
        assert not is_card_number(number[:at] + str((int(digit) + 1) % 10) + number[at + 1 :])


def test_one_of_ten_numbers_is_a_card_number():
    rng = random.Random(0)
    for _ in range(50):
        start = str(rng.randrange(10**14, 10**15))
        assert sum(is_card_number(start + str(last)) for last in range(10)) == 1


@pytest.mark.parametrize(
    "text", ["", "GB82", "GB82WEST1234569876543\u0662", "1234", "4111 1111 1111 111\u0661", "0" * 20]
)
def test_what_has_another_form(text):
    assert not is_iban(text)
    assert not is_card_number(text)


@pytest.mark.parametrize("text", ["a@b.co", "amelia.earhart+1@mail.example.org", "x_y@exämple.de", "a@b.xn--p1ai"])
def test_email_addresses(text):
    assert is_email(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a",
        "a@b",
        "a@b.c",
        "a@.de",
        ".a@b.de",
        "a..b@c.de",
        "a@b..de",
        "a@-b.de",
        "a b@c.de",
        "a@b.de\n",
        "a@b_c.de",
        "a" * 250 + "@b.de",
    ],
)
def test_what_is_no_email_address(text):
    assert not is_email(text)
