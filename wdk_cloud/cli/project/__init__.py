"""What `wdk init` writes: the files of a new project, and what a cloud's adapter adds to them.

An adapter brings its part as an entry point of the group `wdk_cloud.projects`, named `CLOUD.IAC`: a function without
arguments that gives a `Part`. In paths and texts `@name@` stands for the project's name, `@package@` for its package,
`@version@` for wdk-cloud's.
"""
