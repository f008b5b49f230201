"""For tests of programs on the AWS world: resources to run on, what is asked and costs, what happens when AWS fails."""

from wdk_aws.testing.resources import create_resources

__all__ = ["create_resources"]
