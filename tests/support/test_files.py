"""What may be written over, one rule for every command; and files that are whole or absent."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from trm_deploy.errors import InputError
from trm_deploy.support.files import check_output, check_output_folder


@pytest.mark.parametrize("link", ["itself", "hard", "symbolic"])
def test_an_input_is_never_the_output_under_whatever_name(link: str, tmp_path: Path) -> None:
    source = output = tmp_path / "model.pt"
    source.write_bytes(b"weights")
    if link != "itself":
        output = tmp_path / "other.pt"
        os.link(source, output) if link == "hard" else output.symlink_to(source)
    for force in (False, True):
        with pytest.raises(InputError, match=rf"{output.name}: is the same file as the input .*model\.pt"):
            check_output(output, inputs=[source], replaceable=lambda path: True, force=force)
    check_output(tmp_path / "new.onnx", inputs=[source])


def test_what_exists_is_replaced_only_where_it_is_of_the_kind_or_with_force(tmp_path: Path) -> None:
    output = tmp_path / "out"
    check_output(output)
    output.touch()
    check_output(output)  # nothing is lost
    output.write_text("notes")
    with pytest.raises(InputError, match=r"out: exists already; name another file with -o, or add --force"):
        check_output(output)
    with pytest.raises(InputError, match=r"out: exists already and is not an answer file; name"):
        check_output(output, replaceable=lambda path: path.read_text() == "answers", expected="an answer file")
    check_output(output, force=True)
    output.write_text("answers")
    check_output(output, replaceable=lambda path: path.read_text() == "answers")
    assert [path.name for path in tmp_path.iterdir()] == ["out"], "the check leaves nothing behind"


def test_a_folder_or_a_device_is_no_file_to_write(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a folder, expected a file"):
        check_output(tmp_path, force=True)
    with pytest.raises(InputError, match="is a device, expected a file"):
        check_output(Path("/dev/full"), force=True)


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file" / "x.onnx", tmp_path / "file" / "new" / "x.onnx"):
        with pytest.raises(InputError, match=r"x\.onnx: cannot be written \(Not a directory\)"):
            check_output(path)
    with pytest.raises(InputError, match="cannot be written"):
        check_output(Path("/proc/x.onnx"))
    check_output(tmp_path / "new" / "deeper" / "x.onnx")
    assert not (tmp_path / "new").exists()


def test_folders(tmp_path: Path) -> None:
    check_output_folder(tmp_path / "new")
    check_output_folder(tmp_path)
    with pytest.raises(InputError, match="holds a dataset already; name another folder with -o, or add --force"):
        check_output_folder(tmp_path, holds="a dataset")
    with pytest.raises(InputError, match="holds a run already; add --resume to go on, or add --force"):
        check_output_folder(tmp_path, holds="a run", instead="add --resume to go on")
    check_output_folder(tmp_path, holds="a dataset", force=True)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="file: is a file, expected a folder"):
        check_output_folder(tmp_path / "file", force=True)
    with pytest.raises(InputError, match=r"cannot be written \(Not a directory\)"):
        check_output_folder(tmp_path / "file" / "run")
