"""How the report writes numbers."""


def percent(share: float, digits: int = 1) -> str:
    return f"{100 * share:.{digits}f}\N{NO-BREAK SPACE}%"


def setting(share: float) -> str:
    """A share that somebody chose: none of its digits is rounded away."""
    return f"{100 * share:g}\N{NO-BREAK SPACE}%"


def number(value: float | None, digits: int = 2) -> str:
    """With a real minus sign; a dash where there is nothing to say."""
    return "–" if value is None else f"{value:.{digits}f}".replace("-", "−")


def signed(value: float) -> str:
    """A change: with its sign, which for a decrease is a real minus."""
    return f"{value:+.2f}".replace("-", "−")


def p_value(p: float) -> str:
    return ("p < 0.001" if p < 0.001 else f"p = {p:.3f}").replace(" ", "\N{NO-BREAK SPACE}")


def thousands(count: int) -> str:
    return f"{count:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")
