"""LitServe, one worker, no batching: `litserve_app.py PORT`.

It reads the signature of decode_request: the argument's name is given, and its type must be a type, not its text.
"""

import sys
from typing import Any

import litserve
import network


class Mlp(litserve.LitAPI):
    def setup(self, device: str) -> None:
        pass

    def decode_request(self, request: dict[str, Any]) -> Any:
        return request["inputs"][0]

    def predict(self, x: Any) -> Any:
        return network.infer(x)

    def encode_response(self, output: Any) -> Any:
        return output


if __name__ == "__main__":
    server = litserve.LitServer(Mlp(api_path="/v2/models/mlp/infer"), accelerator="cpu", workers_per_device=1)
    server.run(
        host="127.0.0.1",
        port=int(sys.argv[1]),
        num_api_servers=1,
        log_level="error",
        access_log=False,
        generate_client_file=False,
    )
