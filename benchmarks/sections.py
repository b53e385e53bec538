"""The comparisons of `benchmarks.analyze`, one function a section."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from dask.system import CPU_COUNT

from benchmarks.bench import Bench, exponent
from benchmarks.dataset import Shape, hypernym_spaces
from benchmarks.picture import Bars, Lines
from benchmarks.write_up import Target, WriteUp

OTHERS = {
    "numpy": ("(d)", "NumPy float64"),
    "pytorch": ("(e)", "PyTorch"),
    "pytorch-at-once": ("(e')", "PyTorch, no class loop"),
    "dask": ("(f)", "Dask, boolean masks"),
}
STEPS = {
    "_slab_moments": "first pass: sums of the classes",
    "_prepare": "columns from the class means",
    "_slab_coordinates": "second pass: products, scatter, nearest means",
    "_finish": "scatter into an orthonormal basis",
    "measured": "geometry, collapse, linkage",
}
MB = 1e6
Result = dict[str, Any]
Side = str | tuple[str, int]


@dataclass(frozen=True)
class Sizes:
    """What the sections measure on; `growing` is the largest of its grid in each direction."""

    main: Shape
    spaces: int
    controls: int
    many: Shape
    flat: Shape
    wide: Shape
    growing: Shape


FULL = Sizes(
    main=Shape(50_000, 2048, 1000),
    spaces=10,
    controls=5,
    many=Shape(5_000, 512, 100, epochs=20, layers=4),
    flat=Shape(1_000_000, 2048, 100),
    wide=Shape(10_000, 100_352, 100),
    growing=Shape(100_000, 2048, 1000),
)
QUICK = Sizes(
    main=Shape(4_000, 64, 32),
    spaces=3,
    controls=2,
    many=Shape(500, 32, 10, epochs=3, layers=2),
    flat=Shape(20_000, 32, 10),
    wide=Shape(500, 4_000, 10),
    growing=Shape(4_000, 64, 32),
)


def single(bench: Bench, out: WriteUp, sizes: Sizes, chosen: tuple[str, ...]) -> None:
    """One label space."""
    many = sizes.spaces if "spaces" in chosen else 0  # their runs measure the single space on the way
    sides: list[Side] = ["read", "products", "featlab", ("numpy", many), ("pytorch", many), "pytorch-at-once", "dask"]
    read, products, ours, *others = bench.compare("single", sizes.main, sides, sizes.controls)
    if ours is None or read is None or products is None:
        out.say("single: featlab or the floor did not finish within the limit.")
        return
    floor = read["seconds"] + products["seconds"]
    rows = [
        ["(a) reading and decoding once", *_cells(read["seconds"], floor, read)],
        ["(b) products at the sgemm rate", *_cells(products["seconds"], floor, None)],
        ["floor (a) + (b)", *_cells(floor, floor, None)],
        ["(c) featlab", *_cells(ours["seconds"], floor, ours)],
    ]
    shown: dict[str, float | None] = {"floor: read + products": floor, "featlab": ours["seconds"]}
    peaks: dict[str, float | None] = {"featlab": ours["peak_bytes"] / MB}
    out.targets.append(Target("one space: featlab / floor", ours["seconds"] / floor, at_most=1.6))
    for (side, (letter, name)), result in zip(OTHERS.items(), others, strict=True):
        seconds = None if result is None else result["single"]
        rows.append([f"{letter} {name}", *_cells(seconds, floor, result)])
        shown[name], peaks[name] = seconds, None if result is None else result["peak_bytes"] / MB
        if side in {"numpy", "pytorch"} and seconds is not None:
            ratio = seconds / ours["seconds"]
            out.targets.append(Target(f"one space: {name} / featlab", ratio, at_least=8.0))
    out.targets.append(Target("one space: featlab's peak", ours["peak_bytes"] / MB, at_most=800, unit="MB"))
    out.table(f"One label space, {sizes.main}, cold", ["", "seconds", "x floor", "peak MB"], rows)
    rates = f"{products['project_gflops']:.0f} and {products['scatter_gflops']:.0f} Gflop/s"
    speed = read["decoded_bytes"] / MB / read["seconds"]
    out.say(f"Read at {speed:,.0f} MB/s decoded; sgemm at {rates} for (n x D)(D x K) and (K x n)(n x K), all cores.")
    out.say(_agreement(ours, [result for result in others if result]))
    out.panels.append(Bars(f"One label space, {sizes.main}", "s", shown))
    out.panels.append(Bars("Peak memory, one label space", "MB", peaks))


def spaces(bench: Bench, out: WriteUp, sizes: Sizes, chosen: tuple[str, ...]) -> None:
    """Hypernym spaces, each with controls."""
    count = len(hypernym_spaces(sizes.main.classes, sizes.spaces))
    counts = sorted({0, count // 3, count})
    sides: list[Side] = [
        *(("featlab", number) for number in counts),
        ("numpy", sizes.spaces),
        ("pytorch", sizes.spaces),
    ]
    *tried, in_numpy, in_pytorch = bench.compare("spaces", sizes.main, sides, sizes.controls)
    ours = [result for result in tried if result]
    if len(ours) < len(counts):
        out.say("spaces: featlab did not finish within the limit.")
        return
    total = 1 + count * (1 + sizes.controls)
    base = ours[0]["seconds"]
    rows = [
        [
            f"featlab, 1 + {number} spaces x (1 + {sizes.controls} controls)",
            *_cells(result["seconds"], base, result),
        ]
        for number, result in zip(counts, ours, strict=True)
    ]
    shown: dict[str, float | None] = {"featlab, 1 space": base, f"featlab, {total} spaces": ours[-1]["seconds"]}
    out.targets.append(Target(f"{total} spaces / one space, featlab", ours[-1]["seconds"] / base, at_most=1.5))
    for side, result in (("numpy", in_numpy), ("pytorch", in_pytorch)):
        seconds = None if result is None else result["seconds"]
        name = OTHERS[side][1]
        rows.append([f"{name}, {total} spaces (extrapolated)", *_cells(seconds, base, result)])
        shown[name] = seconds
        if seconds is not None and side == "pytorch":
            ratio = seconds / ours[-1]["seconds"]
            out.targets.append(Target(f"{total} spaces: PyTorch / featlab", ratio, at_least=40))
    title = f"{count} hypernym spaces with {sizes.controls} controls each, {sizes.main}, cold"
    out.table(title, ["", "seconds", "x one space", "peak MB"], rows)
    out.say(
        "The other sides do each space anew. Three of them are timed, the hyponym space and the hypernym spaces of "
        "fewest and of most groups; the mean of the latter two stands for each other space and control."
    )
    out.say(_agreement(ours[-1], [result for result in (in_numpy, in_pytorch) if result]))
    out.panels.append(Bars(f"{total} label spaces, {sizes.main}", "s", shown, absent="did not finish"))


def steps(bench: Bench, out: WriteUp, sizes: Sizes, chosen: tuple[str, ...]) -> None:
    """Where the processor's time goes."""
    products, ours = bench.compare("steps", sizes.main, ["products", "steps"])
    if not (products and ours):
        out.say("steps: featlab did not finish within the limit.")
        return
    spent, total = ours["spent"], ours["total"]
    named = {title: spent[name] for name, title in STEPS.items()}
    named["reading, decoding, tables, and what else is in no task"] = total - sum(named.values())
    rows = [[title, f"{seconds:.2f}", f"{seconds / total:.0%}"] for title, seconds in named.items()]
    out.table(f"Where the time goes, {sizes.main}", ["", "CPU s", "share"], rows)
    out.say(f"The floor's products alone take {products['seconds'] * CPU_COUNT / total:.0%} of it.")


def layers(bench: Bench, out: WriteUp, sizes: Sizes, chosen: tuple[str, ...]) -> None:
    """Many snapshots in one call, beside one call for each and one for each layer."""
    rows = []
    for shape in (replace(sizes.many, epochs=1), sizes.many):
        sides: list[Side] = ["read", "products", "featlab", "parts", "parts-by-layer"]
        read, products, whole, each, by_layer = bench.compare("layers", shape, sides)
        if not (read and products and whole and each and by_layer):
            out.say(f"layers: {shape} did not finish within the limit.")
            continue
        floor = f"{read['seconds'] + products['seconds']:.2f}"
        base = each["seconds"]
        rows += [
            [f"{shape}: one call", *_cells(whole["seconds"], base, whole), floor],
            [f"{shape}: a call for each layer", *_cells(by_layer["seconds"], base, by_layer), floor],
            [f"{shape}: a call for each", *_cells(base, base, each), floor],
        ]
        if shape == sizes.many:
            name = f"{shape.epochs} epochs x {shape.layers} layers: one call / "
            out.targets += [
                Target(f"{name}a call for each", whole["seconds"] / base, at_most=1.1),
                Target(f"{name}a call for each layer", whole["seconds"] / by_layer["seconds"], at_most=1.1),
            ]
    out.table("Several snapshots, cold", ["", "seconds", "x sum of parts", "peak MB", "floor, s"], rows)
    out.say("A call for one epoch compares no epochs with each other; one call, and a call for each layer, do.")


def memory(bench: Bench, out: WriteUp, sizes: Sizes, chosen: tuple[str, ...]) -> None:
    """Peak memory as the number of rows grows."""
    shapes = [replace(sizes.flat, rows=sizes.flat.rows // share) for share in (20, 5, 1)]
    found = [(shape, bench.compare("memory", shape, ["featlab"])[0]) for shape in shapes]
    done = [(shape, result) for shape, result in found if result]
    rows = [
        [str(shape), *_cells(result["seconds"], done[0][1]["seconds"], result), f"{shape.stored_bytes / MB:,.0f}"]
        for shape, result in done
    ]
    out.table("Memory as the rows grow", ["", "seconds", "x first", "peak MB", "features, MB"], rows)
    peaks = [(float(shape.rows), result["peak_bytes"] / MB) for shape, result in done]
    if len(peaks) > 1:
        name = f"peak at {shapes[-1].rows:,} rows / at {shapes[0].rows:,} rows"
        out.targets.append(Target(name, peaks[-1][1] / peaks[0][1], at_most=1.1))
        stored = [(float(shape.rows), shape.stored_bytes / MB) for shape, _ in done]
        out.panels.append(Lines("Peak memory as the rows grow", "rows", "MB", {"featlab": peaks, "the data": stored}))


def wide(bench: Bench, out: WriteUp, sizes: Sizes, chosen: tuple[str, ...]) -> None:
    """More features than a D x D matrix could be held for."""
    read, products, ours = bench.compare("wide", sizes.wide, ["read", "products", "featlab"])
    if not (read and products and ours):
        out.say("wide: featlab or the floor did not finish within the limit.")
        return
    floor = read["seconds"] + products["seconds"]
    rows = [
        ["floor (a) + (b)", *_cells(floor, floor, None)],
        ["featlab", *_cells(ours["seconds"], floor, ours)],
    ]
    out.table(f"A wide layer, {sizes.wide}, cold", ["", "seconds", "x floor", "peak MB"], rows)
    out.say(f"One D x D matrix of float64 would take {8 * sizes.wide.dim**2 / 1e9:,.1f} GB.")
    out.targets.append(Target(f"D = {sizes.wide.dim:,}: peak", ours["peak_bytes"] / MB, at_most=3000, unit="MB"))


def growth(bench: Bench, out: WriteUp, sizes: Sizes, chosen: tuple[str, ...]) -> None:
    """Exponents in N, D and K."""
    top = sizes.growing
    base = Shape(top.rows // 2, top.dim // 2, top.classes // 2)
    rows, slopes = [], []
    for letter, name in (("N", "rows"), ("D", "dim"), ("K", "classes")):
        grid = [replace(base, **{name: getattr(top, name) // share}) for share in (4, 2, 1)]
        found: dict[str, list[tuple[float, float]]] = {"floor": [], "featlab": [], "NumPy": []}
        for shape in grid:
            sides: list[Side] = ["read", "products", "featlab", "numpy"]
            read, products, ours, plain = bench.compare("growth", shape, sides, most_repeats=2)
            if not (read and products and ours and plain):
                out.say(f"growth: {shape} did not finish within the limit.")
                continue
            floor = read["seconds"] + products["seconds"]
            seconds = {"floor": floor, "featlab": ours["seconds"], "NumPy": plain["seconds"]}
            for side, value in seconds.items():
                found[side].append((float(getattr(shape, name)), value))
            ratio = plain["seconds"] / ours["seconds"]
            rows.append([str(shape), *_cells(ours["seconds"], floor, ours), f"{ratio:.1f} x"])
        fitted = {side: exponent(*zip(*points, strict=True)) for side, points in found.items() if len(points) > 1}
        slopes.append([letter, *(f"{fitted[side]:.2f}" if side in fitted else "-" for side in found)])
        if fitted:
            named = {f"{side} {fitted[side]:.2f}": points for side, points in found.items() if side in fitted}
            out.panels.append(Lines(f"Time as {letter} grows, with the exponent", letter, "s", named))
    unique = list(dict.fromkeys(map(tuple, rows)))
    out.table("The grid, one label space, cold", ["", "seconds", "x floor", "peak MB", "NumPy / featlab"], unique)
    out.table("Growth exponents", ["", "floor", "featlab", "NumPy float64"], slopes)


def _cells(seconds: float | None, base: float, result: Result | None) -> list[str]:
    if seconds is None:
        return ["not finished", "", ""]
    return [f"{seconds:.2f}", f"{seconds / base:.2f}", f"{result['peak_bytes'] / MB:,.0f}" if result else ""]


def _agreement(ours: Result, others: list[Result]) -> str:
    differences = [
        (abs(ours["columns"][space][name] - value) / max(abs(value), 1e-6), name, space)
        for other in others
        for space, columns in other["columns"].items()
        for name, value in columns.items()
        if space in ours["columns"]
    ]
    worst = max(differences, default=None)
    if worst is None:
        return "No other side finished, so no column is compared."
    where = f"{worst[1]}, {worst[2]}"
    return f"Largest relative difference of a column between featlab and another side: {worst[0]:.1e} ({where})."


SECTIONS: Mapping[str, Callable[[Bench, WriteUp, Sizes, tuple[str, ...]], None]] = MappingProxyType(
    {
        "single": single,
        "steps": steps,
        "spaces": spaces,
        "layers": layers,
        "memory": memory,
        "wide": wide,
        "growth": growth,
    }
)
