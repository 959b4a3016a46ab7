"""The verb ``checkpoint``, and what ``verify`` takes for known from elsewhere, as a person uses them."""

from __future__ import annotations

import json
import shutil

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from PIL import Image
from time_authority import OPENSSL, TimeAuthority, online

from provenance_guard.cli import main
from provenance_guard.config import Config, LabelPolicy, MarkPolicy, Policy, Settings
from provenance_guard.guard import Guard
from provenance_guard.ledger import Checkpoint, Ledger
from provenance_guard.provenance.record import Context
from provenance_guard.provenance.sidecar import sidecar_path
from provenance_guard.signing import Signer

QUICK = Policy(mode="off", mark=MarkPolicy(enabled=False), label=LabelPolicy(enabled=False))
NAME = "example.org/ada"


@pytest.fixture(autouse=True)
def no_mark(monkeypatch):
    """Nothing is marked here, and looking for marks takes seconds."""
    monkeypatch.setattr(Guard, "detector", None)


@pytest.fixture
def home(tmp_path):
    return ["--data", str(tmp_path / "data"), "--keys", str(tmp_path / "keys")]


@pytest.fixture
def witness(tmp_path):
    return ["--data", str(tmp_path / "ada"), "--keys", str(tmp_path / "ada keys"), "--name", NAME]


@pytest.fixture
def elsewhere(tmp_path):
    return ["--data", str(tmp_path / "nothing"), "--keys", str(tmp_path / "no keys")]


def make(tmp_path, number=1):
    with Guard(Config(tmp_path / "data", tmp_path / "keys", QUICK, Settings())) as guard:
        release = guard.release(Image.new("RGB", (64, 64), (number, 40, 90)), Context("webui.txt2img", {"prompt": "a"}))
        path = tmp_path / f"{number}.png"
        release.image.save(path)
        assert guard.seal(release, path).failures == ()
    return path


def run(capsysbinary, *arguments):
    capsysbinary.readouterr()
    code = main([str(argument) for argument in arguments])
    return code, capsysbinary.readouterr().out.decode("utf-8")


def run_json(capsysbinary, *arguments):
    code, out = run(capsysbinary, *arguments, "--json")
    return code, json.loads(out)


def findings(document):
    return {finding["subject"]: finding["verdict"] for finding in document["pictures"][0]["findings"]}


@pytest.fixture
def dated(tmp_path):
    """Settings with an authority that is online."""
    if OPENSSL is None:
        pytest.skip("openssl is not installed")
    pytest.importorskip("rfc3161_client")
    with online(TimeAuthority(tmp_path / "alpha", "Alpha")) as authority:
        (tmp_path / "data").mkdir()
        (tmp_path / "data" / "settings.toml").write_text(
            f'[[timestamping.authorities]]\nurl = "{authority.url}"\nroots = "../alpha/root.pem"\n', "utf-8"
        )
        yield authority


def test_a_checkpoint_is_made_listed_and_exported(tmp_path, home, capsysbinary):
    make(tmp_path)
    code, made = run_json(capsysbinary, "checkpoint", *home)
    assert (code, made["size"]) == (0, 4)
    code, listed = run_json(capsysbinary, "checkpoint", "list", *home)
    assert [one["size"] for one in listed["checkpoints"]] == [4]
    code, out = run(capsysbinary, "checkpoint", "export", *home)
    assert Checkpoint.parse(out).verify(Signer.open(tmp_path / "keys").public_bytes)
    assert run(capsysbinary, "checkpoint", *home, "export", "--out", tmp_path / "note.txt")[0] == 0
    assert (tmp_path / "note.txt").read_bytes() == out.encode()
    assert "events" in run(capsysbinary, "checkpoint", "list", *home)[1]


def test_options_may_stand_before_or_after_the_action(tmp_path, home, capsysbinary):
    make(tmp_path)
    before = run(capsysbinary, "checkpoint", *home, "--json", "list")
    after = run(capsysbinary, "checkpoint", "list", *home, "--json")
    assert before == after


def test_the_whole_way_of_a_witness(tmp_path, home, witness, capsysbinary):
    make(tmp_path, 1)
    key = tmp_path / "keys" / "signing-1.pub"
    request, signed = tmp_path / "request.txt", tmp_path / "signed.txt"
    run(capsysbinary, "checkpoint", "export", "--out", request, *home)
    assert run(capsysbinary, "checkpoint", "cosign", request, *witness)[0] == 2  # whose ledger is it?
    code, document = run_json(capsysbinary, "checkpoint", "cosign", request, "--key", key, "--out", signed, *witness)
    assert (code, document["size"]) == (0, 4)
    code, added = run_json(capsysbinary, "checkpoint", "add", signed, "--witness", document["witness_key"], *home)
    assert [line["holds"] for line in added["cosigned"]] == [True]

    make(tmp_path, 2)
    run(capsysbinary, "checkpoint", "export", "--out", request, *home)
    code, refused = run_json(capsysbinary, "checkpoint", "cosign", request, *witness)
    assert code == 1
    assert "--since 4" in refused["next_step"]
    run(capsysbinary, "checkpoint", "export", "--since", 4, "--out", request, *home)
    assert run_json(capsysbinary, "checkpoint", "cosign", request, "--out", signed, *witness)[1]["size"] == 7
    run(capsysbinary, "checkpoint", "add", signed, *home)

    ledger = tmp_path / "data" / "ledger.sqlite3"
    code, document = run_json(capsysbinary, "verify", ledger, "--witness", document["witness_key"], *home)
    assert code == 0
    assert findings(document) == dict.fromkeys(("chain", "time", "independence", "identity"), "holds")


def test_a_rolled_back_ledger_is_found_by_an_exported_checkpoint(tmp_path, home, capsysbinary):
    make(tmp_path, 1)
    ledger = tmp_path / "data" / "ledger.sqlite3"
    with Ledger.open_read_only(ledger) as opened:
        opened.back_up(tmp_path / "older.sqlite3")
    make(tmp_path, 2)
    run(capsysbinary, "checkpoint", "export", "--out", tmp_path / "note.txt", *home)
    assert run(capsysbinary, "verify", "--checkpoint", tmp_path / "note.txt", ledger, *home)[0] == 0
    assert run(capsysbinary, "verify", tmp_path / "older.sqlite3", *home)[0] == 0
    code, document = run_json(
        capsysbinary, "verify", "--checkpoint", tmp_path / "note.txt", tmp_path / "older.sqlite3", *home
    )
    assert code == 1
    assert "covers 3 events more than there are" in json.dumps(document)


def test_stamped_refreshed_and_verified_elsewhere(tmp_path, home, elsewhere, dated, capsysbinary):
    path = make(tmp_path)
    code, document = run_json(capsysbinary, "checkpoint", "stamp", *home)
    assert (code, [outcome["result"] for outcome in document["outcomes"]]) == (0, ["anchored"])
    listed = run_json(capsysbinary, "checkpoint", "list", *home)[1]["checkpoints"]
    assert [(one["size"], one["covered_by"], len(one["anchors"])) for one in listed] == [(4, 4, 1), (5, None, 0)]
    assert run_json(capsysbinary, "checkpoint", "refresh", path, *home)[1]["sidecars"][0]["result"] == "refreshed"
    far = tmp_path / "far"
    far.mkdir()
    for file in (path, sidecar_path(path)):
        shutil.copy(file, far)
    code, document = run_json(
        capsysbinary,
        "verify",
        far / path.name,
        "--roots",
        dated.roots,
        "--key",
        tmp_path / "keys" / "signing-1.pub",
        *elsewhere,
    )
    assert code == 0
    holding = {subject for subject, verdict in findings(document).items() if verdict == "holds"}
    assert holding >= {"content", "record", "chain", "time", "identity", "independence"}
    assert not (tmp_path / "nothing").exists()


def test_tokens_are_handed_out_for_openssl(tmp_path, home, dated, capsysbinary):
    make(tmp_path)
    run(capsysbinary, "checkpoint", "stamp", *home)
    code, document = run_json(
        capsysbinary, "checkpoint", "export", "--tokens", tmp_path / "tokens", "--out", tmp_path / "bundle.json", *home
    )
    note, token, roots = sorted(
        (tmp_path / "tokens").iterdir(), key=lambda path: [".txt", ".tsr", ".pem"].index(path.suffix)
    )
    dated.run(
        "ts", "-verify", "-data", str(note), "-in", str(token), "-CAfile", str(roots)
    )  # raises when it does not hold
    assert len(document["tokens"]) == 3
    code, document = run_json(
        capsysbinary, "verify", "--checkpoint", token, tmp_path / "data" / "ledger.sqlite3", *home
    )
    assert code == 0
    assert json.loads((tmp_path / "bundle.json").read_text("utf-8"))["version"] == 1


def test_stamping_tells_who_cannot_be_reached(tmp_path, home, dated, capsysbinary):
    make(tmp_path)
    settings = tmp_path / "data" / "settings.toml"
    settings.write_text(settings.read_text("utf-8").replace(dated.url, "http://127.0.0.1:9/tsr"), "utf-8")
    code, document = run_json(capsysbinary, "checkpoint", "stamp", *home)
    assert (code, document["outcomes"][0]["reason"]) == (1, "unreachable")
    code, document = run_json(capsysbinary, "checkpoint", "list", *home)
    assert document["authorities"][0]["due"]
    assert document["authorities"][0]["attempts"] == 1
    assert "cannot be reached" in run(capsysbinary, "checkpoint", "list", *home)[1]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("checkpoint",), 1),
        (("checkpoint", "list"), 1),
        (("checkpoint", "export"), 1),
        (("checkpoint", "refresh", "missing.png"), 1),
        (("checkpoint", "add", "missing.txt"), 2),
        (("checkpoint", "cosign", "missing.txt", "--name", NAME), 2),
        (("checkpoint", "stamp"), 2),
        (("verify", "x.png", "--checkpoint", "missing.txt"), 2),
        (("verify", "x.png", "--roots", "missing.pem"), 2),
        (("verify", "x.png", "--witness", "nobody"), 2),
        (("verify", "x.png", "--key", "missing.pub"), 1),
    ],
)
def test_what_cannot_be_done_is_told_in_one_sentence(home, capsysbinary, arguments, code):
    got, document = run_json(capsysbinary, *arguments, *home)
    assert got == code
    assert document["error"] and document["next_step"]


def test_a_size_that_there_is_not(tmp_path, home, capsysbinary):
    make(tmp_path)
    assert run_json(capsysbinary, "checkpoint", "export", "--since", 99, *home)[0] == 2


def test_a_checkpoint_of_another_ledger_is_not_taken(tmp_path, home, capsysbinary):
    make(tmp_path)
    stranger = Checkpoint.sign("provenance-guard/" + "0" * 32, 2, bytes(32), Signer(Ed25519PrivateKey.generate()))
    (tmp_path / "note.txt").write_text(stranger.text(), "utf-8")
    code, document = run_json(capsysbinary, "checkpoint", "add", tmp_path / "note.txt", *home)
    assert code == 1
    assert "no such checkpoint" in document["error"]
