#!/bin/sh
# AWS_LAMBDA_EXEC_WRAPPER=/var/task/wdk_aws/streaming.sh puts our runtime client in the place of the managed one, which
# cannot stream. The arguments are the command that would have been run: the interpreter first.
export PYTHONPATH="${LAMBDA_TASK_ROOT:-.}:/opt/python${PYTHONPATH:+:$PYTHONPATH}"
exec "$1" -m wdk_aws.runtime
