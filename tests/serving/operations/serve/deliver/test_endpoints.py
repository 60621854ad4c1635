"""The file of the endpoints is read strictly, and never shown with a secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from serving.decision.config.strict_toml import ConfigError
from serving.operations.serve.deliver.endpoints import BY_DEFAULT, EXAMPLE, read_endpoints
from tests.support.each import each

SECRET = "whsec_" + "c" * 32
OTHER = "whsec_" + "d" * 32
BASE = {"tenant": '"bank"', "url": '"https://app.example/hooks"', "secrets": f'["{SECRET}"]'}


def write(folder: Path, **changes: str) -> Path:
    file = folder / "events.toml"
    lines = [f"{key} = {value}" for key, value in (BASE | changes).items()]
    file.write_text("\n".join(["[endpoints.app]", *lines]), "utf-8")
    file.chmod(0o600)
    return file


def test_an_endpoint_is_read(tmp_path: Path) -> None:
    [endpoint] = read_endpoints(write(tmp_path, secrets=f'["{SECRET}", "{OTHER}"]'))
    assert (endpoint.name, endpoint.tenant, endpoint.kinds) == ("app", "bank", BY_DEFAULT)
    assert [len(secret) for secret in endpoint.secrets] == [24, 24]
    [endpoint] = read_endpoints(write(tmp_path, kinds='["notice.due", "decision.kept"]'))
    assert endpoint.kinds == ("decision.kept", "notice.due")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"url": '"http://app.example/hooks"'}, "https"),
        ({"url": '"ftp://app.example"'}, "begins with https"),
        ({"url": '"https://"'}, "a host"),
        ({"url": '"https://user:pass@app.example"'}, "without a user"),
        ({"url": '"https://app.example:port"'}, "a URL"),
        ({"secrets": "[]"}, "one secret, or two"),
        ({"secrets": f'["{SECRET}", "{SECRET}", "{SECRET}"]'}, "one secret, or two"),
        ({"secrets": f'"{SECRET}"'}, "a list of texts"),
        ({"secrets": '["whsec_c2hvcnQ="]'}, "24 to 64"),
        ({"secrets": f'["{SECRET[6:]}"]'}, "begin with whsec_"),
        ({"kinds": '["decision.made", "all"]'}, "decision.made, decision.kept"),
        ({"in_flight": "0"}, "a whole number from 1 to 64"),
        ({"timeout": "0"}, "a number from 0 to 60"),
        ({"keys": "1"}, "unknown key"),
    ],
)
def test_what_cannot_be_used_is_refused(
    change: dict[str, str], expected: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError) as refused:
        read_endpoints(write(tmp_path, **change))
    text = str(refused.value)
    assert expected in text
    assert "events.toml" in text
    assert SECRET[6:] not in text


def test_plain_http_is_for_this_machine_or_said_to_be_allowed(tmp_path: Path) -> None:
    for host in each(("127.0.0.1:8000", "localhost", "[::1]:8000")):
        [endpoint] = read_endpoints(write(tmp_path, url=f'"http://{host}/hooks"'))
        assert endpoint.url == f"http://{host}/hooks"
    for host in each(("127.0.0.1.example", "localhost.example", "10.0.0.1")):
        with pytest.raises(ConfigError, match="https"):
            read_endpoints(write(tmp_path, url=f'"http://{host}/hooks"'))
    read_endpoints(write(tmp_path, url='"http://10.0.0.1/hooks"', allow_http="true"))


def test_without_the_file_one_is_told_what_to_write(tmp_path: Path) -> None:
    file = tmp_path / "events.toml"
    with pytest.raises(ConfigError) as refused:
        read_endpoints(file)
    text = str(refused.value)
    assert text.startswith(f"{file}: there is no such file, and it says which apps get the events")
    assert EXAMPLE in text
    # The control: with a secret, what is told is a file that can be used.
    file.write_text(EXAMPLE.replace("whsec_...", SECRET), "utf-8")
    file.chmod(0o600)
    [endpoint] = read_endpoints(file)
    assert (endpoint.name, endpoint.tenant) == ("app", "bank")


def test_nobody_is_told_to_change_the_mode_of_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected a TOML file of the apps"):
        read_endpoints(tmp_path)


def test_a_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    file = write(tmp_path)
    file.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        read_endpoints(file)
    file.chmod(0o600)
    file.write_text("", "utf-8")
    with pytest.raises(ConfigError, match="a table"):
        read_endpoints(file)
