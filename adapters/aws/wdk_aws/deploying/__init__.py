"""Before `wdk deploy aws` changes anything: whether it can end well."""
