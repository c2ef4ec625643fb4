"""`mainspring serve`: the data plane by itself, in the place of this process."""

from __future__ import annotations

import rich_click as click

__all__ = ["serve"]

#: Started by name: the control plane's room and serving's do not import one another.
_MODULE = "mainspring.serving"


@click.command()
@click.option("--ray", "on_ray", is_flag=True, help="Followers are autoscaled replicas of Ray Serve.")
def serve(on_ray: bool) -> None:
    """Answer predictions and reads of features until Ctrl-C, by `serving.*` of the settings in force.

    The native front has the port where it can answer something itself (`serving.front`); several processes share it
    with `serving.processes`. `mainspring up` starts this beside the other servers of the local stack.
    """
    import os
    import sys

    # The same process: signals, exit codes and the one line of a bad setting are serving's own.
    os.execv(sys.executable, [sys.executable, "-m", _MODULE, *(["--ray"] if on_ray else [])])
