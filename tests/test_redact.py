"""Secrets stay out of whatever is written."""

import logging

import pytest
from omegaconf import OmegaConf

from lcomp.cli.task import hide_secrets
from lcomp.record.log import NameData
from lcomp.record.point_key import canonical_point, hidden_digest
from lcomp.record.redaction import HIDDEN, redacted, redacted_line
from lcomp.record.result import Result, read_result
from lcomp.record.secret_names import names_secret


@pytest.mark.parametrize(
    ("line", "written"),
    [
        ("storage=postgresql+psycopg://me:sesame@host:5432/db", "storage=postgresql+psycopg://***@host:5432/db"),
        ("+data.api_key=abc", "+data.api_key=***"),
        ("+data.db_password=abc quant.bits=8", "+data.db_password=*** quant.bits=8"),
        ("kd.temperature=3", "kd.temperature=3"),
        ("{token=abc, x=1}", "{token=***, x=1}"),
        ("sqlite:///a@b.db", "sqlite:///a@b.db"),
        ("+data.auth='{user:me,password:abc}'", "+data.auth='{user:me,password:***}'"),
        ("+data.url=https://h/p?token=abc&x=1", "+data.url=https://h/p?token=***&x=1"),
        ("+data.password='a b' seed=1", "+data.password=*** seed=1"),
        ("tokens=[a,b] seed=1", "tokens=*** seed=1"),
        ("https://ghp_xxx@github.com/a", "https://***@github.com/a"),
        ("u=postgres://me:p@ss@host/db https://a.b/c", "u=postgres://***@host/db https://a.b/c"),
        ("model.num_tokens=16 model.class_token=true", "model.num_tokens=16 model.class_token=true"),
        ("+data.password=123456", "+data.password=***"),
        ("+data.token=${oc.env:MY} x='a:b'", "+data.token=${oc.env:MY} x='a:b'"),
        ("experiment=glob([paper_*,control_*])", "experiment=glob([paper_*,control_*])"),
        ("UserError: cannot log in, token: abc", "UserError: cannot log in, token: ***"),
    ],
)
def test_lines(line, written):
    assert redacted_line(line) == written


def test_values_under_telling_keys_and_of_the_environment(monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "0123456789")
    given = {
        "num_tokens": 16,
        "password": 7,
        "api_keys": ["a"],
        "credentials": {"user": "me"},
        "token": "${oc.env:T}",
        "api_key": "x",
        "secret": {"a": None},
        "list": ["a 0123456789 b"],
        "tokens": None,
        "token_count": 3,
        "is_secret": True,
    }
    hidden = {
        "num_tokens": 16,
        "password": "***",
        "api_keys": ["***"],
        "credentials": {"user": "***"},
        "token": "${oc.env:T}",
        "api_key": "***",
        "secret": {"a": None},
        "list": ["a *** b"],
        "tokens": None,
        "token_count": 3,
        "is_secret": True,
    }
    assert redacted(given) == hidden


def test_a_short_value_of_the_environment_is_no_secret(monkeypatch):
    monkeypatch.setenv("DEMO_TOKEN", "1")
    assert redacted_line("seed=1") == "seed=1"


FORMS = [  # whatever begins with `abc` is a secret
    "+secret_key=abc1",
    "+api_key=abc1 seed=1",
    "api-key=abc1",
    "apiKey=abc1",
    "AWS_SECRET_ACCESS_KEY=abc1",
    "DefaultEndpointsProtocol=https;AccountKey=abc1==;Server=h",
    "credentials.user=abc1",
    "{'password': 'abc1'}",
    r'{"password": "a\"abc1", "x": 1}',
    r"{\"password\": \"abc1\", \"x\": 1}",
    "{user: {password: [abc1, {a: abc2}], x: 1}, y: 2}",
    "password=choice(abc1,abc2) seed=1",
    "password=abc1,abc2 seed=1",
    "password=abc1, abc2 seed=1",
    "password='abc1','abc2'",
    "password=abc1&abc2",
    "password=abc1;abc2",
    "password=abc1 abc2 abc3 seed=1",
    "'+data.password=abc1 abc2' seed=1",
    "tokens=[abc1,[abc2],abc3] seed=1",
    "password=[abc1,'abc2, x=3'] x=4",
    'password="abc1\nabc2" x=2',
    "password='''abc1 'q' abc2''' x=1",
    "password = 'it''s abc1' x=2",
    "password=abc1[abc2 x=1",
    "password=${oc.env:PASSWORD,abc1}",
    "user_password => abc1",
    "password := abc1",
    "token%3Dabc1",
    "--password abc1 -m",
    "--api-key 'abc1 abc2'",
    "api key: abc1",
    "Authorization: Bearer abc1abc1abc1",
    "curl -H 'Authorization: Basic abc1abc1=='",
    "password: |\n  abc1\n  abc2\nx: 1",
    "data:\n  password: abc1 abc2\n  root: x",
    "password:\n- abc1\n- abc2\nroot: 3",
    "-----BEGIN RSA PRIVATE KEY-----\nMIIabc1\nabc2\n-----END RSA PRIVATE KEY-----",
    r"-----BEGIN OPENSSH PRIVATE KEY-----\nabc1",
    "postgres://me:ab/abc1@host/db a://u:abc2@h,b://u2:abc3@h2/x",
    "https://abc1@github.com/a",
    "ghp_abcdefghijklmnopqrstuvwxyz hf_abcdefghijklmnopqrstuvwxyz sk-abcdefghijklmnopqrstuvwxyz",
]


@pytest.mark.parametrize("form", FORMS)
def test_no_form_of_a_secret_passes(form):
    hidden = redacted_line(form)
    assert "abc" not in hidden.replace("abcdefghijklmnopqrstuvwxyz", "abc") and HIDDEN in hidden
    assert redacted_line(hidden) == hidden
    assert "abc" not in str(redacted({"error": form, "overrides": [form]}))


def test_what_stands_beside_a_secret_stays():
    assert redacted_line("{'password': 'a b', 'root': 'c'}") == "{'password': ***, 'root': 'c'}"
    assert redacted_line("[mnist] +token=a: test accuracy 97 %: x=3") == "[mnist] +token=***: test accuracy 97 %: x=3"
    assert redacted_line("data:\n  password: a\n  root: x") == "data:\n  password: ***\n  root: x"
    assert redacted_line("x=-----BEGIN PRIVATE KEY-----\na\n-----END PRIVATE KEY----- y=2") == "x=*** y=2"
    assert redacted_line("password=choice(a,b) seed=1,2") == "password=*** seed=1,2"
    assert redacted(["+password=a b=c", "+x=1"]) == ["+password=***", "+x=1"]


def test_what_looks_like_a_secret_by_its_name_alone_is_none():
    names = "cls_token model.class_token mask_token tokenizer key_size num_tokens token_dim monkey keyboard query_key"
    others = "num_special_tokens secret_size passes compass author PWD sort_key"
    for name in f"{names} {others}".split():
        assert not names_secret(name) and redacted_line(f"{name}=learned") == f"{name}=learned", name


LONG = 200_000
PIECES = (
    "a|a.| |password=|password='|password=[|token:|password=a, |://a:|'+password=a |eyJa-|-----BEGIN |token=${|--a |"
)
MORE = ["tokens=3,4 ", '"password"', '{"a":', "\\", "a b:\n ", "key ", "bearer ", "sk-", "password:\n", "'"]


@pytest.mark.parametrize("piece", [*PIECES.removesuffix("|").split("|"), *MORE])
def test_a_line_takes_time_that_grows_with_its_length_alone(piece):
    """What grew with the square of it took 98 seconds for 40,000 letters, and would take forty minutes here."""
    for line in (piece * (LONG // len(piece)), "password=" + piece * (LONG // len(piece))):
        assert len(redacted_line(line)) <= len(line) + LONG


def test_points_differ_by_their_secrets_and_a_record_without_these_is_still_theirs():
    one, other = ["+data.token=abc", "seed=1"], ["seed=1.0", "+data.token=abd"]
    assert canonical_point(one) == canonical_point(one[::-1]) != canonical_point(other)
    assert "abc" not in str(canonical_point(one)) and len(hidden_digest(one)) == 9
    assert canonical_point(redacted(one), hidden_digest(one)) == canonical_point(one)
    assert hidden_digest(["seed=1", "model.cls_token=mean"]) is None


def test_a_record_keeps_the_digest_of_what_it_hides_and_no_other_has_one(tmp_path):
    overrides, path = ["+data.token=abc", "seed=1"], tmp_path / "result.json"
    Result(overrides=overrides).write(tmp_path)
    found = read_result(path)
    assert found.overrides == ["+data.token=***", "seed=1"] and found.point == canonical_point(overrides)
    found.write(tmp_path)
    assert read_result(path).point == canonical_point(overrides)
    Result(overrides=["seed=1"]).write(tmp_path)
    assert "hidden" not in path.read_text()


def test_what_hydra_wrote_is_cleaned_and_interpolations_stay(tmp_path):
    written = {"data": {"token": "abc", "root": "${oc.env:HOME}"}, "storage": "postgresql://me:abc@host/db"}
    OmegaConf.save(written, tmp_path / "config.yaml")
    (tmp_path / "overrides.yaml").write_text("- +data.token=abc\n- seed=1\n")
    hide_secrets(tmp_path)
    assert "abc" not in (tmp_path / "config.yaml").read_text() + (tmp_path / "overrides.yaml").read_text()
    assert OmegaConf.load(tmp_path / "config.yaml")._get_node("data")._get_node("root")._value() == "${oc.env:HOME}"
    assert OmegaConf.load(tmp_path / "overrides.yaml")[1] == "seed=1"


def test_a_log_line_has_none(caplog):
    record = logging.LogRecord("lcomp", logging.INFO, "", 1, "storage=%s", ("mysql://me:abc@host/db",), None)
    assert NameData().filter(record) and record.getMessage() == "storage=mysql://***@host/db"
