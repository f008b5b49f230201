"""`python -m wdk_cloud.cli` is `wdk`."""

from wdk_cloud.cli import main

main()
