"""Getting the brokers onto this machine, once: Debian packages, a Debian 13 folder, Apache Kafka's jars.

Every install ends with a stamp file written last, so a half-made one is made again; locks keep two runs apart. What
cannot be had here (not root, another distribution, nothing reachable) raises `Unavailable` with the reason.
"""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

from tests.harness.process import HarnessError
from tests.harness.settings import CACHE, INSTALLED, locked

KAFKA_VERSIONS = ("4.3.0", "4.2.0", "4.1.0")
DEBIAN_13_ROOT = INSTALLED / "debian-13"
KAFKA_HOME = INSTALLED / "kafka"
_POLICY = Path("/usr/sbin/policy-rc.d")
_NO_SERVICES = "#!/bin/sh\n# Written while packages are installed for tests: no service may start.\nexit 101\n"


class Unavailable(HarnessError):
    """This broker cannot be had on this machine; the text says why."""


def have(command: str) -> bool:
    return shutil.which(command, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") is not None


def debian_packages(*packages: str) -> None:
    """Install the missing ones of `packages` without starting a service."""
    with locked("apt"):
        missing = [package for package in packages if package_version(package) is None]
        if not missing:
            return
        wanted = " ".join(missing)
        if not have("apt-get"):
            raise Unavailable(f"needs the Debian packages {wanted}, and this machine has no apt-get")
        if os.geteuid() != 0:
            raise Unavailable(f"needs root to install packages; run: sudo apt-get install {wanted}")
        with _services_stay_off():
            environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
            command = ["apt-get", "-q", "-y", "-o", "DPkg::Lock::Timeout=120", "install", "--no-install-recommends"]
            try:
                _run("apt", [*command, *missing], env=environment)
            except Unavailable:  # no package lists yet, or old ones
                _run("apt", ["apt-get", "-q", "update"], env=environment)
                _run("apt", [*command, *missing], env=environment)


def package_version(package: str) -> str | None:
    """Upstream version of an installed Debian package, None when it is not installed."""
    if not have("dpkg-query"):
        return None
    query = ["dpkg-query", "-W", "-f", "${db:Status-Status} ${Version}", package]
    answer = subprocess.run(query, capture_output=True, text=True, check=False).stdout.split()
    if len(answer) != 2 or answer[0] != "installed":
        return None
    return answer[1].rpartition(":")[2].partition("-")[0]


@contextlib.contextmanager
def _services_stay_off() -> Iterator[None]:
    if _POLICY.exists():
        if subprocess.run([str(_POLICY)], capture_output=True, check=False).returncode != 101:
            raise Unavailable(f"{_POLICY} lets packages start services; install the packages by hand")
        yield
        return
    _POLICY.write_text(_NO_SERVICES)
    _POLICY.chmod(0o755)
    try:
        yield
    finally:
        _POLICY.unlink(missing_ok=True)


def debian_13() -> Path:
    """A Debian 13 folder with RabbitMQ 4.0 and Redis 8.0 in it."""
    stamp = DEBIAN_13_ROOT.with_suffix(".done")
    with locked("debian-13"):
        if stamp.exists():
            return DEBIAN_13_ROOT
        if os.geteuid() != 0:
            raise Unavailable("needs root: it runs from a Debian 13 folder made by debootstrap")
        debian_packages("debootstrap")
        _remove_root(DEBIAN_13_ROOT)
        INSTALLED.mkdir(parents=True, exist_ok=True)
        build = ["debootstrap", "--variant=minbase", "--include=rabbitmq-server,redis-server"]
        # In a mount namespace of its own: what debootstrap mounts is gone with it, however it ends.
        isolated = ["unshare", "--mount", "--propagation", "private"]
        _run("debian-13", [*isolated, *build, "trixie", str(DEBIAN_13_ROOT), _debian_mirror()])
        shutil.rmtree(DEBIAN_13_ROOT / "var/cache/apt/archives", ignore_errors=True)
        stamp.write_text("RabbitMQ 4 and Redis 8\n")
    return DEBIAN_13_ROOT


def in_debian_13(command: list[str], folder: Path) -> list[str]:
    """`command` inside the Debian 13 folder, with `folder` at the same path; mounts die with the process."""
    root = DEBIAN_13_ROOT
    Path(f"{root}{folder}").mkdir(parents=True, exist_ok=True)
    enter = (
        'root=$1 data=$2; shift 2; mount --bind /proc "$root/proc" && mount --bind /dev "$root/dev" && '
        'mount --bind "$data" "$root$data" && exec chroot "$root" "$@"'
    )
    isolated = ["unshare", "--mount", "--propagation", "private", "bash", "-c", enter, "_"]
    return [*isolated, str(root), str(folder), *command]


def _debian_mirror() -> str:
    """The mirror in the apt sources: whatever this machine is set up to reach."""
    command = ["apt-get", "indextargets", "--format", "$(REPO_URI)|$(ORIGIN)|$(SUITE)", "Created-By: Packages"]
    lines = subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()
    for line in lines:
        uri, origin, suite = line.split("|")
        if origin == "Debian" and not any(word in suite for word in ("security", "updates", "backports")):
            return uri
    raise Unavailable("needs a Debian mirror in the apt sources, and this machine has none")


def _remove_root(root: Path) -> None:
    mounts = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    inside = [mount for mount in mounts if mount.startswith(f"{root}/")]
    if inside:
        raise Unavailable(f"{', '.join(inside)} still mounted; unmount it first: removing it would empty the original")
    shutil.rmtree(root, ignore_errors=True)


def kafka() -> tuple[Path, str]:
    """The folder of Apache Kafka's jars and its version; the newest version of which every part is there."""
    libs, stamp = KAFKA_HOME / "libs", KAFKA_HOME.with_suffix(".done")
    with locked("kafka"):
        if stamp.exists():
            return libs, stamp.read_text().strip()
        _java()
        if not have("mvn"):
            debian_packages("maven")
        problem: HarnessError | None = None
        for version in KAFKA_VERSIONS:
            shutil.rmtree(KAFKA_HOME, ignore_errors=True)
            KAFKA_HOME.mkdir(parents=True)
            (KAFKA_HOME / "pom.xml").write_text(_POM.format(version=version))
            fetch = ["mvn", "-B", "-q", "dependency:copy-dependencies", f"-DoutputDirectory={libs}"]
            try:
                _run("kafka", fetch, cwd=KAFKA_HOME)
            except HarnessError as error:
                problem = error
                continue
            stamp.write_text(version + "\n")
            return libs, version
        raise Unavailable(f"Apache Kafka could not be fetched with Maven: {problem}")


_POM = """\
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>mqdash.tests</groupId><artifactId>kafka</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{version}</version></dependency>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka-tools</artifactId><version>{version}</version></dependency>
  </dependencies>
</project>
"""


@cache
def _java() -> None:
    if not have("java"):
        debian_packages("default-jre-headless")
    answer = subprocess.run(["java", "-version"], capture_output=True, text=True, check=False).stderr
    major = answer.partition('"')[2].partition(".")[0].partition('"')[0]
    if not major.isdigit() or int(major) < 17:
        raise Unavailable(f"needs Java 17 or newer, found {answer.splitlines()[0] if answer else 'none'}")


def _run(name: str, command: Sequence[str], *, env: dict[str, str] | None = None, cwd: Path | None = None) -> None:
    """Run an install step, output to a log file of its own. Raises Unavailable with the end of that log."""
    CACHE.mkdir(parents=True, exist_ok=True)
    log = CACHE / f"install-{name}.log"
    with log.open("ab") as output:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=env, cwd=cwd, check=False
        )
    if done.returncode:
        last = [line for line in log.read_text(errors="replace").splitlines() if line.strip()][-1:]
        raise Unavailable(f"`{' '.join(command[:6])} ...` ended with {done.returncode}: {' '.join(last)} (log: {log})")
