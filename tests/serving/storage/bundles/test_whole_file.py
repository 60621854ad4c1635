from __future__ import annotations

from pathlib import Path

import pytest

from serving.storage.bundles.whole_file import whole_file


def names_in(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def test_the_name_is_given_after_the_block_and_replaces_a_former_file(tmp_path: Path) -> None:
    path = tmp_path / "decisions.parquet"
    for content in ("first", "second"):
        with whole_file(path, ".unfinished") as unfinished:
            former = path.read_text("utf-8") if path.exists() else None
            unfinished.write_text(content, "utf-8")
            assert unfinished.name.startswith(".decisions.parquet.")
            assert unfinished.name.endswith(".unfinished")
            assert former in (None, "first")
        assert path.read_text("utf-8") == content
        assert names_in(tmp_path) == [path.name]


@pytest.mark.parametrize("former", ["former", None])
def test_after_an_error_nothing_is_left_and_a_former_file_is_as_it_was(
    tmp_path: Path, former: str | None
) -> None:
    path = tmp_path / "decisions.parquet"
    if former is not None:
        path.write_text(former, "utf-8")
    before = names_in(tmp_path)

    def write() -> None:
        with whole_file(path) as unfinished:
            unfinished.write_text("half", "utf-8")
            raise KeyError("stopped")

    def refuse(unfinished: Path, name: Path) -> None:
        assert (unfinished.read_text("utf-8"), name) == ("whole", path)
        raise FileExistsError(name)

    with pytest.raises(KeyError):
        write()
    with pytest.raises(FileExistsError), whole_file(path, rename=refuse) as unfinished:
        unfinished.write_text("whole", "utf-8")
    with pytest.raises(FileNotFoundError), whole_file(path):
        pass
    assert names_in(tmp_path) == before
    assert former is None or path.read_text("utf-8") == former
