"""Derive the polynomial of `math/log1p-inl.h` from nothing but mpmath's logarithm (a development tool, not run in tests).

log1p(f) = f + f^2 q(f) on f in [-1/4, 1/2], with q of degree 8 and q(0) = -1/2 exactly. Remez exchange on the error
relative to log1p(f); each coefficient is then rounded to float32 from the lowest power up, and the rest is fitted
again after each rounding, so later coefficients absorb the earlier roundings.

    python native/tools/derive_log1p.py        # prints the coefficients as float32 hex and the error of the rounded set
"""

import mpmath as mp  # type: ignore[import-untyped]
import numpy as np

mp.mp.prec = 200
LOW, HIGH = mp.mpf(-1) / 4, mp.mpf(1) / 2
DEGREE = 8


def target(f: mp.mpf) -> mp.mpf:
    """q(f) = (log1p(f) - f) / f^2, continued through zero."""
    if abs(f) < mp.mpf(10) ** -12:
        return -mp.mpf(1) / 2 + f / 3
    return (mp.log1p(f) - f) / f**2


def weight(f: mp.mpf) -> mp.mpf:
    """What an error of q does to log1p(f), relatively: f^2 / log1p(f)."""
    return f if abs(f) < mp.mpf(10) ** -12 else f**2 / mp.log1p(f)


def evaluate(coefficients: dict[int, mp.mpf], f: mp.mpf) -> mp.mpf:
    """sum of c_i f^i."""
    return mp.fsum(c * f**i for i, c in coefficients.items())


def error(coefficients: dict[int, mp.mpf], f: mp.mpf) -> mp.mpf:
    """Signed relative error of log1p at f."""
    return (evaluate(coefficients, f) - target(f)) * weight(f)


def remez(fixed: dict[int, mp.mpf], rounds: int = 25) -> dict[int, mp.mpf]:
    """Minimax coefficients of the powers that `fixed` does not hold."""
    powers = [i for i in range(DEGREE + 1) if i not in fixed]
    count = len(powers) + 1
    grid = [LOW + (HIGH - LOW) * mp.mpf(i) / 1500 for i in range(1501)]
    points = [
        (LOW + HIGH) / 2 - (HIGH - LOW) / 2 * mp.cos(mp.pi * (2 * i + 1) / (2 * count)) for i in range(count)
    ]
    fitted: dict[int, mp.mpf] = {}
    for _ in range(rounds):
        rows, right = [], []
        for i, f in enumerate(points):
            w = weight(f)
            rows.append([f**p * w for p in powers] + [mp.mpf((-1) ** i)])
            right.append((target(f) - evaluate(fixed, f)) * w)
        solution = mp.lu_solve(mp.matrix(rows), mp.matrix(right))
        fitted = fixed | {p: solution[i] for i, p in enumerate(powers)}
        errors = [error(fitted, f) for f in grid]
        extrema: list[tuple[mp.mpf, mp.mpf]] = []
        for i, e in enumerate(errors):
            if (i and abs(e) < abs(errors[i - 1])) or (i + 1 < len(errors) and abs(e) < abs(errors[i + 1])):
                continue
            if extrema and mp.sign(extrema[-1][1]) == mp.sign(e):
                if abs(e) > abs(extrema[-1][1]):
                    extrema[-1] = (grid[i], e)
            else:
                extrema.append((grid[i], e))
        while len(extrema) > count:
            extrema.pop(0 if abs(extrema[0][1]) < abs(extrema[-1][1]) else -1)
        if len(extrema) < count:
            break
        points = [f for f, _ in extrema]
    return fitted


def main() -> None:
    """Print the float32 coefficients, lowest power first."""
    fixed: dict[int, mp.mpf] = {0: -mp.mpf(1) / 2}
    for power in range(1, DEGREE + 1):
        fixed = fixed | {power: mp.mpf(float(np.float32(float(remez(fixed)[power]))))}
    worst = max(abs(error(fixed, LOW + (HIGH - LOW) * mp.mpf(i) / 20000)) for i in range(20001))
    for power, value in sorted(fixed.items()):
        print(f"  q{power} = {float(value).hex():>24}  {float(value)!r}")
    print(f"largest relative error before evaluation: 2^{float(mp.log(worst, 2)):.2f}")


if __name__ == "__main__":
    main()
