"""Whatever is wrong with what was given or with what stands on the port: one sentence that names it, exit 2, in time."""

import ssl
from pathlib import Path

import pytest

from tests.faults.command import CANARY, assert_refused, run
from tests.faults.ports import (
    Answer,
    Certificate,
    hangs_up,
    make_certificate,
    serving,
    silent,
    starts_amqp_then_hangs_up,
    unused,
)
from tests.harness import Target, broker_targets, require_target

LOGIN = f"guest:{CANARY}@"


# --- the command line --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "says"),
    [
        pytest.param([f"guest:{CANARY}@127.0.0.1"], ["not a broker URL"], id="no scheme"),
        pytest.param([f"htp://{LOGIN}127.0.0.1"], ["unknown scheme 'htp'", "amqp://"], id="unknown scheme"),
        pytest.param([f"amqp://{LOGIN}"], ["host is missing"], id="no host"),
        pytest.param([f"amqp://{LOGIN}127.0.0.1:99999"], ["port", "127.0.0.1"], id="port out of range"),
        pytest.param([f"amqp://{LOGIN}[::1"], ["malformed amqp:// URL"], id="open bracket"),
        pytest.param([f"amqp://{LOGIN}a..b/"], ["'a..b'", "host"], id="empty label"),
        pytest.param([f"amqp://{LOGIN}{'a' * 300}/"], ["host"], id="host too long"),
        pytest.param([f"amqp://:{CANARY}@127.0.0.1/"], ["password", "user"], id="password without user"),
        pytest.param(
            [f"amqp://{LOGIN}h/?magement=x"], ["unknown option 'magement'", "management"], id="unknown option"
        ),
        pytest.param([f"amqp://h/?management=http://u:{CANARY}@h:x"], ["management"], id="bad management port"),
        pytest.param([f"amqp://h/?management=ftp://u:{CANARY}@h"], ["management", "http"], id="bad management scheme"),
        pytest.param([f"amqp://{LOGIN}h/?heartbeat=often"], ["heartbeat", "'often'"], id="heartbeat not a number"),
        pytest.param([f"amqp://{LOGIN}h/?ca=/etc/ca.pem"], ["ca", "amqps://"], id="ca without TLS"),
        pytest.param([f"redis://:{CANARY}@h/first"], ["database", "'first'"], id="database not a number"),
        pytest.param([f"kafka://u:{CANARY}@h?sasl=magic"], ["sasl", "'magic'", "plain"], id="unknown sasl"),
        pytest.param([f"redis+sentinel://u:{CANARY}@h"], ["names its service"], id="no service"),
        pytest.param(["embedded://nats"], ["unknown embedded broker", "rabbitmq"], id="unknown embedded"),
        pytest.param(["embedded://rabbitmq?version=9"], ["RabbitMQ 9", "3.10"], id="unknown embedded version"),
        pytest.param(["@shop"], ["no profile called @shop"], id="unknown profile"),
        pytest.param([f"amqp://{LOGIN}h", f"amqp://{LOGIN}h"], ["unrecognized"], id="one URL too many"),
    ],
)
async def test_15_17_a_bad_target_of_a_lab(given: list[str], says: list[str], tmp_path: Path) -> None:
    assert_refused(await run("lab", "orders", *given, "--write", "--for", "1s", home=tmp_path), *says)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        pytest.param(["orders", "--for", "2s", "--kill", "W99@1s"], ["--kill W99", "W1, W2, W3"], id="unknown worker"),
        pytest.param(["orders", "--for", "1s", "--kill", "W1"], ["'W1'", "W2@3s"], id="kill without a time"),
        pytest.param(["orders", "--for", "1s", "--kill", "W1@5s"], ["--kill W1@5s", "--for"], id="kill after the end"),
        pytest.param(["orders", "--kill", "W1@1s"], ["--kill", "--for"], id="kill without for"),
        pytest.param(["orders", "--json"], ["--json", "--for"], id="json without for"),
        pytest.param(["orders", "--for", "soon"], ["'soon'", "10s"], id="no duration"),
        pytest.param(["orders", "--for", "0s"], ["'0s'"], id="no time at all"),
        pytest.param(["orders", "--for", "1s", "--seed", "x"], ["--seed"], id="seed not a number"),
        pytest.param(["orders", "--for", "1s", "--fast"], ["--fast", "--help"], id="unknown flag"),
        pytest.param(["--for", "1s"], ["--for", "scenario"], id="for without a scenario"),
        pytest.param(["ordres", "--for", "1s"], ["'ordres'", "orders"], id="unknown scenario"),
        pytest.param([f"amqp://{LOGIN}h", "--for", "1s"], ["no scenario", "lab orders"], id="URL without scenario"),
        pytest.param(["orders", "embedded://kafka", "--for", "1s"], ["orders", "kafka"], id="wrong family"),
        pytest.param(
            ["orders", f"amqp://{LOGIN}mq.example/", "--for", "1s"], ["mq.example", "--write"], id="not this machine"
        ),
    ],
)
async def test_bad_arguments_of_a_lab(given: list[str], says: list[str], tmp_path: Path) -> None:
    assert_refused(await run("lab", *given, home=tmp_path), *says)


async def test_a_run_id_the_broker_could_not_take(tmp_path: Path) -> None:
    url = f"amqp://{LOGIN}127.0.0.1:{unused()}"
    assert_refused(await run("lab", "orders", url, "--for", "1s", "--run", "x" * 300, home=tmp_path), "--run")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param("title = ", ["bad.toml:1"], id="no TOML"),
        pytest.param('title = "t"\nflavour = 3', ["bad.toml:2", "flavour"], id="unknown key"),
        pytest.param('title = "t"\n\nproducers = 7', ["bad.toml:3"], id="wrong type"),
        pytest.param("\udcff", ["bad.toml:1"], id="not UTF-8"),
    ],
)
async def test_a_malformed_scenario_is_refused_with_file_and_line(text: str, says: list[str], tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    path.write_bytes(text.encode(errors="surrogateescape"))
    assert_refused(await run("lab", str(path), "--for", "1s", home=tmp_path), *says)


async def test_a_missing_scenario_file(tmp_path: Path) -> None:
    assert_refused(await run("lab", "none.toml", "--for", "1s", home=tmp_path), "none.toml", "No such file")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param("motion = ", ["config.toml:1"], id="no TOML"),
        pytest.param("\nmotoin = true", ["config.toml:2", "'motoin'", "motion"], id="unknown key"),
        pytest.param('motion = "yes"', ["config.toml:1"], id="wrong type"),
        pytest.param(
            f'[profiles.a]\nurl = "amqp://u:{CANARY}@h"\nwritable = "yes"',
            ["config.toml:3"],
            id="wrong type in profile",
        ),
        pytest.param(f'[profiles.shop]\nurl = "amqp://u:{CANARY}@h:x"', ["[profiles.shop]", "port"], id="bad URL"),
        pytest.param("\udcff", ["config.toml:1"], id="not UTF-8"),
    ],
)
async def test_68_a_malformed_config_is_refused_with_file_and_line(text: str, says: list[str], tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(text.encode(errors="surrogateescape"))
    given = ["lab", "orders", "@shop", "--write", "--for", "1s", "--config", str(path)]
    assert_refused(await run(*given, home=tmp_path), *says)


async def test_68_a_config_that_is_a_folder_or_missing(tmp_path: Path) -> None:
    ended = await run("lab", "orders", "--for", "1s", "--config", str(tmp_path), home=tmp_path)
    assert_refused(ended, str(tmp_path), "directory")
    ended = await run("lab", "orders", "--for", "1s", home=tmp_path, env={"MQDASH_CONFIG": str(tmp_path / "none")})
    assert_refused(ended, "none", "no such")


async def test_68_a_variable_that_is_no_boolean(tmp_path: Path) -> None:
    ended = await run("lab", "orders", "--for", "1s", home=tmp_path, env={"MQDASH_MOTION": "maybe"})
    assert_refused(ended, "MQDASH_MOTION", "'maybe'")


@pytest.mark.parametrize("given", [[], ["embedded://kafka"], ["lab", "orders"]], ids=["live lab", "URL", "lab"])
async def test_65_no_terminal(given: list[str], tmp_path: Path) -> None:
    assert_refused(await run(*given, home=tmp_path), "needs a terminal", "--for")


async def test_65_a_terminal_that_cannot_draw(tmp_path: Path) -> None:
    assert_refused(await run(home=tmp_path, tty=True, env={"TERM": "dumb"}), "TERM='dumb'", "--for")


async def test_bad_targets_of_the_dashboard_are_refused_before_the_screen_opens(tmp_path: Path) -> None:
    for url in (f"amqp://{LOGIN}h:x", f"amqp://{LOGIN}h?management=http://[", f"redis+cluster://u:{CANARY}@h/m"):
        assert_refused(await run("embedded://kafka", url, home=tmp_path, tty=True))


# --- what stands on the port ---------------------------------------------------------------------------------------------


def _address(target: Target) -> str:
    return target.url.rpartition("@")[2].rpartition("://")[2].partition("/")[0]


def _of(family: str) -> str:
    """`host:port` of the newest real broker of the family."""
    names = {"rabbitmq": "rabbitmq-4", "redis": "redis-8", "kafka": "kafka-4"}
    return _address(require_target(names[family]))


async def _lab_on(url: str, home: Path, *says: str) -> None:
    scenario = {"amqp": "orders", "kafk": "clicks", "redi": "alerts"}[url[:4]]
    address = url.rpartition("@")[2].partition("/")[0].partition("?")[0]
    assert_refused(await run("lab", scenario, url, "--write", "--for", "1s", home=home), address, *says)


@broker_targets("rabbitmq")
async def test_13_a_wrong_password(target: Target, tmp_path: Path) -> None:
    await _lab_on(f"amqp://{LOGIN}{_address(target)}/", tmp_path, "login refused", "'guest'")


@broker_targets("rabbitmq")
async def test_15_a_missing_vhost(target: Target, tmp_path: Path) -> None:
    await _lab_on(f"amqp://guest:guest@{_address(target)}/no-such", tmp_path, "no vhost 'no-such'")


@broker_targets("rabbitmq")
async def test_17_http_where_amqp_was_expected(target: Target, tmp_path: Path) -> None:
    assert target.management_url is not None
    await _lab_on(f"amqp://{LOGIN}{target.management_url.rpartition('@')[2]}/", tmp_path, "speaks HTTP, not AMQP")


@pytest.mark.broker
@pytest.mark.parametrize(
    ("scheme", "there", "says"),
    [
        ("amqp", "redis", "speaks Redis, not AMQP"),
        ("amqp", "kafka", "speaks Kafka, not AMQP"),
        ("redis", "rabbitmq", "speaks AMQP, not Redis"),
        ("redis", "kafka", "speaks Kafka, not Redis"),
        ("kafka", "rabbitmq", "speaks AMQP, not Kafka"),
        ("kafka", "redis", "speaks Redis, not Kafka"),
    ],
)
async def test_17_another_broker_on_the_port(scheme: str, there: str, says: str, tmp_path: Path) -> None:
    await _lab_on(f"{scheme}://{LOGIN}{_of(there)}", tmp_path, says)


@pytest.mark.parametrize("scheme", ["amqp", "kafka", "redis"])
async def test_1_nothing_listens(scheme: str, tmp_path: Path) -> None:
    await _lab_on(f"{scheme}://{LOGIN}127.0.0.1:{unused()}", tmp_path, "refused", "nothing listens")


@pytest.mark.parametrize("scheme", ["amqp", "kafka", "redis"])
async def test_19_a_name_that_does_not_resolve(scheme: str, tmp_path: Path) -> None:
    await _lab_on(f"{scheme}://{LOGIN}no-such-host.invalid:5000", tmp_path, "'no-such-host.invalid' does not resolve")


@pytest.mark.parametrize("scheme", ["amqp", "kafka", "redis"])
async def test_3_a_port_that_takes_everything_and_says_nothing(scheme: str, tmp_path: Path) -> None:
    async with serving(silent) as port:
        await _lab_on(f"{scheme}://{LOGIN}127.0.0.1:{port}", tmp_path, "took the connection")


@pytest.mark.parametrize(
    ("scheme", "answer"),
    [("amqp", hangs_up), ("amqp", starts_amqp_then_hangs_up), ("kafka", hangs_up), ("redis", hangs_up)],
    ids=["amqp", "amqp cut", "kafka", "redis"],
)
async def test_18_a_server_that_hangs_up_in_the_handshake(scheme: str, answer: Answer, tmp_path: Path) -> None:
    async with serving(answer) as port:
        await _lab_on(f"{scheme}://{LOGIN}127.0.0.1:{port}", tmp_path, "connection")


# --- TLS -----------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def tls(certificate: Certificate) -> ssl.SSLContext:
    return certificate.context()


@pytest.mark.broker
@pytest.mark.parametrize(("scheme", "there"), [("amqps", "rabbitmq"), ("kafkas", "kafka"), ("rediss", "redis")])
async def test_16_tls_to_a_plain_port(scheme: str, there: str, tmp_path: Path) -> None:
    await _lab_on(f"{scheme}://{LOGIN}{_of(there)}", tmp_path, "does not speak TLS", f"{scheme[:-1]}://")


@pytest.mark.parametrize("scheme", ["amqp", "kafka", "redis"])
async def test_16_plain_text_to_a_tls_port(scheme: str, tls: ssl.SSLContext, tmp_path: Path) -> None:
    async with serving(hangs_up, tls) as port:
        await _lab_on(f"{scheme}://{LOGIN}127.0.0.1:{port}", tmp_path, "speaks TLS", f"{scheme}s://")


@pytest.mark.parametrize("scheme", ["amqps", "kafkas", "rediss"])
async def test_16_an_unknown_ca(scheme: str, tls: ssl.SSLContext, tmp_path: Path) -> None:
    async with serving(hangs_up, tls) as port:
        await _lab_on(f"{scheme}://{LOGIN}localhost:{port}", tmp_path, "certificate", "self-signed")


@pytest.mark.parametrize("scheme", ["amqps", "kafkas", "rediss"])
async def test_16_a_certificate_for_another_host(
    scheme: str, tls: ssl.SSLContext, certificate: Certificate, tmp_path: Path
) -> None:
    async with serving(hangs_up, tls) as port:
        await _lab_on(
            f"{scheme}://{LOGIN}127.0.0.1:{port}/?ca={certificate.path}", tmp_path, "certificate", "not valid"
        )


@pytest.mark.parametrize("scheme", ["amqps", "kafkas", "rediss"])
async def test_16_a_ca_file_that_is_not_there(scheme: str, tmp_path: Path) -> None:
    url = f"{scheme}://{LOGIN}127.0.0.1:{unused()}/?ca=/no/such.pem"
    await _lab_on(url, tmp_path, "/no/such.pem", "No such file")
