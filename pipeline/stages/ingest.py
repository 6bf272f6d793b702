"""Cut the source into the tile store ``data/tiles/``, and count what was kept and what was not."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline import console, leaks
from pipeline.divide import Division, divide
from pipeline.errors import SourceError
from pipeline.exclusion import ids_of, marked
from pipeline.leakage import find
from pipeline.shift import Look, sample
from pipeline.sources.batch import FACTS, Plan
from pipeline.sources.opening import look
from pipeline.sources.pool import Part, PartPixels, read_all
from pipeline.split import DROPPED, SPLITS
from pipeline.stats import mean_and_deviation
from pipeline.store import ROOT, UNLABELLED, StoreWriter, count_tiles

if TYPE_CHECKING:
    from pipeline.schema import EngineSection, Source, SplitSection, TilesSection

REPORT = Path("reports/ingest.json")
COPY_BYTES = 32 * 2**20  # pixels in memory while parts are gathered
MOST_SOURCES = 100  # files that the report counts one by one


def run(source: Source, tiles: TilesSection, split: SplitSection, engine: EngineSection) -> None:
    """Read, split and pack; nothing is left behind unless all went well."""
    plan = look(source, tiles)
    if plan.assumed:
        console.warn(plan.assumed)
    with StoreWriter(ROOT, plan.bands, plan.classes, tiles.size, plan.dtype) as writer:
        # Beside the store, so that pixels stay on one disk; gone with what the writer removes.
        folder = writer.partial / "parts"
        folder.mkdir()
        found = read_all(plan, folder, engine.workers)
        parts = list(console.progress(found, total=len(plan.tasks), what=f"reading {plan.kind}"))
        facts = pa.concat_tables([FACTS.empty_table(), *(part.facts for part in parts)])
        dropped = sum((part.dropped for part in parts), Counter[str]())
        if not len(facts):
            raise SourceError(f"Expected tiles, got none: {_reasons(dropped)}. {_advice(dropped)}")
        excluded, unknown = marked(facts["id"], ids_of(source.exclude))
        if unknown:
            console.warn(unknown)
        division = divide(facts, plan.kind, plan.classes, split, excluded)
        if division.method == "random" and plan.kind == "scenes":
            console.warn(
                "split.method=random puts neighbouring tiles of a scene into different splits, "
                "which makes the test look better than it is; block and scene do not."
            )
        moments = np.concatenate([part.moments for part in parts if len(part.moments)])
        read = PartPixels(parts, (tiles.size, tiles.size, len(plan.bands)), plan.dtype)
        mean, std = mean_and_deviation(moments[division.split == 0], tiles.size**2)
        leaked = find(read, division.split, tiles.size, mean, std)
        leaks.write(leaked, division.split, facts["id"].to_pylist())
        settled = leaks.settle(leaked, division, facts["id"].to_pylist(), split)
        dropped += settled.dropped
        mean, std = mean_and_deviation(moments[settled.split == 0], tiles.size**2)
        looks = {name: Look.of(some, plan.bands) for name, some in sample(read, settled.split)}
        _gather(writer, parts, settled.split)
        shutil.rmtree(folder)
        index = _index(facts, settled.split)
        told = {name: look.facts() for name, look in looks.items()}
        writer.finish(index, mean, std, _resolution(facts), told)
    report = _report(plan, tiles.size, settled, index, dropped, mean, std)
    report["leakage"] = leaks.facts(leaked, settled.neighbours)
    report["median"] = {
        name: dict(zip(look.bands, look.medians.tolist(), strict=True))
        for name, look in looks.items()
    }
    _write(report)
    _say(report, plan)


def _gather(writer: StoreWriter, parts: Sequence[Part], split: NDArray[np.int64]) -> None:
    """Copy pixels from the parts to the shards of their splits, and remove each part after."""
    shape = (writer.tile_size, writer.tile_size, len(writer.bands))
    start = 0
    for part in console.progress(parts, total=len(parts), what="packing"):
        for pixels in _chunks(part, shape, writer.dtype):
            here = split[start : start + len(pixels)]
            start += len(pixels)
            for place, name in enumerate(SPLITS):
                writer.append(name, pixels[here == place])
        part.path.unlink()


def _chunks(
    part: Part, shape: tuple[int, ...], dtype: np.dtype[Any]
) -> Iterator[NDArray[np.generic]]:
    # Read, not mapped: pages of a map would count as memory of this process.
    values = int(np.prod(shape))
    step = max(1, COPY_BYTES // (values * dtype.itemsize))
    with part.path.open("rb") as file:
        for start in range(0, len(part.facts), step):
            count = min(step, len(part.facts) - start)
            yield np.fromfile(file, dtype, count * values).reshape(count, *shape)


def _index(facts: pa.Table, split: NDArray[np.int64]) -> pa.Table:
    """Facts of the kept tiles in split order, with names as plain text."""
    kept = np.flatnonzero(split != DROPPED)
    order = kept[np.argsort(split[kept], kind="stable")]
    index = facts.take(order)
    plain = [
        pa.field(field.name, pa.string()) if pa.types.is_dictionary(field.type) else field
        for field in index.schema
    ]
    index = index.cast(pa.schema(plain))
    group = index.schema.get_field_index("group")
    index = index.set_column(group, "group", index["group"].fill_null(""))
    names = pa.DictionaryArray.from_arrays(pa.array(split[order]), pa.array(SPLITS))
    return index.append_column("split", names.cast(pa.string()))


def _resolution(facts: pa.Table) -> float | None:
    """Metres a pixel, if all tiles have the same to a hundredth of it."""
    if facts["resolution"].null_count:
        return None
    metres = facts["resolution"].to_numpy()
    typical = float(np.median(metres))
    return typical if np.abs(metres / typical - 1).max() < 0.01 else None


def _report(
    plan: Plan,
    size: int,
    division: Division,
    index: pa.Table,
    dropped: Counter[str],
    mean: NDArray[np.float64],
    std: NDArray[np.float64],
) -> dict[str, Any]:
    return {
        "source": plan.kind,
        "files": len(plan.files),
        "kept": len(index),
        "dropped": dict(sorted((+dropped).items())),
        "tile_size": size,
        "dtype": plan.dtype.name,
        "bands": list(plan.bands),
        **({"assumed": plan.assumed} if plan.assumed else {}),
        "classes": list(plan.classes),
        "split": {"method": division.method, "why": division.why},
        "counts": count_tiles(index, plan.classes),
        "mean": dict(zip(plan.bands, mean.tolist(), strict=True)),
        "std": dict(zip(plan.bands, std.tolist(), strict=True)),
        **({"tiles_of_files": _by_file(plan, index)} if len(plan.files) <= MOST_SOURCES else {}),
    }


def _by_file(plan: Plan, index: pa.Table) -> dict[str, int]:
    """Kept tiles of each file, none left out: a scene that gave no tile shows as 0."""
    counts = Counter(index["source"].to_pylist())
    return {name: counts[name] for name in plan.files}


def _write(report: dict[str, Any]) -> None:
    REPORT.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(report, indent=1, ensure_ascii=False)
    REPORT.write_text(text + "\n", encoding="utf-8")


def _say(report: dict[str, Any], plan: Plan) -> None:
    """Print a short table."""
    width = max(map(len, (*plan.classes, "all classes", UNLABELLED)))
    say = console.say
    say(f"{'':{width}}" + "".join(f"{split:>12}" for split in SPLITS))
    for name in plan.classes:
        say(f"{name:{width}}" + _columns([report["counts"][split][name] for split in SPLITS]))
    totals = [sum(report["counts"][split].values()) for split in SPLITS]
    say(f"{'all classes' if len(plan.classes) else UNLABELLED:{width}}" + _columns(totals))
    say(f"split by {report['split']['method']}: {report['split']['why']}")
    for sentence in leaks.sentences(report["leakage"], report["dropped"]):
        console.warn(sentence)
    say(f"kept {report['kept']:,} tiles of {report['files']} files; {_reasons(report['dropped'])}")


def _columns(counts: Sequence[int]) -> str:
    return "".join(f"{count:12,}" for count in counts)


def _reasons(dropped: dict[str, int]) -> str:
    told = ", ".join(f"{reason} {count:,}" for reason, count in sorted(dropped.items()) if count)
    return f"not kept: {told or 'none'}"


def _advice(dropped: dict[str, int]) -> str:
    """What to change, by the commonest reason."""
    if not +Counter(dropped):
        return "Set source.root to where the imagery is."
    keys = {"beyond the edge": "tiles.size", "nodata": "source.nodata"}
    return f"Look at {keys.get(max(dropped, key=dropped.__getitem__), 'source.min_purity')}."
