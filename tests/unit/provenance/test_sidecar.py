from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from PIL import Image

from provenance_guard import files, pictures
from provenance_guard.errors import SidecarError, UsageError
from provenance_guard.provenance import sidecar, statement
from provenance_guard.provenance.dsse import encode_for_signing, read_envelope
from provenance_guard.provenance.record import Context, Parent, Record, Resource
from provenance_guard.provenance.redaction import redact, sealed_fields, write_opening
from provenance_guard.signing import Signer

GOLDEN = Path(__file__).parents[2] / "golden" / "provenance"
FIXED_KEY = bytes(range(32))

RECORD = Record(
    id="00112233445566778899aabbccddeeff",
    time="2026-11-22T10:15:30.123Z",
    context=Context(
        origin="webui.img2img",
        parameters={
            "prompt": "a red fox, 雪",
            "negative_prompt": "blurry",
            "seed": 965400086,
            "steps": 20,
            "cfg_scale": 7.5,
            "width": 64,
            "height": 48,
            "sampler": "DPM++ 2M",
            "adetailer_prompt": "a fox face",
        },
        infotext="a red fox, 雪\nNegative prompt: blurry\nSteps: 20, Seed: 965400086, CFG scale: 7.5",
        resources=(
            Resource("checkpoint", "dreamer", "dreamer.safetensors", sha256="ab" * 32, declared_hash="abababab12"),
            Resource("lora", "tiny", "tiny.safetensors", weight=0.8, metadata={"ss_network_dim": "8"}),
        ),
        parents=(Parent("init_image", "cd" * 32, "ffeeddccbbaa99887766554433221100", "pixels"),),
        environment={"webui": "v1.10.1"},
        user="joe",
        job="task(abc)",
        source_name="holiday with ann.png",
        source_sha256="ef" * 32,
    ),
    pixel_sha256="12" * 32,
    width=64,
    height=48,
    verdict={"level": "clean", "matches": []},
    decision={"action": "allow", "reasons": []},
    mark={"present": True, "payload": "00" * 16},
    failures=("label: the file is read-only",),
)
PRIVATE = (
    "red fox",
    "blurry",
    "965400086",
    "fox face",
    "joe",
    "holiday",
    "dreamer",
    "tiny",
    "DPM",
    "read-only",
    "abababab12",
)


def fixed_signer() -> Signer:
    return Signer(Ed25519PrivateKey.from_private_bytes(FIXED_KEY))


def fixed_salts():
    counter = iter(range(1, 1000))
    return lambda size: next(counter).to_bytes(size, "big")


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "00001 狐.png"
    noise = np.random.default_rng(3).integers(0, 256, (48, 64, 3), np.uint8)
    Image.fromarray(noise).save(path)
    return path


def write_sidecar(picture: Path, signer: Signer, record: Record = RECORD, **options) -> sidecar.Sidecar:
    """The creator's own sidecar, with all openings."""
    pixels = pictures.pixel_sha256(pictures.open_picture(picture).image)
    public, openings = redact(record.to_json())
    name, opening = statement.seal_file_name(picture.name)
    payload = statement.build_statement(public, files.sha256_file(picture), pixels, file_name=name, **options)
    path = sidecar.sidecar_path(picture)
    path.write_bytes(sidecar.sign_envelope(payload, signer, [*openings, opening]))
    return sidecar.read_sidecar(path)


def first_version_sidecar(picture: Path, signer: Signer) -> sidecar.Sidecar:
    """As the first version wrote it: openings and file name inside the statement."""
    document = json.loads((GOLDEN / "statement-1-full.json").read_bytes())
    pixels = pictures.pixel_sha256(pictures.open_picture(picture).image)
    document["subject"] = [
        {"name": picture.name, "digest": {"sha256": files.sha256_file(picture)}},
        {"name": f"{picture.name}#pixels", "digest": {"pgPixels1": pixels}},
    ]
    path = sidecar.sidecar_path(picture)
    path.write_bytes(sidecar.sign_envelope(json.dumps(document).encode(), signer))
    return sidecar.read_sidecar(path)


def reread(source: sidecar.Sidecar, content: bytes) -> sidecar.Sidecar:
    return sidecar.parse_sidecar(content, source.path)


def test_pae_is_the_one_of_the_dsse_specification():
    assert encode_for_signing("http://example.com/HelloWorld", b"hello world") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )
    assert encode_for_signing("é", b"") == b"DSSEv1 2 \xc3\xa9 0 "


@pytest.mark.parametrize("profile", ["redacted", "proof-only"])
def test_statement_bytes_are_those_of_the_golden_file(profile, monkeypatch):
    monkeypatch.setattr(statement, "__version__", "0.1.0")
    public, _ = redact(RECORD.to_json(), make_salt=fixed_salts())
    payload = statement.build_statement(
        public,
        "34" * 32,
        "56" * 32,
        file_name=statement.seal_file_name("/home/joe/00001.png", make_salt=bytes)[0],
        profile=profile,
        ledger_proof={"seq": 7, "checkpoint": "origin\n8\nAAAA\n"},
    )
    assert payload == (GOLDEN / f"statement-1-{profile}.json").read_bytes().rstrip(b"\n")


def test_envelope_bytes_are_those_of_the_golden_file():
    payload = (GOLDEN / "statement-1-redacted.json").read_bytes().rstrip(b"\n")
    _, openings = redact(RECORD.to_json(), make_salt=fixed_salts())
    _, name = statement.seal_file_name("00001.png", make_salt=bytes)
    content = sidecar.sign_envelope(payload, fixed_signer(), [*openings, name])
    assert content == (GOLDEN / "sidecar-1-openings-beside.prov.json").read_bytes()


@pytest.mark.parametrize("name", ["sidecar-1.prov.json", "sidecar-1-openings-beside.prov.json"])
def test_golden_sidecars_are_read_for_ever(name):
    read = sidecar.read_sidecar(GOLDEN / name)
    assert read.record == RECORD
    assert read.record_id == RECORD.id
    assert read.profile == "full"
    assert (read.file_name, read.file_sha256, read.pixel_sha256) == ("00001.png", "34" * 32, "56" * 32)
    assert read.ledger_proof == {"seq": 7, "checkpoint": "origin\n8\nAAAA\n"}
    check = read.verify({"studio": fixed_signer().public_bytes})
    assert (check.signature, check.signer, check.key_id) == (True, "studio", fixed_signer().key_id)
    assert check.file is None and "cannot be read" in check.notes[0]


def test_sidecar_verifies_beside_its_picture(picture, tmp_path):
    signer = Signer.open(tmp_path / "keys")
    read = write_sidecar(picture, signer)
    assert read.path.name == "00001 狐.png.prov.json"
    check = read.verify()
    assert (check.signature, check.file, check.pixels, check.openings, check.sound) == (True,) * 5
    assert check.key_id == signer.key_id
    assert check.signer is None  # Nobody said whose key it is.
    assert read.verify({"me": signer.public_bytes}).signer == "me"
    assert read.record == RECORD


def test_a_stranger_key_is_valid_but_not_known(picture, tmp_path):
    known = Signer.open(tmp_path / "known")
    read = write_sidecar(picture, Signer.open(tmp_path / "stranger"))
    check = read.verify({"studio": known.public_bytes})
    assert check.signature and check.signer is None and check.key_id != known.key_id


def test_metadata_change_breaks_the_file_but_not_the_pixels(picture, tmp_path):
    read = write_sidecar(picture, Signer.open(tmp_path / "keys"))
    with Image.open(picture) as image:
        image.load()
        image.save(picture, compress_level=1)
    check = read.verify()
    assert (check.file, check.pixels, check.sound) == (False, True, False)


def test_pixel_change_breaks_both(picture, tmp_path):
    read = write_sidecar(picture, Signer.open(tmp_path / "keys"))
    with Image.open(picture) as image:
        image.putpixel((1, 1), (1, 2, 3))
        image.save(picture)
    check = read.verify()
    assert (check.signature, check.file, check.pixels) == (True, False, False)


def test_a_broken_picture_leaves_the_pixels_unanswered(picture, tmp_path):
    read = write_sidecar(picture, Signer.open(tmp_path / "keys"))
    picture.write_bytes(picture.read_bytes()[:200])
    check = read.verify()
    assert (check.file, check.pixels) == (False, None)
    assert check.notes


def test_a_renamed_picture_is_found_when_told(picture, tmp_path):
    read = write_sidecar(picture, Signer.open(tmp_path / "keys"))
    moved = picture.rename(tmp_path / "other.png")
    assert read.verify().file is None
    assert read.verify(picture=moved).file is True


def test_every_changed_byte_of_the_payload_breaks_the_signature(picture, tmp_path):
    read = write_sidecar(picture, Signer.open(tmp_path / "keys"))
    document = json.loads(read.path.read_bytes())
    payload = bytearray(base64.b64decode(document["payload"]))
    for position in range(0, len(payload), 97):
        changed = bytearray(payload)
        changed[position] ^= 1
        envelope = read_envelope(
            json.dumps({**document, "payload": base64.b64encode(bytes(changed)).decode()}).encode()
        )
        assert envelope.signing_key() is None


def test_swapped_signature_of_another_sidecar_is_found(picture, tmp_path):
    signer = Signer.open(tmp_path / "keys")
    first = write_sidecar(picture, signer)
    document = json.loads(first.path.read_bytes())
    other = write_sidecar(picture, signer, dataclasses.replace(RECORD, id="ff" * 16))
    document["signatures"] = json.loads(other.path.read_bytes())["signatures"]
    other.path.write_text(json.dumps(document), "utf-8")
    swapped = sidecar.read_sidecar(other.path)
    check = swapped.verify()
    assert (check.signature, check.key_id, check.sound) == (False, None, False)
    with pytest.raises(SidecarError, match="signature does not hold"):
        sidecar.redact_sidecar(swapped)
    with pytest.raises(SidecarError, match="signature does not hold"):
        sidecar.proof_only_sidecar(swapped, signer)


def test_url_safe_base64_is_read_too(picture, tmp_path):
    read = write_sidecar(picture, Signer.open(tmp_path / "keys"))
    text = read.path.read_text("utf-8")
    document = json.loads(text)
    document["payload"] = document["payload"].replace("+", "-").replace("/", "_")
    document["signatures"][0]["sig"] = document["signatures"][0]["sig"].replace("+", "-").replace("/", "_")
    read.path.write_text(json.dumps(document), "utf-8")
    assert sidecar.read_sidecar(read.path).verify().signature


def test_an_envelope_without_a_public_key_needs_the_verifier_to_have_it(picture, tmp_path):
    signer = Signer.open(tmp_path / "keys")
    read = write_sidecar(picture, signer)
    document = json.loads(read.path.read_bytes())
    del document["signatures"][0]["publicKey"]
    read.path.write_text(json.dumps(document), "utf-8")
    bare = sidecar.read_sidecar(read.path)
    assert not bare.verify().signature
    assert bare.verify({"me": signer.public_bytes}).signature


def test_what_is_handed_out_tells_nothing_private_and_opens_later(picture, tmp_path):
    full = write_sidecar(picture, Signer.open(tmp_path / "keys"))
    assert (full.profile, full.file_name) == ("full", picture.name)

    hidden = sidecar.redact_sidecar(full)
    assert not [
        word for word in PRIVATE if word in hidden.decode() or word in reread(full, hidden).envelope.payload.decode()
    ]
    assert (reread(full, hidden).profile, reread(full, hidden).file_name) == ("redacted", "")
    opened = sidecar.redact_sidecar(full, fields=["prompt", "seed"])
    read = reread(full, opened)
    assert read.record.context.parameters["prompt"] == "a red fox, 雪"
    assert read.record.context.parameters["seed"] == 965400086
    assert not [word for word in PRIVATE if word not in ("red fox", "965400086") and word in opened.decode()]
    assert "negative_prompt" not in read.record.context.parameters
    assert read.verify().sound
    assert reread(full, sidecar.redact_sidecar(full, fields=["file_name"])).file_name == picture.name
    # What was handed out before and what is opened later are one statement with one signature.
    assert reread(full, hidden).envelope.payload == read.envelope.payload == full.envelope.payload
    assert reread(full, hidden).envelope.signatures == read.envelope.signatures == full.envelope.signatures
    assert reread(full, hidden).record.context.parents == RECORD.context.parents
    # And whoever holds the redacted one can put the openings to it that come later.
    assert sidecar.open_sidecar(reread(full, hidden), read.openings) == opened


def test_a_redacted_form_does_not_confirm_a_guess(picture, tmp_path):
    """Who knows the prompt, and all that is public, cannot find out that it is this one: the salts have 128 bits."""
    full = write_sidecar(picture, Signer.open(tmp_path / "keys"))
    hidden = sidecar.redact_sidecar(full, fields=["seed"])
    text = hidden + reread(full, hidden).envelope.payload
    salts = [json.loads(opening)[1] for opening in full.openings]
    assert {len(bytes.fromhex(salt)) for salt in salts} == {16} and len(set(salts)) == len(salts)
    seed = json.loads(next(opening for opening in full.openings if "/seed" in opening))[1]
    assert [salt for salt in salts if salt.encode() in text] == [seed], "a salt of a sealed field was handed out"
    known = [RECORD.id, RECORD.time, full.file_sha256, full.pixel_sha256, seed]
    guesses = [bytes(16), *(files_hash(word)[:16] for word in known), *(files_hash(word)[16:] for word in known)]
    for pointer, value in (("/context/parameters/prompt", "a red fox, 雪"), ("/context/user", "joe")):
        for salt in guesses:
            assert sidecar_commitment(write_opening(pointer, value, salt)) not in text
        for form in (value, json.dumps(value), f"{pointer}{value}", json.dumps([pointer, value])):
            assert hashlib.sha256(form.encode()).hexdigest().encode() not in text
    again = write_sidecar(picture, Signer.open(tmp_path / "keys"))
    public, other = full.sealed[0], again.sealed[0]
    equal = [pointer for pointer in sealed_fields(public) if _at(public, pointer) == _at(other, pointer)]
    assert equal == [], "equal values must not have equal commitments"


def files_hash(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def sidecar_commitment(opening: str) -> bytes:
    return hashlib.sha256(opening.encode()).hexdigest().encode()


def _at(document, pointer):
    for part in pointer.split("/")[1:]:
        document = document[int(part)] if isinstance(document, list) else document[part]
    return document


@pytest.mark.parametrize("where", ["inside", "beside"])
def test_a_false_opening_is_found(picture, tmp_path, where):
    signer = Signer.open(tmp_path / "keys")
    if where == "inside":
        source = first_version_sidecar(picture, signer)
        document = json.loads(source.envelope.payload)
        document["predicate"]["openings"][0] = document["predicate"]["openings"][0].replace("fox", "cat")
        content = sidecar.sign_envelope(json.dumps(document).encode(), signer)
    else:
        source = write_sidecar(picture, signer)
        content = source.path.read_bytes().replace(b"a red fox", b"a red cat")
    forged = reread(source, content)
    check = forged.verify()
    assert (check.signature, check.openings, check.sound) == (True, False, False)
    with pytest.raises(SidecarError, match="does not fit"):
        _ = forged.record


@pytest.mark.parametrize("beside", [{"openings": 3}, {"openings": [3]}, {"openings": {"a": 1}}])
def test_damaged_openings_beside_the_statement_are_told(picture, tmp_path, beside):
    full = write_sidecar(picture, Signer.open(tmp_path / "keys"))
    content = json.dumps({**json.loads(full.path.read_bytes()), **beside}).encode()
    with pytest.raises(SidecarError, match="opening"):
        reread(full, content)


def test_other_members_of_an_envelope_are_passed_on(picture, tmp_path):
    full = write_sidecar(picture, Signer.open(tmp_path / "keys"))
    foreign = json.dumps({**json.loads(full.path.read_bytes()), "timestamps": ["x"]}).encode()
    assert json.loads(sidecar.redact_sidecar(reread(full, foreign)))["timestamps"] == ["x"]


def test_a_sidecar_of_the_first_version_is_redacted_by_signing_what_remains(picture, tmp_path):
    signer = Signer.open(tmp_path / "keys")
    first = first_version_sidecar(picture, signer)
    assert (first.profile, first.file_name, first.verify().sound) == ("full", picture.name, True)
    assert first.record == RECORD
    with pytest.raises(SidecarError, match="must be signed"):
        sidecar.redact_sidecar(first)
    hidden = sidecar.redact_sidecar(first, fields=["seed"], signer=signer)
    read = reread(first, hidden)
    assert read.verify().sound and read.sealed[0] == first.sealed[0]
    assert "狐" not in read.file_name
    assert not [word for word in PRIVATE if word != "965400086" and word in hidden.decode()]
    assert not [word for word in PRIVATE if word in read.envelope.payload.decode()]


def test_proof_only_has_no_record(picture, tmp_path):
    signer = Signer.open(tmp_path / "keys")
    full = write_sidecar(picture, signer, ledger_proof={"seq": 1})
    read = reread(full, sidecar.proof_only_sidecar(full, signer))
    assert read.record_id == RECORD.id
    assert read.verify().sound
    assert (read.profile, read.file_name, read.ledger_proof) == ("proof-only", "picture", {"seq": 1})
    with pytest.raises(SidecarError, match="only proofs"):
        _ = read.record
    assert b"commitment" not in read.envelope.payload
    with pytest.raises(SidecarError, match="only proofs"):
        sidecar.redact_sidecar(read)


@pytest.mark.parametrize("kind", ["predicate", "record"])
def test_of_a_newer_sidecar_what_can_be_checked_is_checked(picture, tmp_path, kind):
    signer = Signer.open(tmp_path / "keys")
    full = write_sidecar(picture, signer)
    document = json.loads(full.envelope.payload)
    if kind == "predicate":
        document["predicateType"] = "urn:provenance-guard:record:v9"
        document["predicate"] = {"record": "in some form of the future"}
    else:
        document["predicate"]["record"]["schema"] = 9
    newer = reread(full, sidecar.sign_envelope(json.dumps(document).encode(), signer))
    check = newer.verify({"me": signer.public_bytes})
    assert newer.newer and (check.signature, check.signer, check.file, check.pixels) == (True, "me", True, True)
    assert "newer version" in " ".join(check.notes) and "Update" in " ".join(check.notes)
    for use in (lambda: newer.record, lambda: newer.sealed, lambda: sidecar.redact_sidecar(newer)):
        with pytest.raises(SidecarError, match="newer version"):
            use()
    picture.write_bytes(picture.read_bytes() + b"x")
    assert newer.verify().file is False


def test_unknown_field_to_open_is_told(picture, tmp_path):
    full = write_sidecar(picture, Signer.open(tmp_path / "keys"))
    with pytest.raises(UsageError, match="colour") as caught:
        sidecar.redact_sidecar(full, fields=["colour"])
    assert "prompt" in caught.value.next_step


def test_no_profile_tells_a_folder(picture, tmp_path):
    record = dataclasses.replace(
        RECORD,
        context=dataclasses.replace(
            RECORD.context,
            source_name="/home/joe/secret project/in.png",
            infotext='{"image": "C:\\\\Users\\\\joe\\\\in.png", "model": "/mnt/joe/models/m.safetensors"}',
            resources=(
                Resource(
                    "lora", "x", r"D:\models\joe\x.safetensors", metadata={"ss_sd_model_name": "/joe/models/sd.ckpt"}
                ),
            ),
            environment={"data": "/srv/joe/webui/data"},
        ),
        verdict={"level": "review", "matches": [{"reference": "/home/joe/references/a.png"}]},
        failures=("screen: \\\\nas\\joe\\references does not exist.",),
    )
    record = Record.from_json({**record.to_json(), "context": {**record.to_json()["context"], "user": None}})
    full = write_sidecar(picture, Signer.open(tmp_path / "keys"), record)
    for content in (full.path.read_bytes(), full.envelope.payload, sidecar.redact_sidecar(full)):
        assert b"joe" not in content
    kept = full.record
    assert kept.context.source_name == "in.png"
    assert kept.verdict["matches"][0]["reference"] == "a.png"
    assert kept.context.resources[0].metadata == {"ss_sd_model_name": "sd.ckpt"}


def test_the_recipe_in_the_documentation_checks_a_sidecar(picture, tmp_path):
    text = (Path(__file__).parents[3] / "docs" / "sidecar.md").read_text("utf-8")
    recipe = tmp_path / "recipe.py"
    recipe.write_text(text.split("```python\n")[1].split("```")[0], "utf-8")
    signer = Signer.open(tmp_path / "keys")
    read = write_sidecar(picture, signer)

    def run() -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(recipe), str(picture), str(read.path)]
        return subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=False)

    said = run()
    assert said.returncode == 0, said.stderr
    lines = said.stdout.splitlines()
    assert lines[:2] == [f"key {signer.key_id}", "file matches"]
    assert '/context/parameters/prompt "a red fox, \\u96ea" sha256 True' in lines
    assert all(line.endswith(" sha256 True") for line in lines[2:])
    picture.write_bytes(picture.read_bytes() + b"\0")
    assert "file was changed" in run().stdout
    document = json.loads(read.path.read_bytes())
    document["payload"] = base64.b64encode(
        base64.b64decode(document["payload"]).replace(b"img2img", b"txt2img")
    ).decode()
    read.path.write_text(json.dumps(document), "utf-8")
    assert run().returncode != 0


def test_names_never_collide():
    assert sidecar.sidecar_path(Path("x/a.png")) == Path("x/a.png.prov.json")
    assert sidecar.sidecar_path(Path("x/a.jpg")) == Path("x/a.jpg.prov.json")
    assert sidecar.picture_path(Path("x/a.png.prov.json")) == Path("x/a.png")


def _changed_statement(**changes) -> bytes:
    document = json.loads((GOLDEN / "statement-1-full.json").read_bytes())
    for name, value in changes.items():
        holder = document["predicate"] if name in document["predicate"] else document
        if value is None:
            del holder[name]
        else:
            holder[name] = value
    return sidecar.sign_envelope(json.dumps(document).encode(), fixed_signer())


BAD_FILES = [
    (b"", "damaged"),
    (b"{", "damaged"),
    (b"\xff\xfe\x00", "damaged|not a sidecar"),
    (b"\x89PNG\r\n\x1a\n" + bytes(50), "damaged|not a sidecar"),
    (b"[]", "not a sidecar"),
    (b'{"prompt": "a cat"}', "not a sidecar"),
    (b'{"payload": "", "payloadType": "x", "signatures": []}', "not a sidecar"),
    (b'{"payload": "?", "payloadType": "x", "signatures": [{"sig": ""}]}', "not a sidecar"),
    (b'{"payload": "", "payloadType": "\\ud800", "signatures": [{"sig": ""}]}', "not a sidecar"),
    (b'{"payload": "", "payloadType": "text/plain", "signatures": [{"sig": ""}]}', "not a sidecar.*text/plain"),
    (b'{"payload": "e30=", "payloadType": "application/vnd.in-toto+json", "signatures": [5]}', "not a sidecar"),
    (b'{"payload": "e30=", "payloadType": "application/vnd.in-toto+json", "signatures": [{"sig": ""}]}', "in-toto"),
    (b'{"payload": "ew==", "payloadType": "application/vnd.in-toto+json", "signatures": [{"sig": ""}]}', "damaged"),
    (b"[" * 100_000, "not a sidecar"),
    (sidecar.sign_envelope(b"[" * 100_000, fixed_signer()), "damaged"),
    (_changed_statement(predicateType="https://slsa.dev/provenance/v1"), "not a sidecar.*slsa"),
    (_changed_statement(subject=None), "damaged"),
    (_changed_statement(subject=[{"name": "a.png", "digest": {"sha512": "00"}}]), "damaged"),
    (_changed_statement(predicate=[]), "damaged"),
    (_changed_statement(profile="loud"), "damaged.*profile"),
    (_changed_statement(record=None), "damaged.*record"),
    (_changed_statement(openings=[1]), "damaged"),
    (_changed_statement(ledger=[]), "damaged"),
    (
        json.dumps({"payload": "", "payloadType": "x", "signatures": [{"sig": ""}] * 101}).encode(),
        "too many signatures",
    ),
]


@pytest.mark.parametrize(("content", "said"), BAD_FILES, ids=range(len(BAD_FILES)))
def test_bad_files_give_one_sentence_and_the_next_step(tmp_path, content, said):
    path = tmp_path / "a.png.prov.json"
    path.write_bytes(content)
    with pytest.raises(SidecarError, match=said) as caught:
        sidecar.read_sidecar(path)
    assert caught.value.next_step


@pytest.mark.parametrize("record", [{}, {"schema": "x"}, {"schema": 1}, {"schema": 1, "context": []}, {"deep": "DEEP"}])
def test_a_signed_but_damaged_record_is_told(tmp_path, record):
    content = _changed_statement(record=record, openings=[])
    if record == {"deep": "DEEP"}:
        payload = json.dumps(json.loads(read_envelope(content).payload)).replace('"DEEP"', "[" * 900 + "]" * 900)
        content = sidecar.sign_envelope(payload.encode(), fixed_signer())
    read = sidecar.parse_sidecar(content, tmp_path / "a.png.prov.json")
    with pytest.raises(SidecarError):
        _ = read.record
    with pytest.raises(SidecarError):
        sidecar.redact_sidecar(read, signer=fixed_signer())
    assert read.verify().signature


def test_missing_and_unreadable_sidecars_are_told(tmp_path):
    with pytest.raises(SidecarError, match="no sidecar"):
        sidecar.read_sidecar(tmp_path / "a.png.prov.json")
    (tmp_path / "b.png.prov.json").mkdir()
    with pytest.raises(SidecarError, match="cannot be read"):
        sidecar.read_sidecar(tmp_path / "b.png.prov.json")


@pytest.mark.skipif(os.name == "nt", reason="needs sparse files")
def test_a_huge_file_is_refused_unread(tmp_path):
    path = tmp_path / "a.png.prov.json"
    with path.open("wb") as stream:
        stream.truncate(sidecar.MAX_BYTES + 1)
    with pytest.raises(SidecarError, match="too large"):
        sidecar.read_sidecar(path)
