"""`wdk deploy gcp`: from what was built to services that stand."""
