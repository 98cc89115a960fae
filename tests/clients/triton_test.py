"""The Open Inference Protocol with Triton's own gRPC client."""
import json
import queue
import unittest

import numpy as np
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from real_server import RealServer, wait_until

MODEL = "smollm2"
PROMPT = "The capital of France is"
LONG_PROMPT = PROMPT * 20  # one block and some, as shorter ones take the same in all configs; too short to be cached


def tensor(name: str, value, datatype: str) -> triton.InferInput:
    dtype = {"BYTES": np.object_, "BOOL": np.bool_, "INT32": np.int32, "FP32": np.float32}[datatype]
    values = [v.encode() if isinstance(v, str) else v for v in (value if isinstance(value, list) else [value])]
    result = triton.InferInput(name, [len(values)], datatype)
    result.set_data_from_numpy(np.array(values, dtype=dtype))
    return result


def vllm_inputs(prompt: str, stream: bool = False, **sampling) -> list:
    """The tensors of Triton's vLLM backend."""
    return [tensor("text_input", prompt, "BYTES"), tensor("stream", stream, "BOOL"),
            tensor("sampling_parameters", json.dumps(sampling), "BYTES"),
            tensor("exclude_input_in_output", True, "BOOL")]


def text_of(result: triton.InferResult) -> str:
    return result.as_numpy("text_output")[0].decode()


class TritonTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = cls.enterClassContext(RealServer())

    def setUp(self):
        self.client = self.enterContext(triton.InferenceServerClient(self.server.grpc_address))

    def infer(self, inputs: list, **options) -> triton.InferResult:
        return self.client.infer(MODEL, inputs, client_timeout=60, **options)

    def stream(self, requests: list[dict], **options) -> list:
        """Sends `requests` on one stream, waits for all answers; what callbacks got, in order."""
        got: queue.Queue = queue.Queue()
        self.client.start_stream(lambda result, error: got.put(error or result), **options)
        for request in requests:
            self.client.async_stream_infer(MODEL, **request)
        self.client.stop_stream()
        return list(got.queue)

    def allocated_bytes(self) -> int:
        usage = self.client.get_inference_statistics(MODEL).model_stats[0].memory_usage
        return {u.type: u.byte_size for u in usage}["kv_allocated"]

    def test_health(self):
        self.assertTrue(self.client.is_server_live())
        self.assertTrue(self.client.is_server_ready())
        self.assertTrue(self.client.is_model_ready(MODEL))
        self.assertFalse(self.client.is_model_ready("no-such-model"))
        self.assertFalse(self.client.is_model_ready(MODEL, "7"))

    def test_metadata_and_config(self):
        self.assertEqual(self.client.get_server_metadata().name, "kvpareto")
        metadata = self.client.get_model_metadata(MODEL)
        self.assertEqual(list(metadata.versions), ["1"])
        self.assertIn("text_input", [i.name for i in metadata.inputs])
        config = self.client.get_model_config(MODEL).config
        self.assertTrue(config.model_transaction_policy.decoupled)
        self.assertEqual([i.name for i in config.input if not i.optional], ["text_input"])
        with self.assertRaisesRegex(InferenceServerException, "no such model"):
            self.client.get_model_metadata("no-such-model")

    def test_repository(self):
        index = self.client.get_model_repository_index()
        self.assertEqual([(m.name, m.state) for m in index.models], [(MODEL, "READY")])
        with self.assertRaises(InferenceServerException) as caught:
            self.client.load_model("other")
        self.assertEqual(caught.exception.status(), "StatusCode.UNIMPLEMENTED")

    def test_both_tensor_conventions_agree(self):
        first = self.infer(vllm_inputs(PROMPT, max_tokens="8", temperature=0))
        second = self.infer([tensor("text_input", PROMPT, "BYTES"), tensor("max_tokens", 8, "INT32"),
                             tensor("temperature", 0.0, "FP32")])
        self.assertIn("Paris", text_of(first))
        self.assertEqual(text_of(first), text_of(second))

    def test_outputs_and_request_id(self):
        result = self.infer(
            vllm_inputs(PROMPT, max_tokens=4) + [tensor("return_finish_reason", True, "BOOL"),
                                                 tensor("return_num_input_tokens", True, "BOOL")],
            request_id="any text: ü", sequence_id=3, priority=2, timeout=50_000_000)
        self.assertEqual(result.get_response().id, "any text: ü")
        self.assertEqual(result.as_numpy("finish_reason")[0], b"length")
        self.assertGreaterEqual(result.as_numpy("num_input_tokens")[0], 5)
        wanted = ["num_output_tokens", "cum_log_probs"]
        result = self.infer(vllm_inputs(PROMPT, max_tokens=4),
                            outputs=[triton.InferRequestedOutput(name) for name in wanted])
        self.assertEqual(result.as_numpy("num_output_tokens")[0], 4)
        self.assertLess(result.as_numpy("cum_log_probs")[0], 0)
        self.assertIsNone(result.as_numpy("text_output"))

    def test_input_can_be_repeated(self):
        inputs = vllm_inputs(PROMPT, max_tokens=2)[:3] + [tensor("exclude_input_in_output", False, "BOOL")]
        self.assertTrue(text_of(self.infer(inputs)).startswith(PROMPT))

    def test_stop_words(self):
        result = self.infer([tensor("text_input", "1, 2, 3, 4,", "BYTES"), tensor("max_tokens", 20, "INT32"),
                             tensor("stop_words", [" 7", "zzz"], "BYTES")])
        self.assertEqual(text_of(result), " 5, 6,")

    def test_budget_and_accuracy_choose_the_config(self):
        def config(**parameters) -> str:
            response = self.infer(vllm_inputs(LONG_PROMPT, max_tokens=4), parameters=parameters).get_response()
            return response.parameters["kv_config"].string_param
        self.assertNotEqual(config(kv_objective="memory"), config(kv_objective="accuracy"))
        self.assertEqual(config(kv_config="bf16-c128"), "bf16-c128")
        with self.assertRaisesRegex(InferenceServerException, "accuracy"):
            config(kv_accuracy_target=1.0, kv_memory_budget_bytes=1000)

    def test_errors_have_the_right_codes(self):
        cases = [("INVALID_ARGUMENT", vllm_inputs(PROMPT, max_tokens=0), {}),
                 ("INVALID_ARGUMENT", vllm_inputs(PROMPT, stream=True), {}),
                 ("INVALID_ARGUMENT", vllm_inputs(PROMPT, no_such_option=1), {}),
                 ("INVALID_ARGUMENT", vllm_inputs(PROMPT) + [tensor("no_such_tensor", 1, "INT32")], {}),
                 ("INVALID_ARGUMENT", vllm_inputs(PROMPT), {"parameters": {"kv_objective": "beauty"}}),
                 ("INVALID_ARGUMENT", vllm_inputs(""), {}),
                 ("NOT_FOUND", vllm_inputs(PROMPT), {"model_version": "2"}),
                 ("DEADLINE_EXCEEDED", vllm_inputs(PROMPT, max_tokens=2000, ignore_eos=True), {"timeout": 100_000})]
        for code, inputs, options in cases:
            with self.subTest(code=code, options=options), self.assertRaises(InferenceServerException) as caught:
                self.infer(inputs, **options)
            self.assertEqual(caught.exception.status(), f"StatusCode.{code}")

    def test_stream_of_deltas(self):
        whole = text_of(self.infer(vllm_inputs(PROMPT, max_tokens=12)))
        results = self.stream([{"inputs": vllm_inputs(PROMPT, stream=True, max_tokens=12)}])
        self.assertGreater(len(results), 3)
        self.assertEqual("".join(text_of(r) for r in results), whole)
        final = [r.get_response().parameters["triton_final_response"].bool_param for r in results]
        self.assertEqual(final, [False] * (len(results) - 1) + [True])

    def test_stream_can_end_with_an_empty_response(self):
        results = self.stream([{"inputs": vllm_inputs(PROMPT, stream=True, max_tokens=3),
                                "enable_empty_final_response": True}])
        self.assertTrue(results[-1].get_response().parameters["triton_final_response"].bool_param)
        self.assertEqual(len(results[-1].get_response().outputs), 0)
        self.assertGreater(len(results), 1)

    def test_several_requests_on_one_stream(self):
        requests = [{"inputs": vllm_inputs(PROMPT, stream=i % 2 == 0, max_tokens=5), "request_id": str(i)}
                    for i in range(6)]
        texts = {str(i): "" for i in range(6)}
        for result in self.stream(requests):
            texts[result.get_response().id] += text_of(result)
        self.assertEqual(len(set(texts.values())), 1)

    def test_an_error_does_not_end_the_stream(self):
        answers = self.stream([{"inputs": vllm_inputs(PROMPT, max_tokens=0)},
                               {"inputs": vllm_inputs(PROMPT, max_tokens=3)}])
        errors = [a for a in answers if isinstance(a, InferenceServerException)]
        self.assertEqual((len(errors), len(answers)), (1, 2))
        self.assertIn("MAX_TOKENS_INVALID", str(errors[0]))

    def test_an_error_ends_the_stream_for_those_who_ask(self):
        answers = self.stream([{"inputs": vllm_inputs(PROMPT, max_tokens=0)}],
                              headers={"triton_grpc_error": "true"})
        self.assertEqual([a.status() for a in answers], ["StatusCode.INVALID_ARGUMENT"])

    def test_an_error_is_not_lost_to_the_end_of_the_stream(self):
        for _ in range(200):  # the client's end and the error meet in the server at any moment
            answers = self.stream([{"inputs": vllm_inputs(PROMPT, max_tokens=0)}],
                                  headers={"triton_grpc_error": "true"})
            self.assertEqual(len(answers), 1)

    def test_cancelling_frees_memory(self):
        got: queue.Queue = queue.Queue()
        self.client.start_stream(lambda result, error: got.put(error or result))
        self.client.async_stream_infer(MODEL, vllm_inputs(PROMPT, stream=True, max_tokens=2000, ignore_eos=True))
        got.get(timeout=30)
        wait_until(lambda: self.allocated_bytes() > 0, "no memory is allocated")
        self.client.stop_stream(cancel_requests=True)
        self.wait_until_freed()

    def test_cancelling_a_unary_call_frees_memory(self):
        call = self.client.async_infer(MODEL, vllm_inputs(PROMPT, max_tokens=2000, ignore_eos=True),
                                       callback=lambda result, error: None)
        wait_until(lambda: self.allocated_bytes() > 0, "the request does not run")
        call.cancel()
        self.wait_until_freed()

    def wait_until_freed(self):
        wait_until(lambda: self.allocated_bytes() == 0, "memory is still allocated")

    def test_statistics(self):
        self.infer(vllm_inputs(PROMPT, max_tokens=2))
        statistics = self.client.get_inference_statistics(MODEL).model_stats[0]
        self.assertGreater(statistics.inference_count, 0)
        self.assertGreater(statistics.inference_stats.compute_infer.ns, 0)
        usage = {u.type: u.byte_size for u in statistics.memory_usage}
        self.assertEqual(usage["kv_capacity"], 256 << 20)
        self.assertGreater(usage["weights"], 0)


if __name__ == "__main__":
    unittest.main()
