"""For tests of programs on the AWS world: resources to run on, what is asked and costs, what happens when AWS fails."""

from wdk_aws.testing.environment import AwsEnv, lambda_env
from wdk_aws.testing.mapping import EventSourceMapping, Mischief
from wdk_aws.testing.resources import create_resources

__all__ = ["AwsEnv", "EventSourceMapping", "Mischief", "create_resources", "lambda_env"]
