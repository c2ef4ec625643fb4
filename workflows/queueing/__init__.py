"""DeploymentQueue: deployments to one endpoint wait for one another."""

__all__: list[str] = []
