"""What a `source` of params.yaml points to: a path, a pattern of paths or a hub repository."""

from pathlib import Path

# The kinds of files that pairs are read from, by the ends of their names.
JSON_SUFFIXES = (".jsonl", ".json", ".jsonl.gz", ".json.gz")
SUFFIXES = (*JSON_SUFFIXES, ".parquet")


def is_path(source: str) -> bool:
    """Whether a `source` is a path or a pattern of paths: it exists on this machine, or cannot name
    a hub repository.
    """
    path = Path(source)
    is_no_name = path.is_absolute() or source.startswith((".", "~")) or len(path.parts) > 2
    is_file_name = source.lower().endswith(SUFFIXES)
    return path.exists() or is_no_name or is_file_name or is_pattern(source)


def is_pattern(source: str) -> bool:
    """Whether a `source` stands for all the files that a shell would find by it.

    One that exists on this machine by that very name is no pattern, whatever marks the name has.
    """
    return any(mark in source for mark in "*?[") and not Path(source).exists()
