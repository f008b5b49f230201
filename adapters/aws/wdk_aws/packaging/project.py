"""The user's project, which every build reads alike."""

from wdk_cloud.packaging.project import Project

__all__ = ["Project"]
