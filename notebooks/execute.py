"""Runs a notebook from its first cell to its last in a fresh kernel and prints the JSON line of
its cell tagged `recount`. A cell that fails ends it with that cell's error and exit code 1.

Called by scripts/run-notebook and by the tests; the notebook file is not changed.
"""

import argparse
import json
import os
import pathlib
import sys
import tempfile

import nbclient
import nbformat

HERE = pathlib.Path(__file__).resolve().parent


def recount_of(notebook):
    """The JSON object that the cell tagged `recount` printed."""
    for cell in notebook.cells:
        if "recount" in cell.metadata.get("tags", []):
            return json.loads("".join(output.text for output in cell.outputs if output.output_type == "stream"))
    raise LookupError("no cell of the notebook is tagged 'recount'")


def main():
    parser = argparse.ArgumentParser(prog="run-notebook", description="Executes a notebook against a lake.")
    parser.add_argument("lake", type=pathlib.Path, help="folder of the lake, such as data/lake")
    parser.add_argument("--url", help="server whose API the recount has to agree with")
    parser.add_argument("--notebook", type=pathlib.Path, default=HERE / "getting-started.ipynb")
    parser.add_argument("--save", type=pathlib.Path, help="where to write the notebook with its outputs")
    arguments = parser.parse_args()

    os.environ["MILLRACE_LAKE_DIR"] = str(arguments.lake.resolve())
    os.environ.pop("MILLRACE_URL", None)
    if arguments.url:
        os.environ["MILLRACE_URL"] = arguments.url
    notebook = nbformat.read(arguments.notebook, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        # The kernel of this environment, and none of the user's own settings.
        os.environ.update(
            JUPYTER_PREFER_ENV_PATH="1", JUPYTER_CONFIG_DIR=folder, JUPYTER_RUNTIME_DIR=folder, IPYTHONDIR=folder
        )
        client = nbclient.NotebookClient(
            notebook,
            timeout=600,
            kernel_name="python3",
            extra_arguments=["--log-level=ERROR"],
            resources={"metadata": {"path": str(HERE)}},
        )
        try:
            client.execute()
        except nbclient.exceptions.CellExecutionError as error:
            print(f"run-notebook: a cell of {arguments.notebook.name} failed\n{error}", file=sys.stderr)
            sys.exit(1)
    if arguments.save:
        nbformat.write(notebook, arguments.save)
    print(json.dumps(recount_of(notebook)))


if __name__ == "__main__":
    main()
