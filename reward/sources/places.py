"""What a `source` of params.yaml points to: a path, a pattern of paths or a hub repository."""

from pathlib import Path

PACKED = ("", ".gz", ".zst", ".bz2", ".xz")
CONTAINERS = {
    "json": tuple(end + packed for end in (".jsonl", ".json", ".ndjson") for packed in PACKED),
    "csv": tuple(end + packed for end in (".csv", ".tsv") for packed in PACKED),
    "parquet": (".parquet",),
    "arrow": (".arrow",),
}
"""The kinds of files that pairs are read from, and the ends of their names."""

KINDS = ".jsonl, .json, .csv and .tsv, each also as .gz, .zst, .bz2 or .xz; .parquet; .arrow"


def container(name: str) -> str | None:
    """The kind of a file, by the end of its name; None for one that is not read."""
    lower = name.lower()
    return next((kind for kind, ends in CONTAINERS.items() if lower.endswith(ends)), None)


def is_path(source: str) -> bool:
    """Whether a `source` is a path or a pattern of paths: it exists on this machine, or cannot name
    a hub repository.
    """
    path = Path(source)
    is_no_name = path.is_absolute() or source.startswith((".", "~")) or len(path.parts) > 2
    is_file_name = container(source) is not None
    return path.exists() or is_no_name or is_file_name or is_pattern(source)


def is_pattern(source: str) -> bool:
    """Whether a `source` stands for all the files that a shell would find by it.

    One that exists on this machine by that very name is no pattern, whatever marks the name has.
    """
    return any(mark in source for mark in "*?[") and not Path(source).exists()
