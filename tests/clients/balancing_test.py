"""Several servers behind one name, with the service config that docs/deploy.md gives to gRPC's clients."""
import os
import re
import subprocess
import unittest

import tritonclient.grpc as triton

from real_server import ROOT, RealServer, wait_until
from triton_test import MODEL, PROMPT, vllm_inputs

SERVICE_CONFIG = re.search(r"```json\n(.*?)```", (ROOT / "docs/deploy.md").read_text(encoding="utf-8"), re.DOTALL)[1]


def finished(server: RealServer) -> int:
    return sum('"request finished"' in line for line in server.log)


class BalancingTest(unittest.TestCase):
    def test_requests_are_spread_and_leave_a_server_that_drains(self):
        servers = [self.enterContext(RealServer()) for _ in range(2)]
        addresses = ",".join(server.grpc_address for server in servers)
        client = self.enterContext(triton.InferenceServerClient(
            f"ipv4:{addresses}", channel_args=[("grpc.service_config", SERVICE_CONFIG)]))

        def ask(times: int) -> None:
            for _ in range(times):
                client.infer(MODEL, vllm_inputs(PROMPT, max_tokens=1), client_timeout=60)

        def both_have_worked() -> bool:  # connections come one after the other
            ask(2)
            return all(finished(server) > 0 for server in servers)
        wait_until(both_have_worked, "one server gets no requests")
        subprocess.run([os.environ["KVPARETO_CLIENT_BINARY"], "drain", "--server", servers[0].grpc_address],
                       check=True, capture_output=True)
        before = finished(servers[1])
        ask(8)  # none fails
        wait_until(lambda: finished(servers[1]) >= before + 8, "requests went elsewhere")


if __name__ == "__main__":
    unittest.main()
