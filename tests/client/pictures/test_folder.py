"""Pictures on disk: named after their prompts, never over a file, refused before they are bought."""

from __future__ import annotations

from pathlib import Path

import pytest

from gpufair.client.pictures import folder as pictures
from gpufair.protocol.errors import LocalError


@pytest.mark.parametrize(
    ("prompt", "name"),
    [
        ("A red fox!", "a-red-fox.png"),
        ("../../etc/passwd", "etc-passwd.png"),
        ("火", "picture.png"),
        ("x" * 500, "x" * 48 + ".png"),
        ("\x1b[2J", "2j.png"),
    ],
)
def test_a_file_is_named_after_its_prompt_and_stays_in_its_folder(tmp_path: Path, prompt: str, name: str) -> None:
    path = pictures.name_for(prompt, tmp_path)
    assert (path.name, path.parent) == (name, tmp_path)
    path.touch()
    assert pictures.name_for(prompt, tmp_path).name == name.replace(".png", "-2.png")


def test_a_name_for_many_has_room_for_all_of_them(tmp_path: Path) -> None:
    for path in pictures.targets(pictures.name_for("a lion", tmp_path, 3), 3):
        path.touch()
    again = pictures.name_for("a lion", tmp_path, 3)
    assert [path.name for path in pictures.targets(again, 3)] == ["a-lion-2-1.png", "a-lion-2-2.png", "a-lion-2-3.png"]
    assert pictures.name_for("a lion", tmp_path).name == "a-lion.png"


def test_several_pictures_are_numbered() -> None:
    assert pictures.targets(Path("a/fox.png"), 1) == [Path("a/fox.png")]
    assert pictures.targets(Path("fox"), 2) == [Path("fox-1.png"), Path("fox-2.png")]


def test_what_could_not_be_written_is_refused_before_it_is_bought(tmp_path: Path) -> None:
    (tmp_path / "there.png").touch()
    pictures.check_writable([tmp_path / "new.png"], force=False)
    pictures.check_writable([tmp_path / "there.png"], force=True)
    for path in (tmp_path / "there.png", tmp_path / "no" / "folder.png"):
        with pytest.raises(LocalError):
            pictures.check_writable([path], force=False)
    with pytest.raises(LocalError, match="folder"):
        pictures.check_writable([tmp_path], force=True)
