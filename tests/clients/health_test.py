"""grpc.health.v1 and reflection with the clients of the gRPC project."""
import os
import subprocess
import unittest

import grpc
import httpx
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from real_server import RealServer, configuration

CLIENT = os.environ["KVPARETO_CLIENT_BINARY"]
SERVING = health_pb2.HealthCheckResponse.SERVING


class HealthTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = cls.enterClassContext(RealServer())
        cls.channel = cls.enterClassContext(grpc.insecure_channel(cls.server.grpc_address))

    def check(self, service: str):
        stub = health_pb2_grpc.HealthStub(self.channel)
        return stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=10).status

    def test_liveness_and_readiness(self):
        self.assertEqual(self.check(""), SERVING)
        self.assertEqual(self.check("kvpareto.v1.InferenceService"), SERVING)

    def probe(self, path: str) -> int:
        return httpx.get(f"http://127.0.0.1:{self.server.ports['serving metrics']}{path}").status_code

    def test_probes_over_http_and_a_drain(self):
        with RealServer() as self.server:
            self.assertEqual((self.probe("/livez"), self.probe("/readyz")), (200, 200))
            address = ["--server", self.server.grpc_address]
            subprocess.run([CLIENT, "drain", *address], check=True, capture_output=True)
            self.assertEqual((self.probe("/livez"), self.probe("/readyz")), (200, 503))
            self.assertEqual(subprocess.run([CLIENT, "health", *address], capture_output=True).returncode, 1)
            subprocess.run([CLIENT, "health", "--live", *address], check=True, capture_output=True)

    def test_unknown_service_is_not_found(self):
        with self.assertRaises(grpc.RpcError) as caught:
            self.check("no.such.Service")
        self.assertEqual(caught.exception.code(), grpc.StatusCode.NOT_FOUND)

    def test_reflection_lists_services(self):
        services = set(ProtoReflectionDescriptorDatabase(self.channel).get_services())
        self.assertLessEqual({"grpc.health.v1.Health", "kvpareto.v1.InferenceService"}, services)

    def test_reflection_can_be_switched_off(self):
        with RealServer(configuration(security={"reflection": False})) as server:
            with grpc.insecure_channel(server.grpc_address) as channel, self.assertRaises(grpc.RpcError) as caught:
                ProtoReflectionDescriptorDatabase(channel).get_services()
        self.assertEqual(caught.exception.code(), grpc.StatusCode.UNIMPLEMENTED)


if __name__ == "__main__":
    unittest.main()
