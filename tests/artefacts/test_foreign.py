"""Files of failed downloads and of other tools are called what they are, by whatever reads them."""

from __future__ import annotations

import io
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch

from trm_deploy import checkpoints
from trm_deploy.artefacts import kind
from trm_deploy.errors import ArtefactError, CheckpointError

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"a" * 64 + b"\nsize 24641234\n"

FILES = {
    "git-lfs": (POINTER, "a git-lfs pointer to a file of 24,641,234 bytes", "git lfs pull --include step_100"),
    "git-annex": (b"/annex/objects/SHA256E-s1--aa\n", "a git-annex pointer", "git annex get step_100"),
    "DVC": (b"outs:\n- md5: aa\n  size: 4\n", "a DVC pointer", "dvc pull"),
    "HTML": (
        b"\xef\xbb\xbf\n<!DOCTYPE HTML>\n<html lang=en>",
        "an HTML page in place of the file",
        "download it again",
    ),
    "HTML, UTF-16": ("<html>".encode("utf-16"), "an HTML page in place of the file", "download it again"),
    "HTML, remark": (b"<!-- hub --><html><head>", "an HTML page in place of the file", "download it again"),
    "XML error": (b'<?xml version="1.0"?>\n<Error><Code>AccessDenied</Code>', "error message of a download", "again"),
    "JSON error": (b'{"error": "Repository not found"}', "error message of a download", "Repository not found"),
    "text error": (b"Entry not found", "error message of a download", "/resolve/"),
    "access": (b"Access to model a/b is restricted. You must be authenticated.", "error message", "/resolve/"),
    "index": (b'{"weight_map": {}}', "the index of a checkpoint in several files", "save_file"),
    "pickle": (b"\x80\x04\x95\x00", "not a checkpoint but a plain pickle", "torch.save"),
    "GGUF": (b"GGUF\x03" + bytes(40), "a GGUF file", "torch.save(model.state_dict(), 'step_0')"),
    "TensorFlow Lite": (b"\x1c\0\0\0TFL3" + bytes(40), "a TensorFlow Lite model", "trm-deploy export CHECKPOINT"),
    "ORT": (b"\x1c\0\0\0ORTM" + bytes(40), "ONNX Runtime's own format", "trm-deploy export CHECKPOINT"),
    "OpenVINO": (b'<?xml version="1.0"?>\n<net name="m" version="11">', "an OpenVINO model", "--runtime openvino"),
    "ncnn": (b"7767517\n75 83\n", "an ncnn model", "trm-deploy export CHECKPOINT"),
    "ELF": (b"\x7fELF" + bytes(40), "a compiled library", "trm-deploy export CHECKPOINT"),
    "HDF5": (b"\x89HDF\r\n\x1a\n" + bytes(40), "an HDF5 file", "torch.save"),
    "gzip": (b"\x1f\x8b\x08" + bytes(40), "an archive (gzip)", "unpack it"),
    "tar": (bytes(257) + b"ustar" + bytes(250), "an archive (tar)", "unpack it"),
    "plan with a prefix": (
        b"\x0c\0\0\0" + b'{"stride":1}' + b"ftrt" + bytes(40),
        "behind 16 bytes",
        "trm-deploy export",
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_it_is_called_what_it_is(name: str, tmp_path: Path) -> None:
    content, what, cure = FILES[name]
    path = tmp_path / "step_100"
    path.write_bytes(content)
    for read, error in ((kind.of, ArtefactError), (checkpoints.load, CheckpointError)):
        with pytest.raises(error) as caught:
            read(path)
        message = str(caught.value)
        assert message.startswith(f"{path}: is ")
        assert what in message
        assert cure in message
        assert "\n" not in message


def archive(*names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name in names:
            file.writestr(name, b"x")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("names", "what"),
    [
        (("m/data.pkl", "m/constants.pkl", "m/code/a.py"), "a TorchScript archive, which holds code"),
        (("m/archive_format", "m/models/model.json"), "a program of torch.export"),
        (("config.json", "model.weights.h5"), "a Keras model"),
        (("m.mlpackage/Manifest.json",), "a Core ML package"),
        (("run/step_100", "run/all_config.yaml"), "a ZIP archive of 2 files, such as 'run/step_100'"),
    ],
)
def test_zip_archives_of_others(names: tuple[str, ...], what: str, tmp_path: Path) -> None:
    path = tmp_path / "step_100"
    path.write_bytes(archive(*names))
    with pytest.raises(ArtefactError, match=f"is {what}"):
        kind.of(path)
    with pytest.raises(CheckpointError, match=f"is {what}"):
        checkpoints.load(path)


def test_torch_saves_old_format_is_named_and_the_cure_cures(tmp_path: Path) -> None:
    path = tmp_path / "old.pt"
    torch.save({"a": torch.ones(2)}, path, _use_new_zipfile_serialization=False)
    with pytest.raises(ArtefactError, match="its old format"):
        kind.of(path)
    with pytest.raises(CheckpointError, match="its old format") as caught:
        checkpoints.load(path)
    command = caught.value.hint.partition("python -c ")[2].strip('"') if caught.value.hint else ""
    subprocess.run([sys.executable, "-c", command], check=True)
    assert kind.of(tmp_path / "old.new.pt") is kind.Kind.checkpoint


@pytest.mark.parametrize(
    ("file", "content", "what"),
    [
        ("step_100", POINTER, "its step_100 is a git-lfs pointer"),
        ("saved_model.pb", b"x", "a TensorFlow model"),
        ("__0_0.distcp", archive("archive/data.pkl"), "a checkpoint of torch.distributed, in pieces"),
        ("zero_to_fp32.py", b"x", "a checkpoint of DeepSpeed, in pieces"),
    ],
)
def test_folders_of_others(file: str, content: bytes, what: str, tmp_path: Path) -> None:
    (tmp_path / file).write_bytes(content)
    (tmp_path / "all_config.yaml").write_text("arch: {}\n")
    with pytest.raises(ArtefactError, match=what):
        kind.of(tmp_path)
    with pytest.raises(CheckpointError, match=what):
        checkpoints.load(tmp_path)
