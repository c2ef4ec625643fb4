"""TLS and mTLS of both ports, by real clients: who is believed, who is let in, and a certificate that is replaced."""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import httpx
import pytest
import serving_access_world as access_world
import serving_tensors as tensors
import serving_world as world
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from serving_access_world import INFER, ROW
from tritonclient.grpc import service_pb2 as messages
from tritonclient.grpc import service_pb2_grpc
from tritonclient.utils import InferenceServerException

from mainspring.core import durable, errors
from mainspring.core.client.serving import ServingClient
from mainspring.serving import tls


class Authority:
    """Signs certificates for 127.0.0.1."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.key, self.name = folder, ec.generate_private_key(ec.SECP256R1()), name
        self.certificate = self._sign(self.key, name, is_authority=True)
        self.file = folder / f"{name}.pem"
        self.file.write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))

    def issue(self, name: str) -> tuple[Path, Path]:
        """Files of a certificate and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        files = self.folder / f"{name}.crt", self.folder / f"{name}.key"
        durable.replace_file(
            files[0], self._sign(key, name, is_authority=False).public_bytes(serialization.Encoding.PEM)
        )
        durable.replace_file(
            files[1],
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            ),
        )
        return files

    def _sign(self, key: ec.EllipticCurvePrivateKey, name: str, *, is_authority: bool) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)

        def called(text: str) -> x509.Name:
            return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])

        return (
            x509.CertificateBuilder()
            .subject_name(called(name))
            .issuer_name(called(self.name))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(is_authority, None), critical=True)
            .add_extension(
                x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
                critical=False,
            )
            .sign(self.key, hashes.SHA256())
        )


def client_context(authority: Authority, certificate: tuple[Path, Path] | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(authority.file))
    if certificate is not None:
        context.load_cert_chain(*certificate)
    return context


def infer_grpc(port: int, authority: Authority, certificate: tuple[Path, Path] | None = None) -> None:
    shown = (
        {"private_key": str(certificate[1]), "certificate_chain": str(certificate[0])} if certificate else {}
    )
    with triton_grpc.InferenceServerClient(
        f"127.0.0.1:{port}", ssl=True, root_certificates=str(authority.file), **shown
    ) as client:
        client.infer("linear", [access_world.filled(triton_grpc)])


@contextlib.contextmanager
def served_with(
    directory: Path, certificate: Path, key: Path, **more: object
) -> Iterator[tuple[world.Served, int]]:
    """A server on both ports under that certificate, and its port of gRPC."""
    port = access_world.free_port()
    models = {"linear": tensors.network}
    how = {"grpc_port": port, "tls_certificate": certificate, "tls_key": key, **more}
    with world.serve(directory, models=models, **how) as served:
        yield served, port


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "ours")


@pytest.mark.integration
def test_both_ports_speak_tls_and_nothing_else(tmp_path: Path, authority: Authority) -> None:
    certificate, key = authority.issue("server")
    with served_with(tmp_path, certificate, key) as (served, port):
        address = served.url.removeprefix("https://")
        believing = client_context(authority)
        answer = httpx.post(served.url + INFER, json=ROW, verify=believing, trust_env=False)
        assert answer.status_code == 200
        with ServingClient(served.url, tls=believing) as client:
            assert client.healthy()
        with (
            ServingClient(served.url) as client,
            pytest.raises(errors.DependencyDown, match="CERTIFICATE_VERIFY"),
        ):
            client.ready()
        with pytest.raises(httpx.TransportError):
            httpx.get(f"http://{address}/healthz", trust_env=False)
        client_http = triton_http.InferenceServerClient(
            address, ssl=True, ssl_context_factory=lambda: client_context(authority)
        )
        client_http.infer("linear", [access_world.filled(triton_http)])
        client_http.close()
        infer_grpc(port, authority)
        with pytest.raises(InferenceServerException):
            infer_grpc(port, Authority(tmp_path, "somebody"))
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
            with pytest.raises(grpc.RpcError):
                stub.ServerLive(messages.ServerLiveRequest(), timeout=5)


@pytest.mark.integration
def test_with_a_client_authority_nobody_without_its_certificate_comes_in(
    tmp_path: Path, authority: Authority
) -> None:
    certificate, key = authority.issue("server")
    (tmp_path / "theirs").mkdir()
    theirs = Authority(tmp_path / "theirs", "clients")
    good, wrong = theirs.issue("good"), authority.issue("wrong")
    with served_with(tmp_path, certificate, key, tls_client_ca=theirs.file) as (served, port):
        context = client_context(authority, good)
        assert httpx.post(served.url + INFER, json=ROW, verify=context, trust_env=False).status_code == 200
        infer_grpc(port, authority, good)
        for shown in (None, wrong):
            with pytest.raises(httpx.TransportError):
                httpx.get(served.url + "/healthz", verify=client_context(authority, shown), trust_env=False)
            with pytest.raises(InferenceServerException):
                infer_grpc(port, authority, shown)


@pytest.mark.integration
def test_a_replaced_certificate_is_used_without_a_restart(tmp_path: Path, authority: Authority) -> None:
    certificate, key = authority.issue("server")
    with served_with(tmp_path, certificate, key) as (served, port):
        host, _, at = served.url.removeprefix("https://").partition(":")

        def shown() -> bytes:
            return ssl.get_server_certificate((host, int(at))).encode().strip()

        assert shown() == certificate.read_bytes().strip()
        durable.replace_file(certificate, "half a certificate")
        time.sleep(2.5)
        old = shown()
        assert old != certificate.read_bytes().strip(), "the old one stays"
        infer_grpc(port, authority)
        (tmp_path / "next").mkdir()
        following = Authority(tmp_path / "next", "following")
        for source, target in zip(following.issue("server"), (certificate, key), strict=True):
            durable.replace_file(target, source.read_bytes())
        deadline = time.monotonic() + 20
        while shown() != certificate.read_bytes().strip():
            assert time.monotonic() < deadline
            time.sleep(0.1)
        infer_grpc(port, following)


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"tls_key": "k"}, "`serving.tls_key` goes with `serving.tls_certificate`"),
        ({"tls_client_ca": "k"}, "`serving.tls_client_ca` goes with `serving.tls_certificate`"),
        ({"tls_certificate": "k"}, "`serving.tls_certificate` goes with `serving.tls_key`"),
        ({"tls_certificate": "absent", "tls_key": "absent"}, "are no certificate and its key"),
        ({"tls_certificate": "a", "tls_key": "b", "front": "on"}, "the native front speaks no TLS"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(
    tmp_path: Path, given: dict[str, str], problem: str
) -> None:
    with pytest.raises(errors.InvalidSettings, match=problem):
        tls.Certificates.load(world.settings_in(tmp_path, **given).serving)


def test_files_that_do_not_go_together_are_refused(tmp_path: Path, authority: Authority) -> None:
    certificate, key = authority.issue("one")
    _, other = authority.issue("other")
    with pytest.raises(errors.InvalidSettings, match="are no certificate and its key"):
        tls.Certificates(certificate, other, None)
    with pytest.raises(errors.InvalidSettings, match="`serving.tls_client_ca` is no certificate"):
        tls.Certificates(certificate, key, key)
    assert tls.Certificates.load(world.settings_in(tmp_path).serving) is None
    assert tls.Certificates(certificate, key, None).context.minimum_version is ssl.TLSVersion.TLSv1_2
