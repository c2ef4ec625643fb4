"""Notebook workspaces of this machine: JupyterLab in an environment that goes with it, within a quota, ended when nobody is there."""

__all__: list[str] = []
