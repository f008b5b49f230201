"""`wdk build gcp` and `wdk deploy gcp`: from a project to what Cloud Run serves."""
