"""Numbers as the report writes them."""

from reward.report.numbers import number, p_value, percent, setting, thousands

SPACE, NARROW = "\N{NO-BREAK SPACE}", "\N{NARROW NO-BREAK SPACE}"


def test_what_was_measured_is_rounded_and_what_was_chosen_is_not() -> None:
    assert percent(0.97512) == f"97.5{SPACE}%"
    assert percent(0.97512, 0) == f"98{SPACE}%"
    assert setting(0.975) == f"97.5{SPACE}%"
    assert setting(0.95) == f"95{SPACE}%"
    assert setting(0.29) == f"29{SPACE}%"  # 100 * 0.29 is below 29 in binary


def test_numbers_have_a_real_minus_and_nothing_has_a_dash() -> None:
    assert [number(-0.126), number(2, 0), number(None)] == ["\u22120.13", "2", "\u2013"]


def test_a_p_value_is_never_zero() -> None:
    assert p_value(0.0009).replace(SPACE, " ") == "p < 0.001"
    assert p_value(0.0456).replace(SPACE, " ") == "p = 0.046"


def test_thousands_stand_apart() -> None:
    assert [thousands(999), thousands(1234567)] == ["999", f"1{NARROW}234{NARROW}567"]
