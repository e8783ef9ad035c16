"""The release store: whole or not at all, on a disk and on objects; errors that name the file."""

import errno
import json
import os
import shutil
import uuid
from datetime import UTC, datetime
from pathlib import Path

import fsspec
import msgspec
import pytest

from learner.release.files import bundle_sha256, read_release, verify_release, write_release
from streams.releases import store as module
from streams.releases.store import NoDriver, ReleaseStore, StoreError, StoreUnreachable, fetch, manifest_at
from tests.golden import make_release_v1 as tiny


@pytest.fixture(params=["disk", "objects"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ReleaseStore:
    return ReleaseStore(
        str(tmp_path / "store") if request.param == "disk" else f"memory://{uuid.uuid4().hex}/store"
    )


@pytest.fixture
def _no_newcomers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SPARED_SECONDS", 0.0)


def bundle(tmp_path: Path, release: str = "r-1") -> Path:
    return write_release(tmp_path / "made" / release, tiny.tiny_bundle(release))


def path_in(store: ReleaseStore, *names: str) -> str:
    return "/".join([store._root, *names])


def test_what_is_put_is_fetched(store: ReleaseStore, tmp_path: Path) -> None:
    made = bundle(tmp_path)
    url = store.put(made)
    assert url == store.where("r-1")
    assert store.releases() == ["r-1"]
    folder = fetch(url, bundle_sha256(made), tmp_path / "cache")
    assert read_release(folder).manifest.release == "r-1"
    assert fetch(url, bundle_sha256(made), tmp_path / "cache") == folder
    assert manifest_at(url, bundle_sha256(made), tmp_path / "cache").release == "r-1"
    assert store.put(made) == url  # again


def test_an_id_is_taken_once(store: ReleaseStore, tmp_path: Path) -> None:
    store.put(bundle(tmp_path))
    other = tiny.tiny_bundle("r-1")
    other.manifest = msgspec.structs.replace(other.manifest, created_at=5)
    with pytest.raises(StoreError, match="holds another release"):
        store.put(write_release(tmp_path / "other" / "r-1", other))


@pytest.mark.parametrize("written", range(5))
def test_a_half_written_release_is_never_seen(
    store: ReleaseStore, tmp_path: Path, written: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after each of the files; the next try publishes it."""
    made = bundle(tmp_path)
    count = 0

    def dying(real):  # type: ignore[no-untyped-def]
        def write(*arguments, **options):  # type: ignore[no-untyped-def]
            nonlocal count
            if count == written:
                raise KeyboardInterrupt
            count += 1
            return real(*arguments, **options)

        return write

    with monkeypatch.context() as patch:
        patch.setattr(module, "_copy", dying(module._copy))
        for method in ("put_file", "pipe_file"):
            patch.setattr(type(store._fs), method, dying(getattr(type(store._fs), method)))
        with pytest.raises(KeyboardInterrupt):
            store.put(made)
    assert store.releases() == []
    with pytest.raises(StoreError, match=r"r-1.*manifest|r-1.*no such file|r-1.*no release"):
        fetch(store.where("r-1"), bundle_sha256(made), tmp_path / "cache")
    store.put(made)
    assert verify_release(fetch(store.where("r-1"), bundle_sha256(made), tmp_path / "cache")).release == "r-1"


@pytest.mark.parametrize("name", ["student.onnx", "vectors.safetensors", "items.jsonl.gz", "manifest.json"])
def test_a_damaged_file_is_refused_by_name(store: ReleaseStore, tmp_path: Path, name: str) -> None:
    made = bundle(tmp_path)
    url = store.put(made)
    path = path_in(store, "r-1", name)
    data = store._fs.cat_file(path)
    store._fs.pipe_file(path, data[:-5] + b"?" + data[-4:])
    with pytest.raises((StoreError, ValueError)) as error:
        read_release(fetch(url, bundle_sha256(made), tmp_path / "cache"))
    assert name in str(error.value)
    assert not [path for path in tmp_path.glob("cache/*") if not path.name.startswith(".")]


def test_a_missing_file_and_a_missing_release(store: ReleaseStore, tmp_path: Path) -> None:
    made = bundle(tmp_path)
    url = store.put(made)
    store._fs.rm_file(path_in(store, "r-1", "ranker.onnx"))
    with pytest.raises((StoreError, ValueError), match=r"ranker\.onnx"):
        read_release(fetch(url, bundle_sha256(made), tmp_path / "cache"))
    with pytest.raises(StoreError, match="r-9"):
        fetch(store.where("r-9"), "0" * 64, tmp_path / "cache")


def test_another_format_is_refused(store: ReleaseStore, tmp_path: Path) -> None:
    made = bundle(tmp_path)
    manifest = msgspec.json.decode((made / "manifest.json").read_bytes())
    (made / "manifest.json").write_bytes(msgspec.json.encode(manifest | {"format": 7}))
    with pytest.raises(ValueError, match="expected format 1, got format 7; update nextclick"):
        store.put(made)


def test_another_manifest_than_announced_is_refused(store: ReleaseStore, tmp_path: Path) -> None:
    url = store.put(bundle(tmp_path))
    for sha256 in ("0" * 64, "", "ab"):
        with pytest.raises(StoreError, match=r"manifest\.json: expected SHA-256"):
            fetch(url, sha256, tmp_path / "cache")


def test_damage_in_the_cache_is_mended(tmp_path: Path) -> None:
    store = ReleaseStore(f"memory://{uuid.uuid4().hex}")
    made = bundle(tmp_path)
    url = store.put(made)
    folder = fetch(url, bundle_sha256(made), tmp_path / "cache")
    (folder / "ranker.onnx").write_bytes(b"")
    assert verify_release(fetch(url, bundle_sha256(made), tmp_path / "cache")).release == "r-1"


def test_an_unreachable_store_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = bundle(tmp_path)
    store = ReleaseStore(f"memory://{uuid.uuid4().hex}")
    url = store.put(made)

    def down(*_: object, **__: object) -> None:
        raise ConnectionError("no route to host")

    for method in ("exists", "get_file", "put_file", "pipe_file", "cat_file", "ls"):
        monkeypatch.setattr(type(store._fs), method, down)
    with pytest.raises(StoreUnreachable, match="does not answer"):
        store.put(bundle(tmp_path, "r-2"))
    with pytest.raises(StoreUnreachable, match=r"manifest\.json"):
        fetch(url, bundle_sha256(made), tmp_path / "cache")
    with pytest.raises(NoDriver, match="nosuch"):
        ReleaseStore("nosuch://store")


@pytest.mark.parametrize(
    "said", [json.JSONDecodeError("cut off", "{", 1), ValueError("I/O operation on closed file")]
)
def test_an_answer_that_is_cut_off_is_a_store_to_be_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: ValueError
) -> None:
    store = ReleaseStore(f"memory://{uuid.uuid4().hex}")

    def broken(*_: object, **__: object) -> None:
        raise said

    monkeypatch.setattr(type(store._fs), "exists", broken)
    with pytest.raises(StoreUnreachable, match="does not answer"):
        store.releases()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_store_without_rights_says_so(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir(mode=0o500)
    with pytest.raises(StoreUnreachable, match="rights"):
        ReleaseStore(str(tmp_path / "store")).put(bundle(tmp_path))


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("in the way")
    with pytest.raises(StoreError, match="store"):
        ReleaseStore(str(tmp_path / "store")).put(bundle(tmp_path))


@pytest.mark.parametrize("again", [False, True])
def test_a_release_that_is_about_to_be_announced_is_kept(
    store: ReleaseStore, tmp_path: Path, again: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Put, or put once more, or spared: nobody has heard of it yet."""
    made = [bundle(tmp_path, f"r-{n}") for n in range(4)]
    with monkeypatch.context() as patch:
        if again:
            patch.setattr(module, "SPARED_SECONDS", 0.0)
        for each in made:
            store.put(each)
        if again:
            old = datetime(2020, 1, 1, tzinfo=UTC)
            for n in range(4):
                age(store, f"r-{n}", old)
    if again:
        store.put(made[0])
        store.spare("r-1")
        store.spare("r-unknown")
    assert store.prune((), 1) == (["r-2"] if again else [])
    assert store.releases() == (["r-0", "r-1", "r-3"] if again else ["r-0", "r-1", "r-2", "r-3"])


def age(store: ReleaseStore, release: str, when: datetime) -> None:
    """Makes a stored release one of `when`."""
    path = path_in(store, release, "manifest.json")
    if store._local:
        os.utime(path, (when.timestamp(), when.timestamp()))
    else:
        store._fs.store[path].modified = when


def test_a_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    made = bundle(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(module, "_copy", full)
        with pytest.raises(StoreUnreachable, match=r"store/r-1: the disk here is full.*free some space"):
            ReleaseStore(str(tmp_path / "store")).put(made)
    far = ReleaseStore(f"memory://{uuid.uuid4().hex}")
    url = far.put(made)
    with monkeypatch.context() as patch:
        patch.setattr(type(far._fs), "get_file", full)
        with pytest.raises(StoreUnreachable, match=r"the disk here is full.*free some space"):
            fetch(url, bundle_sha256(made), tmp_path / "cache")
        patch.setattr(Path, "mkdir", full)
        with pytest.raises(StoreUnreachable, match=r"the disk here is full.*free some space"):
            fetch(url, bundle_sha256(made), tmp_path / "cache")


@pytest.mark.usefixtures("_no_newcomers")
def test_the_last_ones_and_those_with_roles_are_kept(store: ReleaseStore, tmp_path: Path) -> None:
    for n in range(6):
        store.put(bundle(tmp_path, f"r-{n}"))
    assert store.prune({"r-1", "r-unknown"}, 2) == ["r-0", "r-2", "r-3"]
    assert store.releases() == ["r-1", "r-4", "r-5"]
    assert store.prune((), 3) == []


def test_partial_copies_of_the_dead_are_swept(tmp_path: Path) -> None:
    root = tmp_path / "store"
    old, new = root / ".r-1.aa.partial", root / ".r-2.bb.partial"
    for path in (old, new):
        path.mkdir(parents=True)
    os.utime(old, (0, 0))
    ReleaseStore(str(root)).prune((), 1)
    assert not old.exists()
    assert new.exists()


def test_the_cache_does_not_grow_without_end(tmp_path: Path) -> None:
    store = ReleaseStore(f"memory://{uuid.uuid4().hex}")
    for n in range(9):
        made = bundle(tmp_path, f"r-{n}")
        fetch(store.put(made), bundle_sha256(made), tmp_path / "cache")
    kept = sorted(path.name[:3] for path in (tmp_path / "cache").iterdir())
    assert len(kept) == 6
    assert "r-8" in kept
    shutil.rmtree(tmp_path / "cache")


def test_file_urls_are_local(tmp_path: Path) -> None:
    made = bundle(tmp_path)
    assert fsspec.core.url_to_fs(made.as_uri())[1] == str(made)
    assert fetch(made.as_uri(), bundle_sha256(made), tmp_path / "cache") == made


def test_a_folder_that_is_away_is_a_store_that_does_not_answer_and_no_damaged_release(tmp_path: Path) -> None:
    store = ReleaseStore(str(tmp_path / "mount" / "store"))
    url = store.put(bundle(tmp_path))
    sha256 = bundle_sha256(tmp_path / "made" / "r-1")
    (tmp_path / "mount" / "store").rename(tmp_path / "away")
    with pytest.raises(StoreUnreachable, match="is it mounted"):
        fetch(url, sha256, tmp_path / "cache")
    (tmp_path / "away").rename(tmp_path / "mount" / "store")
    assert fetch(url, sha256, tmp_path / "cache").name == "r-1"
    shutil.rmtree(tmp_path / "mount" / "store" / "r-1")
    with pytest.raises(StoreError) as caught:
        fetch(url, sha256, tmp_path / "cache")
    assert not isinstance(caught.value, StoreUnreachable)


def test_releases_of_one_encoder_have_it_once_on_a_disk(tmp_path: Path) -> None:
    made = tmp_path / "encoder"
    made.mkdir()
    for name in ("encoder.onnx", "tokenizer.json", "encoder.json"):
        (made / name).write_bytes(name.encode() * 1000)

    def of(release: str) -> Path:
        bundle = tiny.tiny_bundle(release)
        bundle.query_encoder = made
        return write_release(tmp_path / "made" / release, bundle)

    store = ReleaseStore(str(tmp_path / "store"))
    places = [Path(store.put(of(f"r-{n}"))) / "encoder.onnx" for n in range(3)]
    assert len({place.stat().st_ino for place in places}) == 1
    assert places[0].stat().st_ino != (made / "encoder.onnx").stat().st_ino  # nobody else's
    assert verify_release(places[2].parent).files["encoder.onnx"].bytes == 12_000
    store.remove("r-0")
    verify_release(places[2].parent)
    places[1].unlink()
    places[1].write_bytes(b"damaged")
    places[2].unlink()  # none of what is there is sound
    assert verify_release(Path(store.put(of("r-9")))).release == "r-9"
