"""Policy and settings files: what they mean, and errors that name the line, whatever is in the file."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provenance_guard.config import Policy, Settings, load_policy, load_settings
from provenance_guard.errors import ConfigError, GuardError

GOLDEN = Path(__file__).parents[2] / "golden" / "policy"


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "policy 政策.toml"
    path.write_text(text, "utf-8")
    return path


def test_an_empty_policy_is_the_default(tmp_path: Path) -> None:
    path = written(tmp_path, "")
    assert load_policy(path) == dataclasses.replace(Policy(), source=path)


def test_every_key(tmp_path: Path) -> None:
    (tmp_path / "refs").mkdir()
    policy = load_policy(
        written(
            tmp_path,
            """
version = 1
mode = "block"
on_error = "warn"
[screen]
references = ["refs", "更多 refs"]
review = 0.4
near_copy = 1
semantic_review = 0.9
[mark]
enabled = false
strength = "strong"
[label]
enabled = false
""",
        )
    )
    assert (policy.mode, policy.on_error) == ("block", "warn")
    assert policy.screen.references == (tmp_path / "refs", tmp_path / "更多 refs")
    assert (policy.screen.review, policy.screen.near_copy, policy.screen.semantic_review) == (0.4, 1.0, 0.9)
    assert (policy.mark.enabled, policy.mark.strength, policy.label.enabled) == (False, "strong", False)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('mode = "block"', "block"),
        ('mode = "warn"', "warn"),
        ("", "warn"),
        ('mode = "block"\non_error = "warn"', "warn"),
        ('on_error = "block"', "block"),
        ('mode = "quarantine"', "quarantine"),
        ('mode = "quarantine"\non_error = "block"', "block"),
    ],
)
def test_a_policy_that_withholds_does_so_on_errors_unless_it_says_otherwise(
    tmp_path: Path, text: str, expected: str
) -> None:
    assert load_policy(written(tmp_path, text)).on_error == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('mode = "block"', "off"),
        ('mode = "quarantine"', "off"),
        ('mode = "quarantine"\npreviews = "blur"', "blur"),
        ('mode = "block"\npreviews = "allow"', "allow"),
        ('mode = "warn"', "allow"),
        ('mode = "warn"\npreviews = "off"', "off"),
    ],
)
def test_a_policy_that_withholds_shows_no_previews_unless_it_says_otherwise(
    tmp_path: Path, text: str, expected: str
) -> None:
    assert load_policy(written(tmp_path, text)).previews == expected


def test_retry_and_reviewers(tmp_path: Path) -> None:
    policy = load_policy(
        written(tmp_path, 'mode = "quarantine"\nretry.attempts = 3\n[quarantine]\nreviewers = ["ada", "王"]')
    )
    assert (policy.retry.attempts, policy.quarantine.reviewers) == (3, ("ada", "王"))


MODES = ["off", "warn", "quarantine", "block"]
ANSWERS = ["warn", "quarantine", "block"]
PREVIEWS = ["allow", "blur", "off"]
wishes = st.fixed_dictionaries(
    {},
    optional={
        "mode": st.sampled_from(MODES),
        "on_error": st.sampled_from(ANSWERS),
        "previews": st.sampled_from(PREVIEWS),
        "near_copy": st.floats(0, 1),
        "review": st.floats(0, 1),
    },
)


@given(st.sampled_from(MODES), st.sampled_from(ANSWERS), st.sampled_from(PREVIEWS), wishes)
def test_no_wish_makes_a_policy_milder(mode: str, on_error: str, previews: str, wish: dict[str, object]) -> None:
    policy = Policy(mode=mode, on_error=on_error, previews=previews)
    narrowed = policy.narrow(**wish)
    assert MODES.index(narrowed.mode) >= MODES.index(mode)
    assert ANSWERS.index(narrowed.on_error) >= ANSWERS.index(on_error)
    assert PREVIEWS.index(narrowed.previews) >= PREVIEWS.index(previews)
    assert narrowed.screen.near_copy <= policy.screen.near_copy and narrowed.screen.review <= policy.screen.review
    assert (narrowed.retry, narrowed.quarantine, narrowed.mark) == (policy.retry, policy.quarantine, policy.mark)
    if policy.withholds_copies:
        assert narrowed.mode == mode  # no wish destroys, or keeps, what the policy does not


@pytest.mark.parametrize("wish", ["quarantine", "block"])
def test_who_wishes_copies_withheld_gets_that_for_failures_and_no_previews(wish: str) -> None:
    narrowed = Policy(mode="warn").narrow(mode=wish)
    assert (narrowed.mode, narrowed.on_error, narrowed.previews) == (wish, wish, "off")
    assert Policy(mode="warn").narrow(mode="warn") == Policy(mode="warn")


@pytest.mark.parametrize("name", ["policy-1-first", "policy-1-full"])
def test_policy_files_of_this_format_stay_readable(name: str) -> None:
    path = GOLDEN / f"{name}.toml"
    expected = json.loads((GOLDEN / f"{name}.json").read_text("utf-8"))
    assert_holds(as_read(load_policy(path)), expected)


def assert_holds(found: object, expected: object) -> None:
    """What is expected is there; a later program may know more fields."""
    if isinstance(expected, dict) and isinstance(found, dict):
        for key, value in expected.items():
            assert_holds(found[key], value)
    else:
        assert found == expected


def as_read(policy: Policy) -> dict[str, object]:
    """A policy as plain values; folders as they stand below the file's own."""
    document = dataclasses.asdict(policy)
    document["source"] = document["source"].name
    folders = policy.screen.references
    document["screen"]["references"] = [folder.relative_to(GOLDEN.absolute()).as_posix() for folder in folders]
    return json.loads(json.dumps(document))


def test_a_byte_order_mark_and_windows_lines_are_fine(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_bytes(b'\xef\xbb\xbfmode = "block"\r\n[screen]\r\nreview = 0.3\r\n')
    assert load_policy(path).screen.review == 0.3


def test_absolute_and_home_folders(tmp_path: Path) -> None:
    absolute = (tmp_path / "elsewhere").as_posix()
    policy = load_policy(written(tmp_path, f'[screen]\nreferences = ["{absolute}", "~/refs"]'))
    assert policy.screen.references == (Path(absolute), Path.home() / "refs")


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ('mode = "blok"', 1, "'off', 'warn', 'quarantine', 'block'"),
        ('\n\n# a comment\nmode = "x"', 4, "mode"),
        ("mod = 1", 1, "did you mean 'mode'"),
        ("entirely_else = 1", 1, "known are"),
        ("[screen]\nreview = 0.2\nnear_copy = 1.5", 3, "between 0.0 and 1.0"),
        ("[screen]\nreview = nan", 2, "between"),
        ("[screen]\nreview = true", 2, "number"),
        ('[screen]\nreview = "0.5"', 2, "number"),
        ("screen.review = 2", 1, "between"),
        ("screen = { near_copy = 0.9, review = 2 }", 1, "between"),
        ("screen = 3", 1, "table"),
        ("previews = 'dim'", 1, "'allow', 'blur', 'off'"),
        ("on_error = 'off'", 1, "'warn', 'quarantine', 'block'"),
        ("[retry]\nattempts = 21", 2, "between 0 and 20"),
        ("[retry]\nattempts = 1.5", 2, "whole number"),
        ("[retry]\ntimes = 1", 2, "unknown key"),
        ("[quarantine]\nreviewers = 'ada'", 2, "list of names"),
        ("\n[[screen]]\nreview = 0.5", 2, "table"),
        ('["screen"]\n"review" = 7', 2, "between"),
        ("[screen]\nreferences = [\n  'a',\n  3,\n]", 2, "list of folders"),
        ("[screen]\nreferences = 'a'", 2, "list of folders"),
        ("[screen]\nreferences = ['']", 2, "no path"),
        ('[screen]\nreferences = ["a\\u0000b"]', 2, "no path"),
        ("[screen]\nreview = 0.9\nnear_copy = 0.8", 2, "above"),
        ("[screen]\nnear_copy = 0.2", 2, "above"),
        ("[mark]\nenabled = 1", 2, "true or false"),
        ("[mark]\n\nstrength = 'loud'", 3, "'invisible'"),
        ("version = 2", 1, "version"),
        ("version = 1.0", 1, "whole number"),
        ("source = 'x'", 1, "unknown key"),
        ('x = """\nmode = 1\n"""', 1, "unknown key 'x'"),
        ("label.enabled = true\nmark = [\n1,\n2]\n", 2, "table"),
        ("mode = 'off'\nmode = 'warn'", 2, "TOML"),
        ("mode = ", 1, "TOML"),
        ("[screen\nreview = 1", 1, "TOML"),
    ],
)
def test_errors_name_the_line(tmp_path: Path, text: str, line: int, words: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load_policy(path)
    assert caught.value.line == line
    assert words in str(caught.value)
    assert f"{path}, line {line}" in str(caught.value)
    assert caught.value.next_step


@pytest.mark.skipif(sys.platform == "win32", reason="Windows looks for a folder beside the user's own")
def test_the_home_of_nobody(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such user") as caught:
        load_policy(written(tmp_path, "[screen]\nreferences = ['~nobody-of-this-name/refs']"))
    assert caught.value.line == 2


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"mode = '\xe9'"])
def test_other_encodings(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "policy.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="UTF-8"):
        load_policy(path)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.toml", tmp_path):
        with pytest.raises(ConfigError) as caught:
            load_policy(path)
        assert caught.value.line is None
        assert caught.value.next_step


@pytest.mark.parametrize("text", ["a = " + "[" * 20_000, "a = " + "9" * 20_000, "a" + ".a" * 5_000 + " = 1"])
def test_absurd_files(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError):
        load_policy(written(tmp_path, text))


def test_settings(tmp_path: Path) -> None:
    assert load_settings(tmp_path / "missing.toml") == Settings()
    settings = load_settings(written(tmp_path, 'user = "Ada"\nembedding_checkpoint = "~/w.pt"\nsidecar = false'))
    assert settings == Settings(user="Ada", embedding_checkpoint=Path.home() / "w.pt", sidecar=False)
    with pytest.raises(ConfigError) as caught:
        load_settings(written(tmp_path, "\nsidecar = 'no'"))
    assert caught.value.line == 2


AUTHORITIES = """
witnesses = ["example.org/ada+00000000+AAAA"]

[timestamping]
calendars = ["https://calendar.example.org"]
minutes = 30

[[timestamping.authorities]]
url = "https://time.example.org/tsr"
roots = "roots/example.pem"

[[timestamping.authorities]]
url = "http://127.0.0.1:3161/"
roots = "/etc/roots.pem"
policy = "1.2.3.4"
"""


def test_who_dates_checkpoints(tmp_path: Path) -> None:
    settings = load_settings(written(tmp_path, AUTHORITIES))
    first, second = settings.timestamping.authorities
    assert (first.url, first.roots, first.policy) == (
        "https://time.example.org/tsr",
        tmp_path / "roots" / "example.pem",
        "",
    )
    assert (second.roots.name, second.roots.is_absolute(), second.policy) == ("roots.pem", True, "1.2.3.4")
    assert settings.timestamping.calendars == ("https://calendar.example.org",)
    assert settings.timestamping.minutes == 30
    assert settings.witnesses == ("example.org/ada+00000000+AAAA",)


def test_nobody_is_asked_by_default() -> None:
    assert Settings().timestamping.authorities == Settings().timestamping.calendars == ()


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        ('url = "http://127.0.0.1:3161/"', "", 12, "'url' is missing"),
        ('roots = "/etc/roots.pem"', "roots = 3", 14, "roots is 3"),
        ('roots = "roots/example.pem"', 'root = "x"', 10, "did you mean 'roots'"),
        ('"http://127.0.0.1:3161/"', '"file:///etc/passwd"', 13, "no web address"),
        ('"http://127.0.0.1:3161/"', '"https://ada:secret@example.org"', 13, "without name and password"),
        ('"http://127.0.0.1:3161/"', '"https://time.example.org/tsr"', 9, "named twice"),
        ('["https://calendar.example.org"]', '["calendar.example.org"]', 5, "no web address"),
        ('["https://calendar.example.org"]', '"https://calendar.example.org"', 5, "list of names"),
        ("minutes = 30", "minutes = -1", 6, "between"),
        ("minutes = 30", "hours = 1", 6, "unknown key"),
    ],
)
def test_what_is_wrong_with_an_authority_is_told_with_its_line(
    tmp_path: Path, old: str, new: str, line: int, said: str
) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        load_settings(written(tmp_path, AUTHORITIES.replace(old, new)))
    assert caught.value.line == line


def test_authorities_in_one_table_are_no_list(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="list of tables") as caught:
        load_settings(written(tmp_path, '[timestamping.authorities]\nurl = "https://example.org"\nroots = "x"'))
    assert caught.value.line == 1


keys = st.sampled_from(
    [
        "mode",
        "on_error",
        "version",
        "previews",
        "screen",
        "retry",
        "attempts",
        "quarantine",
        "reviewers",
        "mark",
        "label",
        "review",
        "near_copy",
        "references",
        "enabled",
        "strength",
        "x",
    ]
)
scalars = st.one_of(
    st.integers(-3, 3).map(str),
    st.floats(-1, 2).map(lambda number: repr(float(number))),
    st.sampled_from(["true", "false", "nan", "inf", "1979-05-27", "[]", "{}", "[1]", "['a']", "[['a']]"]),
    st.sampled_from(["off", "warn", "block", "strong", "~", "~x/y", ""]).map(lambda text: f'"{text}"'),
    st.text("ab\\\"'\n#=[]{}. ", max_size=6).map(lambda text: f"'{text}'"),
)
lines = st.one_of(
    st.tuples(keys, scalars).map(lambda pair: f"{pair[0]} = {pair[1]}"),
    st.tuples(keys, keys, scalars).map(lambda parts: f"{parts[0]}.{parts[1]} = {parts[2]}"),
    st.tuples(keys, keys, scalars).map(lambda parts: f"{parts[0]} = {{ {parts[1]} = {parts[2]} }}"),
    keys.map(lambda key: f"[{key}]"),
    keys.map(lambda key: f"[[{key}]]"),
    st.just("# comment"),
    st.text(max_size=12),
)


@given(text=st.one_of(st.lists(lines, max_size=7).map("\n".join), st.text(max_size=60)))
def test_any_file_is_a_policy_or_a_config_error(text: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_bytes(text.encode("utf-8", "replace"))
    for load in (load_policy, load_settings):
        try:
            load(path)
        except ConfigError as error:
            count = path.read_bytes().count(b"\n") + path.read_bytes().count(b"\r") + 1
            assert error.line is None or 1 <= error.line <= count


@given(st.binary(max_size=80))
def test_any_bytes_are_a_policy_or_a_config_error(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "bytes.toml"
    path.write_bytes(content)
    try:
        load_policy(path)
    except ConfigError as error:
        assert isinstance(error, GuardError)


def test_the_demo_policy_is_valid() -> None:
    policy = load_policy(Path(__file__).parents[3] / "examples" / "policy.toml")
    assert policy.mode == policy.on_error == "block"
    assert policy.screen.references[0].is_dir()
