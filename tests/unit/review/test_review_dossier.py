"""Evidence is handed out opened no further than asked for, and checks anywhere, without this installation."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from evidence_studio import INFOTEXT, PRIVATE, Studio, config, draw, make_studio
from PIL import Image

from provenance_guard import pictures
from provenance_guard.cli import main
from provenance_guard.errors import GuardError, UsageError
from provenance_guard.guard import Guard
from provenance_guard.ledger import Ledger
from provenance_guard.provenance.dsse import seal_envelope
from provenance_guard.provenance.record import Context
from provenance_guard.provenance.sidecar import parse_sidecar, read_sidecar, sidecar_path, sign_envelope
from provenance_guard.review import manifest
from provenance_guard.review.dossier import build_dossier
from provenance_guard.review.dossier_page import write_page
from provenance_guard.review.evidence import PictureFinder, gather
from provenance_guard.review.export import hand_out
from provenance_guard.review.manifest import MANIFEST, Part
from provenance_guard.review.verification import verify_file
from provenance_guard.signing import Signer

GOLDEN = Path(__file__).parents[2] / "golden" / "review" / "dossier-1.json"


@pytest.fixture(scope="module")
def studio(tmp_path_factory) -> Studio:
    return make_studio(tmp_path_factory.mktemp("studio"))


@pytest.fixture
def outsider(tmp_path) -> Guard:
    """Somebody with nothing but this software."""
    return Guard(config(tmp_path / "outsider"))


def run(capsys, *arguments: object) -> tuple[int, dict]:
    capsys.readouterr()
    code = main([*map(str, arguments), "--json"])
    return code, json.loads(capsys.readouterr().out)


def dossier(studio: Studio, profile: str, *fields: str, folder: Path | None = None) -> dict[str, bytes]:
    with studio.open() as guard:
        finder = PictureFinder([studio.home / "out"])
        content = build_dossier(
            gather(str(studio.picture), guard, finder), guard, finder, profile=profile, fields=fields
        )
    if folder:
        for name, data in content.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)
    return content


def readable(data: bytes) -> str:
    """A file's text, with what lies in it as base64."""
    text = data.decode("utf-8", "replace")
    for line in [*text.replace('"', "\n").split("\n")]:
        if len(line) > 80:
            try:
                text += base64.b64decode(line, validate=True).decode("utf-8", "replace")
            except ValueError:
                continue
    return text


def words_in(content: dict[str, bytes]) -> set[str]:
    return {word for name, data in content.items() for word in PRIVATE if word in name + readable(data)}


def verdicts(path: Path, guard: Guard) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for finding in verify_file(path, guard).findings:
        found.setdefault(finding.subject, set()).add(finding.verdict)
    return found


# Sidecars


def test_the_very_statement_is_handed_out_and_opened_years_later(studio, tmp_path, capsys, outsider):
    shown = tmp_path / "handed out.png"
    shutil.copy(studio.picture, shown)
    code, told = run(capsys, "export", studio.picture, "--out", sidecar_path(shown), *studio.options)
    assert (code, told["profile"], told["disclosed"], told["record_id"]) == (0, "redacted", [], studio.record)
    hidden = sidecar_path(shown).read_bytes()
    assert words_in({"x": hidden}) == set()
    full = read_sidecar(sidecar_path(studio.picture))
    assert read_sidecar(sidecar_path(shown)).envelope.payload == full.envelope.payload

    # Later: the creator is shown what was handed out then, and opens two fields of it.
    code, _ = run(
        capsys,
        "export",
        sidecar_path(shown),
        "--disclose",
        "prompt,seed",
        "--out",
        tmp_path / "opened",
        *studio.options,
    )
    assert code == 0
    opened = (tmp_path / "opened").read_bytes()
    assert words_in({"x": opened}) == {"zanzibar", "4711471147"}
    assert parse_sidecar(opened, shown).envelope.payload == full.envelope.payload
    sidecar_path(shown).write_bytes(opened)
    assert verdicts(shown, outsider)["record"] == {"holds"}
    sidecar_path(shown).write_bytes(opened.replace(b"zanzibar", b"timbuktu"))
    assert verdicts(shown, outsider)["record"] == {"fails"}


def test_whoever_holds_only_the_redacted_form_cannot_open_it(studio, tmp_path, outsider, capsys):
    with studio.open() as guard:
        content = hand_out(gather(str(studio.picture), guard, PictureFinder()), "redacted", (), guard)
    (tmp_path / "a.png.prov.json").write_bytes(content)
    evidence = gather(str(tmp_path / "a.png.prov.json"), outsider, PictureFinder())
    with pytest.raises(UsageError, match="no sealed field 'prompt'"):
        hand_out(evidence, "redacted", ["prompt"], outsider)
    with pytest.raises(UsageError, match="cannot be opened here"):
        hand_out(evidence, "full", (), outsider)


def test_a_record_is_exported_from_the_ledger_alone(studio, tmp_path, capsys, outsider):
    code, _ = run(
        capsys,
        "export",
        studio.record[:10],
        "--profile",
        "full",
        "--out",
        tmp_path / "a.png.prov.json",
        *studio.options,
    )
    assert code == 0
    made = read_sidecar(tmp_path / "a.png.prov.json")
    written = read_sidecar(sidecar_path(studio.picture))
    assert (made.profile, made.record, made.file_name) == ("full", written.record, studio.picture.name)
    assert made.sealed[0] == written.sealed[0], "the same commitments"
    shutil.copy(studio.picture, tmp_path / "a.png")
    assert verdicts(tmp_path / "a.png", outsider)["chain"] == {"holds"}


def test_short_names_of_fields(studio, tmp_path, capsys):
    code, _ = run(
        capsys,
        "export",
        studio.picture,
        "--disclose",
        "negative",
        "--disclose",
        "init, user",
        "--out",
        tmp_path / "x",
        *studio.options,
    )
    assert code == 0
    assert words_in({"x": (tmp_path / "x").read_bytes()}) == {"hyperborea", "secret sketch", "mara"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["RECORD", "--disclose", "colour"], "no sealed field 'colour'"),
        (["RECORD", "--disclose", "prompt", "--profile", "full"], "opens everything"),
        (["RECORD", "--disclose", "prompt", "--profile", "proof"], "opens nothing"),
        (["RECORD", "--format", "prov-json", "--profile", "proof"], "proofs alone"),
        (["0000000000"], "no record"),
        (["nowhere.png"], "no file nowhere.png"),
    ],
)
def test_what_cannot_be_exported_is_told(studio, tmp_path, capsys, arguments, said):
    named = [studio.record if word == "RECORD" else word for word in arguments]
    code, told = run(capsys, "export", *named, "--out", tmp_path / "x", *studio.options)
    assert code in (1, 2) and said in told["error"] and told["next_step"]
    assert not (tmp_path / "x").exists()


def test_evidence_is_never_written_over(studio, capsys):
    before = sidecar_path(studio.picture).read_bytes()
    code, told = run(capsys, "export", studio.picture, "--out", sidecar_path(studio.picture), *studio.options)
    assert code == 2 and "exists already" in told["error"]
    assert sidecar_path(studio.picture).read_bytes() == before


def test_a_graph_tells_what_is_opened(studio, tmp_path, capsys):
    from prov.model import ProvDocument

    code, _ = run(
        capsys,
        "export",
        studio.picture,
        "--format",
        "prov-json",
        "--disclose",
        "seed",
        "--out",
        tmp_path / "x",
        *studio.options,
    )
    assert code == 0
    assert words_in({"x": (tmp_path / "x").read_bytes()}) == {"4711471147"}
    document = ProvDocument.deserialize(source=str(tmp_path / "x"), format="json")
    assert {str(entity.identifier) for entity in document.get_records() if "record:" in str(entity.identifier)} == {
        f"record:{studio.record}",
        f"record:{studio.records[0]}",
    }


@pytest.mark.parametrize("name", ["../../evil", "", "a/b", "AB" * 16])
def test_a_record_id_that_is_none_becomes_no_file_name(studio, tmp_path, outsider, name):
    document = json.loads(read_sidecar(sidecar_path(studio.picture)).envelope.payload)
    document["predicate"]["record"]["id"] = name
    path = tmp_path / "a.png.prov.json"
    path.write_bytes(sign_envelope(json.dumps(document).encode(), Signer(Ed25519PrivateKey.generate())))
    with pytest.raises(GuardError, match="names no record"):
        gather(str(path), outsider, PictureFinder())


def test_of_a_newer_sidecar_verify_tells_what_it_could_check(studio, tmp_path, outsider):
    document = json.loads(read_sidecar(sidecar_path(studio.picture)).envelope.payload)
    document["predicateType"] = "urn:provenance-guard:record:v2"
    picture = shutil.copy(studio.picture, tmp_path / "a.png")
    with studio.open() as guard:
        sidecar_path(picture).write_bytes(sign_envelope(json.dumps(document).encode(), guard.signer))
    findings = {finding.subject: finding for finding in verify_file(picture, outsider).findings}
    assert (findings["content"].verdict, findings["record"].verdict) == ("holds", "unknown")
    assert "newer version" in findings["record"].sentence and "Update" in findings["record"].sentence
    Image.fromarray(np.zeros((60, 80, 3), np.uint8)).save(picture)
    assert {finding.subject: finding.verdict for finding in verify_file(picture, outsider).findings}[
        "content"
    ] == "fails"


# Dossiers


@pytest.mark.parametrize("profile", ["full", "redacted", "proof-only"])
def test_a_dossier_holds_everything_and_checks_anywhere(studio, tmp_path, outsider, profile):
    folder = tmp_path / "dossier"
    content = dossier(studio, profile, folder=folder)
    told = words_in(content)
    assert told == (set(PRIVATE) if profile == "full" else set())
    names = set(content)
    for record in studio.records if profile != "proof-only" else ():
        assert {f"pictures/{record}.png", f"pictures/{record}.png.prov.json", f"events/{record}.json"} <= names
    assert {MANIFEST, "index.html", "verify.py"} <= names and any(name.startswith("checkpoints/") for name in names)
    with studio.open() as guard:
        assert f"keys/{Signer.open(guard.config.key_directory).key_id}.pub" in names
    events = json.loads(content[f"events/{studio.record}.json"])["events"]
    assert [event["type"] for event in events] == ["run.queued", "picture.released", "picture.saved"]
    assert all((event["bytes"] is None) == (profile == "proof-only") for event in events)

    found = verdicts(folder, outsider)
    assert found["record"] == {"holds"} and found["chain"] == {"holds"}
    assert found["content"] == ({"unknown"} if profile == "proof-only" else {"holds"})
    assert "fails" not in set().union(*found.values())
    assert found["identity"] == {"unknown"} if profile != "proof-only" else True, "whose key it is is learnt elsewhere"
    script = subprocess.run([sys.executable, str(folder / "verify.py")], capture_output=True, text=True, check=False)
    assert (script.returncode, script.stderr) == (0, "") and "All that can be checked holds." in script.stdout


def test_copies_in_a_redacted_dossier_have_the_pixels_and_nothing_else(studio, tmp_path):
    content = dossier(studio, "redacted", folder=tmp_path)
    name = f"pictures/{studio.record}.png"
    with Image.open(tmp_path / name) as copy:
        assert INFOTEXT not in str(copy.info) and "parameters" not in copy.info
    original = pictures.open_picture(studio.picture).image
    assert pictures.pixel_sha256(pictures.open_picture(tmp_path / name).image) == pictures.pixel_sha256(original)
    assert b"DigitalSourceType" in content[name], "that it is generated must stay told"
    assert dossier(studio, "full")[name] == studio.picture.read_bytes()


@pytest.mark.parametrize("suffix", [".jpg", ".webp"])
def test_copies_of_other_formats_have_no_metadata_either(tmp_path, suffix):
    exif = Image.Exif()
    exif[0x010E] = "a zanzibar harbour"  # ImageDescription
    with Guard(config(tmp_path)) as guard:
        release = guard.release(draw(5), Context("webui.txt2img", {"prompt": "a zanzibar harbour"}))
        path = tmp_path / f"a{suffix}"
        release.image.save(path, exif=exif.tobytes(), icc_profile=b"zanzibar profile", comment="zanzibar")
        assert guard.seal(release, path).failures == ()
        assert b"zanzibar" in path.read_bytes()
        content = build_dossier(gather(str(path), guard, PictureFinder()), guard, PictureFinder())
    assert words_in(content) == set() and f"pictures/{release.record.id}.png" in content
    for name, data in content.items():
        (tmp_path / "d" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "d" / name).write_bytes(data)
    with Image.open(tmp_path / "d" / "pictures" / f"{release.record.id}.png") as copy:
        assert not copy.getexif() and "icc_profile" not in copy.info
    assert verdicts(tmp_path / "d", Guard(config(tmp_path / "outsider")))["content"] == {"holds"}


def test_what_is_disclosed_in_a_dossier_is_that_and_of_that_picture(studio):
    content = dossier(studio, "redacted", "prompt")
    assert words_in(content) == {"zanzibar"}
    assert words_in({name: data for name, data in content.items() if studio.record not in name}) == {
        "zanzibar"
    }  # page, graph
    relatives = [name for name in content if name.startswith("pictures/") and studio.record not in name]
    assert len(relatives) == 4 and words_in({name: content[name] for name in relatives}) == set()
    assert "a quiet zanzibar harbour" in content["index.html"].decode()


def test_the_page_is_for_a_person_and_runs_nothing(studio):
    page = dossier(studio, "full")["index.html"].decode()
    for text in (
        studio.record,
        "a quiet zanzibar harbour",
        "4711471147",
        "The generation was asked for",
        f'src="pictures/{studio.record}.png"',
    ):
        assert text in page
    for text in ("<script", "http://", "https://", "authentic,"):
        assert text not in page.replace("authentic, human-made, lawful", "")


def test_what_was_typed_is_not_taken_for_html():
    page = write_page([Part("subject", "<script>alert(1)</script>", picture="<img>")], "redacted", "<b>")
    assert not [tag for tag in ("<script", "<b>", "<img>") if tag in page]


@pytest.mark.parametrize("packed", ["itself", "in a folder"])
def test_a_zip_file_is_taken_as_it_is(studio, tmp_path, outsider, capsys, packed):
    if packed == "itself":
        path = tmp_path / "d.zip"
        code, _ = run(
            capsys,
            "export",
            studio.record,
            "--format",
            "dossier",
            "--pictures",
            studio.home / "out",
            "--out",
            path,
            *studio.options,
        )
        assert code == 0
    else:
        dossier(studio, "redacted", folder=tmp_path / "d")
        path = Path(shutil.make_archive(str(tmp_path / "packed"), "zip", tmp_path, "d"))
    assert verdicts(path, outsider)["content"] == {"holds"}
    code, told = run(capsys, "verify", path, "--data", tmp_path / "none", "--keys", tmp_path / "none")
    assert code == 0 and told["pictures"][0]["record_id"] == studio.record


def test_every_changed_file_is_found_and_named(studio, tmp_path, outsider):
    folder = tmp_path / "d"
    names = sorted(dossier(studio, "redacted", folder=folder))
    for name in names:
        original = (folder / name).read_bytes()
        changed = bytearray(original)
        changed[len(changed) // 2] ^= 1
        (folder / name).write_bytes(bytes(changed))
        result = verify_file(folder, outsider)
        assert not result.holds, name
        assert name == MANIFEST or name in " ".join(finding.sentence for finding in result.findings)
        script = subprocess.run(
            [sys.executable, str(folder / "verify.py")], capture_output=True, text=True, check=False
        )
        assert script.returncode != 0 or name == "verify.py", name
        (folder / name).unlink()
        assert not verify_file(folder, outsider).holds, name
        (folder / name).write_bytes(original)
    (folder / "pictures" / "extra.png").write_bytes(b"x")
    assert "was put into the dossier" in str(verify_file(folder, outsider).findings)


def test_a_sidecar_of_another_picture_is_found_though_the_manifest_was_signed_anew(studio, tmp_path, outsider):
    folder = tmp_path / "d"
    dossier(studio, "redacted", folder=folder)
    mine, other = (folder / "pictures" / f"{record}.png.prov.json" for record in studio.records[1:])
    mine.write_bytes(other.read_bytes())
    document = json.loads(base64.b64decode(json.loads((folder / MANIFEST).read_bytes())["payload"]))
    for subject in document["subject"]:
        subject["digest"]["sha256"] = hashlib.sha256((folder / subject["name"]).read_bytes()).hexdigest()
    stranger = Signer(Ed25519PrivateKey.generate())
    (folder / MANIFEST).write_bytes(
        seal_envelope("application/vnd.in-toto+json", json.dumps(document).encode(), stranger)
    )
    told = " ".join(
        finding.sentence for finding in verify_file(folder, outsider).findings if finding.verdict == "fails"
    )
    assert "is of another record" in told and "not the one that was sealed" in told


def test_whoever_put_it_together_is_told_when_it_was_not_the_signer(studio, tmp_path):
    with Guard(config(tmp_path / "lawyer")) as lawyer:
        content = build_dossier(gather(str(studio.picture), lawyer, PictureFinder()), lawyer, PictureFinder())
        for name, data in content.items():
            (tmp_path / "d" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "d" / name).write_bytes(data)
    result = verify_file(tmp_path / "d", Guard(config(tmp_path / "outsider")))
    assert result.holds and "was put together with key" in str(result.findings)


def test_hostile_and_damaged_archives_are_refused_in_one_sentence(studio, tmp_path, outsider):
    good = dossier(studio, "proof-only")

    def pack(**more: bytes) -> Path:
        path = tmp_path / "x.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in {**good, **more}.items():
                archive.writestr(name, data)
        return path

    for name in ("../evil.txt", "/evil.txt", "C:evil.txt", "a\\..\\..\\evil.txt"):
        result = verify_file(pack(**{name: b"x"}), outsider)
        assert "outside of it" in result.findings[0].sentence and not (tmp_path / "evil.txt").exists()
    for content in (b"", b"PK\x05\x06 broken", b"{}" * 100):
        (tmp_path / "x.zip").write_bytes(content)
        assert "not a dossier" in verify_file(tmp_path / "x.zip", outsider).findings[0].sentence


def _manifest_with(studio: Studio, **changes: object) -> bytes:
    document = json.loads(base64.b64decode(json.loads(dossier(studio, "proof-only")[MANIFEST])["payload"]))
    document.update(changes)
    return seal_envelope(
        "application/vnd.in-toto+json", json.dumps(document).encode(), Signer(Ed25519PrivateKey.generate())
    )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"predicateType": "urn:provenance-guard:dossier:v2"}, "newer version"),
        ({"predicateType": "https://slsa.dev/provenance/v1"}, "slsa.dev"),
        ({"_type": "x"}, "no in-toto statement"),
        ({"predicate": {}}, "damaged"),
        ({"predicate": {"parts": [{}]}}, "damaged"),
        ({"subject": [{"name": "../../etc/passwd", "digest": {"sha256": "00"}}]}, "damaged"),
        ({"subject": [{"name": "a"}]}, "damaged"),
    ],
)
def test_manifests_of_other_kinds(studio, tmp_path, outsider, changes, said):
    (tmp_path / MANIFEST).write_bytes(_manifest_with(studio, **changes))
    (finding,) = verify_file(tmp_path, outsider).findings
    assert finding.verdict == "fails" and said in finding.sentence


def test_the_manifest_is_the_golden_file(monkeypatch):
    monkeypatch.setattr(manifest, "__version__", "0.1.0")
    content = {
        "index.html": b"<html>",
        "pictures/aa.png": b"picture",
        "pictures/aa.png.prov.json": b"{}",
        "events/aa.json": b"[]",
    }
    parts = [Part("subject", "aa", picture="pictures/aa.png", original=True), Part("ancestor", "bb")]
    payload = manifest.write_manifest(content, parts, profile="full", created="2026-11-22T10:15:30.123Z")
    assert payload == GOLDEN.read_bytes().rstrip(b"\n")


def test_an_erased_relative_leaves_its_place(studio, tmp_path, outsider):
    shutil.copytree(studio.home, tmp_path / "copy")
    copy = Studio(
        tmp_path / "copy", tuple(tmp_path / "copy" / "out" / path.name for path in studio.files), studio.records
    )
    with copy.open() as guard:
        with Ledger.open(guard.config.ledger_path, guard.signer) as ledger:
            seqs = [event.seq for event in ledger.events(record_id=copy.records[0])]
            ledger.erase(seqs, "asked for", what="whole")
        with pytest.raises(GuardError, match="was erased"):
            gather(copy.records[0], guard, PictureFinder())
    content = dossier(copy, "redacted", folder=tmp_path / "d")
    assert f"pictures/{copy.records[0]}.png" not in content
    assert verify_file(tmp_path / "d", outsider).holds
