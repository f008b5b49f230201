"""The Google Cloud world of wdk-cloud: Firestore, Cloud Tasks and Cloud Storage."""
