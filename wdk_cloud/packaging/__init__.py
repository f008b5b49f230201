"""What the build commands of the clouds share: which files an app is made of, what it needs, which version it is."""
