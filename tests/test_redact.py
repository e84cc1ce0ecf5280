"""Secrets stay out of whatever is written."""

import logging

import pytest
from omegaconf import OmegaConf

from lcomp.job import hide_secrets
from lcomp.log import NameData
from lcomp.points import key
from lcomp.redact import redacted, text


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
    assert text(line) == written


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
    assert text("seed=1") == "seed=1"


def test_points_are_the_same_with_and_without_their_secrets():
    assert key(["+data.token=abc", "seed=1"]) == key(["+data.token=***", "seed=1.0"])


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
