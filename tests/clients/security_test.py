"""TLS, mutual TLS, bearer tokens and roles, with real clients of every API."""
import hashlib
import json
import os
import subprocess
import unittest

import grpc
import httpx
import openai
import tritonclient.grpc as triton
from google.protobuf import descriptor_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from grpc_tools import protoc
from tritonclient.utils import InferenceServerException

from real_server import ROOT, RealServer, configuration, wait_until

TOKEN, BATCH_TOKEN, ADMIN_TOKEN = "user-secret", "batch-secret", "admin-secret"
LISTEN = {"grpc": "127.0.0.1:0", "http": "127.0.0.1:0", "metrics": ""}


def identity(name: str, token: str, **more) -> dict:
    return {"name": name, "token_sha256": [hashlib.sha256(token.encode()).hexdigest()]} | more


IDENTITIES = [identity("user", TOKEN, classes=["default"]),
              identity("batch", BATCH_TOKEN, classes=["batch"]),
              identity("admin", ADMIN_TOKEN, admin=True),
              {"name": "by-certificate", "certificates": ["client.test"]}]


class Certificates:
    """A certificate authority and what it signs, in a folder."""

    def __init__(self, folder):
        self.folder = folder
        self._openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                      "-subj", "/CN=test authority", "-keyout", "ca.key", "-out", "ca.pem")

    def _openssl(self, *arguments):
        subprocess.run(["openssl", *arguments], cwd=self.folder, check=True, capture_output=True)

    def sign(self, name: str, common_name: str):
        self._openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                      "-subj", f"/CN={common_name}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
        (self.folder / "extensions").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n"
                                                if name == "server" else f"subjectAltName=DNS:{common_name}\n")
        self._openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
                      "-days", "2", "-extfile", "extensions", "-out", f"{name}.pem")

    def read(self, name: str) -> bytes:
        return (self.folder / name).read_bytes()

    def path(self, name: str) -> str:
        return str(self.folder / name)


def every_method() -> list[str]:
    """The paths of all methods of proto/, whatever services there are."""
    protos = [str(p.relative_to(ROOT / "proto")) for folder in ("kvpareto/v1", "inference")
              for p in (ROOT / "proto" / folder).glob("*.proto")]
    out = ROOT / ".cache/every_method.binpb"
    arguments = ["protoc", f"-I{ROOT / 'proto'}", f"-I{protoc.__file__[:-len('protoc.py')]}_proto",
                 f"--descriptor_set_out={out}", *protos]
    assert protoc.main(arguments) == 0
    files = descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes())
    return [f"/{f.package}.{s.name}/{m.name}" for f in files.file for s in f.service for m in s.method]


def call(channel: grpc.Channel, method: str, token: str | None) -> grpc.StatusCode:
    """Calls a method with an empty message, whatever its kind: on the wire they look the same."""
    metadata = [("authorization", f"Bearer {token}")] if token is not None else []
    stream = channel.unary_stream(method)(b"", metadata=metadata, timeout=10)
    try:
        next(iter(stream))
        stream.cancel()
        return grpc.StatusCode.OK
    except StopIteration:
        return grpc.StatusCode.OK
    except grpc.RpcError as error:
        return error.code()


def command_line(*words: str, **environment: str) -> subprocess.CompletedProcess:
    """The program `kvpareto` with these variables alone."""
    return subprocess.run([os.environ["KVPARETO_CLIENT_BINARY"], *words], env=environment, text=True,
                          capture_output=True, timeout=60)


class TokenTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = RealServer(configuration(
            listen=LISTEN, service_classes=["default", "batch"], security={"identities": "identities.yaml"}))
        cls.identities = cls.server.folder / "identities.yaml"
        cls.identities.write_text(json.dumps({"identities": IDENTITIES}))
        cls.enterClassContext(cls.server)
        cls.channel = cls.enterClassContext(grpc.insecure_channel(cls.server.grpc_address))
        cls.url = f"http://127.0.0.1:{cls.server.ports['serving http']}/v1"

    def openai(self, token: str) -> openai.OpenAI:
        return self.enterContext(openai.OpenAI(base_url=self.url, api_key=token, max_retries=0))

    def complete(self, token: str, **options):
        return self.openai(token).completions.create(model="smollm2", prompt="Hello", max_tokens=1, **options)

    def test_every_method_needs_credentials(self):
        methods = every_method()
        self.assertGreaterEqual(len(methods), 20)
        for method in methods + ["/no.such.Service/Method", "/kvpareto.v1.InferenceService/NoSuchMethod"]:
            for token in (None, "wrong", "", TOKEN + "x", TOKEN[:-1]):
                self.assertEqual(call(self.channel, method, token), grpc.StatusCode.UNAUTHENTICATED, method)

    def test_every_method_but_admin_works_with_a_token(self):
        for method in every_method():
            code = call(self.channel, method, TOKEN)
            denied = grpc.StatusCode.PERMISSION_DENIED
            self.assertEqual(code == denied, "AdminService" in method, f"{method}: {code}")
            self.assertNotEqual(code, grpc.StatusCode.UNAUTHENTICATED)
        self.assertEqual(call(self.channel, "/no.such.Service/Method", TOKEN), grpc.StatusCode.UNIMPLEMENTED)

    def test_health_is_for_everybody_and_reflection_for_nobody(self):
        stub = health_pb2_grpc.HealthStub(self.channel)
        self.assertEqual(stub.Check(health_pb2.HealthCheckRequest(), timeout=10).status, 1)
        with self.assertRaises(grpc.RpcError) as caught:
            ProtoReflectionDescriptorDatabase(self.channel).get_services()
        self.assertEqual(caught.exception.code(), grpc.StatusCode.UNAUTHENTICATED)

    def test_http(self):
        self.assertEqual(self.complete(TOKEN).usage.completion_tokens, 1)
        with self.assertRaises(openai.AuthenticationError) as caught:
            self.complete("wrong")
        self.assertEqual(caught.exception.code, "CREDENTIALS_UNKNOWN")
        answer = httpx.get(self.url + "/models")
        self.assertEqual((answer.status_code, answer.headers["www-authenticate"]), (401, "Bearer"))
        self.assertEqual(httpx.get(self.url + "/no/such/path").status_code, 401)

    def test_triton(self):
        client = self.enterContext(triton.InferenceServerClient(self.server.grpc_address))
        with self.assertRaises(InferenceServerException) as caught:
            client.is_server_live()
        self.assertEqual(caught.exception.status(), "StatusCode.UNAUTHENTICATED")
        self.assertTrue(client.is_server_live(headers={"authorization": f"Bearer {TOKEN}"}))

    def test_command_line(self):
        def models(**environment: str) -> subprocess.CompletedProcess:
            return command_line("models", "--server", self.server.grpc_address, **environment)
        self.assertIn("smollm2", models(KVPARETO_TOKEN=TOKEN).stdout)
        self.assertIn("CREDENTIALS_MISSING", models().stderr)
        self.assertIn("CREDENTIALS_UNKNOWN", models(KVPARETO_TOKEN="wrong").stderr)
        refused = command_line("drain", "--server", self.server.grpc_address, KVPARETO_TOKEN=TOKEN)
        self.assertEqual(refused.returncode, 1)
        self.assertIn("ADMIN_REQUIRED", refused.stderr)

    def test_classes(self):
        def classes() -> set:
            return {json.loads(x)["class"] for x in self.server.log if '"batch"' in x and "request finished" in x}
        self.complete(BATCH_TOKEN)
        wait_until(classes, "the request is not logged")
        self.assertEqual(classes(), {"batch"})  # the first class of the identity
        with self.assertRaises(openai.PermissionDeniedError) as caught:
            self.complete(TOKEN, extra_body={"kv": {"service_class": "batch"}})
        self.assertEqual(caught.exception.code, "CLASS_NOT_ALLOWED")
        self.complete(ADMIN_TOKEN, extra_body={"kv": {"service_class": "batch"}})

    def test_identities_are_reloaded_and_a_broken_file_changes_nothing(self):
        def works(token: str) -> bool:
            return httpx.get(self.url + "/models", headers={"authorization": f"Bearer {token}"}).status_code == 200
        self.assertFalse(works("new-secret"))
        self.identities.write_text(json.dumps({"identities": IDENTITIES + [identity("new", "new-secret")]}))
        wait_until(lambda: works("new-secret"), "the new identity does not work")
        self.identities.write_text("identities: [{name: x, token_sha256: [plain-secret]}]")
        wait_until(lambda: works(TOKEN) and any("identities not reloaded" in line for line in self.server.log),
                   "the broken file is not noticed")
        self.assertTrue(works("new-secret"))
        self.identities.write_text(json.dumps({"identities": IDENTITIES}))
        wait_until(lambda: not works("new-secret"), "the old identity still works")

    def test_secrets_are_not_logged(self):
        self.complete(TOKEN)
        log = "".join(self.server.log)
        for secret in (TOKEN, BATCH_TOKEN, ADMIN_TOKEN, "plain-secret", hashlib.sha256(TOKEN.encode()).hexdigest()):
            self.assertNotIn(secret, log)


class TlsTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = RealServer(configuration(listen=LISTEN, service_classes=["default", "batch"], security={
            "tls": {"certificate": "server.pem", "key": "server.key", "client_ca": "ca.pem"},
            "identities": "identities.yaml"}))
        cls.certificates = Certificates(cls.server.folder)
        cls.certificates.sign("server", "localhost")
        cls.certificates.sign("client", "client.test")
        cls.certificates.sign("stranger", "stranger.test")
        (cls.server.folder / "identities.yaml").write_text(json.dumps({"identities": IDENTITIES}))
        cls.enterClassContext(cls.server)
        cls.url = f"https://localhost:{cls.server.ports['serving http']}/v1/models"

    def channel(self, client: str | None) -> grpc.Channel:
        read = self.certificates.read
        own = (read(f"{client}.key"), read(f"{client}.pem")) if client else (None, None)
        credentials = grpc.ssl_channel_credentials(read("ca.pem"), *own)
        # A connection of its own: gRPC would share one between channels that look alike.
        return self.enterContext(grpc.secure_channel(
            f"localhost:{self.server.ports['serving']}", credentials, [("grpc.use_local_subchannel_pool", 1)]))

    def http(self, client: str | None, **options) -> httpx.Response:
        path = self.certificates.path
        context = httpx.create_ssl_context(verify=path("ca.pem"))
        if client:
            context.load_cert_chain(path(f"{client}.pem"), path(f"{client}.key"))
        return httpx.get(self.url, verify=context, **options)

    def test_grpc(self):
        method = "/kvpareto.v1.ModelService/ListModels"
        self.assertEqual(call(self.channel("client"), method, None), grpc.StatusCode.OK)
        self.assertEqual(call(self.channel("stranger"), method, None), grpc.StatusCode.UNAUTHENTICATED)
        self.assertEqual(call(self.channel("stranger"), method, TOKEN), grpc.StatusCode.OK)
        self.assertEqual(call(self.channel(None), method, TOKEN), grpc.StatusCode.UNAVAILABLE)
        plain = self.enterContext(grpc.insecure_channel(f"localhost:{self.server.ports['serving']}"))
        self.assertEqual(call(plain, method, TOKEN), grpc.StatusCode.UNAVAILABLE)

    def test_http(self):
        self.assertEqual(self.http("client").status_code, 200)
        self.assertEqual(self.http("stranger").status_code, 401)
        self.assertEqual(self.http("stranger", headers={"authorization": f"Bearer {TOKEN}"}).status_code, 200)
        with self.assertRaises(httpx.HTTPError):
            self.http(None)
        with self.assertRaises(httpx.HTTPError):
            httpx.get(self.url.replace("https", "http"))

    def test_command_line(self):
        path = self.certificates.path

        def models(client: str, host: str = "localhost", **environment: str) -> subprocess.CompletedProcess:
            own = {"KVPARETO_CERTIFICATE": path(f"{client}.pem"), "KVPARETO_KEY": path(f"{client}.key")}
            environment = {"KVPARETO_CA": path("ca.pem")} | (own if client else {}) | environment
            return command_line("models", "--timeout", "10", "--server",
                                f"{host}:{self.server.ports['serving']}", **environment)
        self.assertIn("smollm2", models("client").stdout)
        self.assertIn("CREDENTIALS_MISSING", models("stranger").stderr)
        self.assertIn("smollm2", models("stranger", KVPARETO_TOKEN=TOKEN).stdout)
        self.assertIn("UNAVAILABLE", models("", KVPARETO_TOKEN=TOKEN).stderr)
        self.assertIn("UNAVAILABLE", models("client", KVPARETO_SERVER_NAME="other.test").stderr)
        self.assertIn("smollm2", models("client", host="127.0.0.1", KVPARETO_SERVER_NAME="localhost").stdout)
        self.assertIn("KVPARETO_CA: cannot read", models("client", KVPARETO_CA="/no/such/file").stderr)
        self.assertIn("one needs the other", models("client", KVPARETO_KEY="").stderr)
        self.assertIn("needs KVPARETO_CA", models("client", KVPARETO_CA="").stderr)

    def test_certificates_are_reloaded(self):
        def serial() -> str:
            address = f"localhost:{self.server.ports['serving http']}"
            path = self.certificates.path
            shown = subprocess.run(["openssl", "s_client", "-connect", address, "-cert", path("client.pem"),
                                    "-key", path("client.key")], input=b"", capture_output=True, timeout=10)
            return subprocess.run(["openssl", "x509", "-noout", "-serial"], input=shown.stdout,
                                  capture_output=True, check=True).stdout.decode()
        before = serial()
        self.certificates.sign("server", "localhost")
        wait_until(lambda: serial() != before, "the old certificate is still served")
        self.assertEqual(self.http("client").status_code, 200)
        self.assertEqual(call(self.channel("client"), "/kvpareto.v1.ModelService/ListModels", None),
                         grpc.StatusCode.OK)


class RefusalTest(unittest.TestCase):
    def refuses(self, words: str, **sections):
        with self.assertRaisesRegex(RuntimeError, words):
            with RealServer(configuration(**sections)):
                pass

    def test_clear_text_beyond_this_machine(self):
        for listen in ({"grpc": "0.0.0.0:0"}, {"grpc": "127.0.0.1:0", "http": "[::]:0"}):
            self.refuses("in clear text", listen=listen | {"metrics": ""})

    def test_broken_files(self):
        self.refuses("needs certificate and key", security={"tls": {"certificate": "x.pem"}})
        self.refuses("no.pem: No such file", listen=LISTEN,
                     security={"tls": {"certificate": "no.pem", "key": "no.key"}})
        self.refuses("cannot read", security={"identities": "no-such-file"})


if __name__ == "__main__":
    unittest.main()
