"""Invariants of other people's archives:

- a zip file with a path that leaves its folder, a link, an encrypted or huge member or a name twice is refused, with
  the names, before anything is unpacked; so is one that is cut off, or a pointer of Git LFS;
- members are found whatever program packed them: in another form of Unicode, with backslashes, without the UTF-8 flag;
- a damaged member is an error that names it.
"""

import stat
import struct
import zipfile

import pytest

from tsembed.data import archives
from tsembed.data.archives import Archive
from tsembed.data.image_files import ImageFiles


def zipped(path, *members, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for member, content in members:
            archive.writestr(member, content)
    return path


def link(name):
    info = zipfile.ZipInfo(name)
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


def flagged(path):
    """Set the flag of encryption of every member, as a zip file with a password has it."""
    data = bytearray(path.read_bytes())
    for mark, offset in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
        place = -1
        while (place := data.find(mark, place + 1)) >= 0:
            data[place + offset] |= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("/srv/a.png", "'/srv/a.png' is a path that leaves the folder"),
        ("x/../../a.png", "'x/../../a.png' is a path that leaves the folder"),
        ("C:\\a.png", "'C:/a.png' is a path that leaves the folder"),
        ("..\\a.png", "'../a.png' is a path that leaves the folder"),
        (link("a.png"), "'a.png' is a link"),
    ],
)
def test_a_member_that_points_elsewhere_is_refused(tmp_path, name, rule):
    with pytest.raises(ValueError, match="^" + rule):
        Archive(zipped(tmp_path / "x.zip", ("good.png", b"1"), (name, b"2")))


def test_an_encrypted_member_is_refused(tmp_path):
    flagged(path := zipped(tmp_path / "x.zip", ("secret.png", b"1")))
    with pytest.raises(ValueError, match=r"^'secret.png' is encrypted"):
        Archive(path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("second", ["caf\u00e9.png", "cafe\u0301.png"])
def test_a_name_that_stands_twice_is_refused(tmp_path, second):
    with pytest.raises(ValueError, match="'caf\u00e9.png' stands in it twice"):
        Archive(zipped(tmp_path / "x.zip", ("caf\u00e9.png", b"1"), (second, b"2")))


def test_a_member_that_would_fill_the_memory_is_refused_before_it_is_unpacked(tmp_path):
    path = zipped(tmp_path / "x.zip", ("bomb.png", bytes(1000)), compression=zipfile.ZIP_DEFLATED)
    data = path.read_bytes()
    path.write_bytes(data.replace(struct.pack("<L", 1000), struct.pack("<L", archives.MOST_BYTES + 1)))
    with pytest.raises(ValueError, match="'bomb.png' would have 268,435,457 bytes unpacked; 268,435,456 are allowed"):
        Archive(path)


def test_ten_faults_and_the_number_of_the_others(tmp_path):
    with pytest.raises(ValueError, match="2 more$") as error:
        Archive(zipped(tmp_path / "x.zip", *((f"/{i}", b"") for i in range(12))))
    assert str(error.value).count("leaves the folder") == archives.MOST_FAULTS


@pytest.mark.parametrize("keep", [0, 10, 200, -30])
def test_a_file_that_is_cut_off_is_no_zip_file(tmp_path, keep):
    path = zipped(tmp_path / "x.zip", *((f"{i}.png", bytes(50)) for i in range(9)))
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match="not a zip file, or not a whole one"):
        Archive(path)


def test_members_are_found_by_the_names_that_people_see(tmp_path):
    path = zipped(tmp_path / "x.zip", ("fotos\\A\u030a.png", b"1"), ("__MACOSX/._a.png", b"2"), ("empty/", b""))
    data = path.read_bytes().replace(struct.pack("<HH", 20, 0x800), struct.pack("<HH", 20, 0))
    assert list(Archive(path)) == ["fotos/\u00c5.png"]
    path.write_bytes(data)  # the same bytes of the names, and no word that they are UTF-8
    archive = Archive(path)
    assert list(archive) == ["fotos/\u00c5.png"]
    assert "fotos/A\u030a.png" in archive
    assert archive.read("fotos/\u00c5.png") == b"1"


def test_a_mirror_names_the_zip_file_and_looks_for_nothing_outside(tmp_path):
    inside = tmp_path / "mirror"
    (inside / "images_zip").mkdir(parents=True)
    (tmp_path / "private.png").write_bytes(b"x")
    path = zipped(inside / "images_zip/a.zip", ("a/1.png", bytes(range(100))))
    pictures = ImageFiles(inside)
    assert pictures.find("images/a/1.png") is not None
    assert pictures.find("../private.png") is None
    assert pictures.find(str(tmp_path / "private.png")) is None
    data = bytearray(path.read_bytes())
    data[60] ^= 255
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"images_zip/a\.zip: a/1\.png: not readable \(Bad CRC"):
        ImageFiles(inside).read("a/1.png")
    path.write_bytes(data[:50])
    with pytest.raises(ValueError, match=r"images_zip/a\.zip: not a zip file, or not a whole one"):
        ImageFiles(inside)
